"""Whom a full service turns away: nobody at few requests, the last of a burst, and all that a standing queue holds."""

import heapq
import threading
from collections import deque

import pytest

from service.admission import BURST_S, CALM_S, Admission, CountedPool, FrontQueue, held_always, no_refusals, too_many


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_few_requests_are_never_refused_however_long_they_wait(clock: Clock) -> None:
    admission = Admission(8, 0.1, clock)
    assert not any(admission.refuses(held, 60.0) for held in range(8))
    assert admission.refuses(8, 60.0)


def test_many_are_taken_while_their_wait_is_short(clock: Clock) -> None:
    admission = Admission(8, 0.1, clock)
    assert not admission.refuses(100, 0.1)
    assert admission.refuses(100, 0.11)


def test_where_one_worker_is_overloaded_no_other_lets_a_queue_stand(clock: Clock) -> None:
    shared = no_refusals()
    full, busy = Admission(8, 0.1, clock, shared), Admission(8, 0.1, clock, shared)
    assert not busy.refuses(9, 0.05)
    for _ in range(3):
        full.refuses(500, 0.2)
        clock.now += BURST_S
    assert busy.refuses(9, 0.05)
    assert not busy.refuses(7, 0.05)
    assert busy.sheds(9)
    clock.now += 2 * CALM_S
    assert not busy.refuses(9, 0.05)


def test_sixteen_times_what_is_always_held_is_a_burst(clock: Clock) -> None:
    admission = Admission(8, 0.1, clock)
    assert not admission.refuses(127, 0.0)
    assert admission.refuses(128, 0.0)


def test_after_a_burst_of_refusals_the_queue_is_kept_short_until_it_was_calm(clock: Clock) -> None:
    admission = Admission(8, 0.1, clock)
    assert admission.refuses(500, 0.2)
    assert not admission.refuses(100, 0.1)  # one refusal is no overload
    assert not admission.sheds(500)
    clock.now += BURST_S
    assert admission.refuses(500, 0.2)
    assert admission.refuses(9, 0.0)
    assert admission.sheds(9)
    assert not admission.sheds(8)
    assert not admission.refuses(7, 0.0)
    clock.now += CALM_S * 1.01
    assert not admission.refuses(100, 0.1)
    clock.now += CALM_S
    assert admission.refuses(500, 0.2)
    assert not admission.overloaded  # a new burst, not the old overload


def test_a_share_of_the_workers_is_rounded_up() -> None:
    assert [held_always(32, workers) for workers in (1, 2, 4)] == [40, 20, 10]
    assert held_always(1) == 2


class Host:
    """Threads that take `service_s` for each request: what a service does, without one."""

    def __init__(self, threads: int, always: int, most_s: float, service_s: float, clock: Clock) -> None:
        self.clock = clock
        self.queue = FrontQueue(threads, Admission(always, most_s, clock), clock)
        self.service_s = service_s
        self.threads = threads
        self.waiting: deque = deque()
        self.busy: list[tuple[float, int]] = []
        self.waits: list[tuple[float, float]] = []  # of those served: when they came, and how long they waited
        self.refused = self.number = 0

    def arrive(self, at: float) -> None:
        self.work_until(at)
        if self.queue.is_full():
            self.refused += 1
            return
        self.waiting.append(self.queue.join())
        self.take()

    def work_until(self, at: float) -> None:
        while self.busy and self.busy[0][0] <= at:
            self.clock.now, _, arrival = heapq.heappop(self.busy)
            arrival.taken_s = self.service_s
            self.queue.leave(arrival)
            self.take()
        self.clock.now = at

    def take(self) -> None:
        while self.waiting and len(self.busy) < self.threads:
            arrival = self.waiting.popleft()
            self.queue.enter(arrival)
            if arrival.refused:
                self.refused += 1
                self.queue.leave(arrival)
                continue
            self.waits.append((arrival.at_s, self.clock.now - arrival.at_s))
            self.number += 1
            heapq.heappush(self.busy, (self.clock.now + self.service_s, self.number, arrival))


@pytest.mark.parametrize("load", [2, 4, 10])
@pytest.mark.parametrize(("threads", "service_s"), [(16, 0.04), (4, 0.002), (1, 0.3)])
def test_under_overload_the_host_stays_busy_and_nobody_who_is_served_waits_long(
    clock: Clock, load: int, threads: int, service_s: float
) -> None:
    host = Host(threads, always=40, most_s=0.3, service_s=service_s, clock=clock)
    rate, began = threads / service_s, clock.now
    seconds = max(5.0, 400 / rate)
    for number in range(int(seconds * rate * load)):
        host.arrive(began + number / (rate * load))
    assert len(host.waits) > 0.99 * seconds * rate
    settled = [wait for at, wait in host.waits if at > began + 0.3 * seconds]
    assert max(settled) <= 41 / rate + service_s


def test_below_its_capacity_a_host_refuses_nobody(clock: Clock) -> None:
    host = Host(4, always=8, most_s=0.3, service_s=0.02, clock=clock)
    for number in range(2000):
        host.arrive(clock.now + (0.0 if number % 20 else 0.11))  # 20 at once, 182 in a second on average
    assert host.refused == 0
    assert host.queue.wait_s > 0


def test_who_waits_for_a_slow_client_holds_nobodys_place(clock: Clock) -> None:
    queue = FrontQueue(2, Admission(2, 0.0, clock), clock)
    arrivals = [queue.join() for _ in range(3)]
    arrivals[0].taken_s = 1.0
    for arrival in arrivals:
        queue.enter(arrival)
    queue.leave(arrivals[0])
    queue.join()
    assert queue.is_full()
    queue.step_aside()
    queue.step_aside()
    assert not queue.is_full()
    queue.step_back()
    queue.step_back()
    assert queue.is_full()


def test_an_arrival_is_told_once_and_to_its_own_thread(clock: Clock) -> None:
    queue = FrontQueue(2, clock=clock)
    arrival = queue.join()
    clock.now += 0.5
    queue.enter(arrival)
    told = []
    other = threading.Thread(target=lambda: told.append(queue.arrival()))
    other.start()
    other.join()
    assert (queue.arrival(), queue.arrival(), told) == (arrival, None, [None])
    assert arrival.at_s == 0.0


def test_threads_of_a_pool_count_their_work_even_when_it_fails(clock: Clock) -> None:
    queue = FrontQueue(1, Admission(1, 0.0, clock), clock)
    with CountedPool(queue, 1, "test") as pool:
        hold, held = threading.Event(), threading.Event()

        def first() -> None:
            held.set()
            hold.wait(20)
            raise ValueError

        def slow() -> None:
            arrival = queue.arrival()
            assert arrival is not None
            arrival.taken_s = 1.0

        pool.submit(slow).result(20)
        failing = pool.submit(first)
        held.wait(20)
        waiting, refused = pool.submit(queue.arrival), pool.submit(queue.arrival)
        hold.set()
        assert isinstance(failing.exception(20), ValueError)
        assert [arrival and arrival.refused for arrival in (waiting.result(20), refused.result(20))] == [False, True]
    assert not queue.is_full()
    assert queue.wait_s == 0


def test_a_refusal_tells_the_wait_where_there_is_one_to_speak_of() -> None:
    assert (
        too_many(0.32)
        == "More requests arrive than can be answered: a new one would wait about 0.3 s; try again later."
    )
    assert too_many(0.004) == "More requests arrive than can be answered; try again later."
