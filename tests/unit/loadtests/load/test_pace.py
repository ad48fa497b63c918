"""When users get their turns: open arrivals before a service that stalls, in a time that is simulated."""

import heapq
from pathlib import Path
from typing import Any

import gevent
import gevent.event
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtests.load.kit import Kit
from loadtests.load.pace import Choice, ClosedLoop, OpenArrivals, Turn
from loadtests.plan.plan import Kind, Plan
from loadtests.plan.shapes import Stage
from loadtests.results import records
from loadtests.results.records import Recorder


def a_plan(
    *kinds: Kind, users: int = 1, stages: tuple[Stage, ...] = (Stage(0, 10, 1, 1),), arrivals: str = "poisson"
) -> Plan:
    return Plan("", "", kinds or (Kind("image", "m"),), stages, arrivals, users)


class Simulation:
    """A service with one thread for each connection, which answers nothing while it stalls; time is what we say."""

    def __init__(self, folder: Path, connections: int, service_s: float, stall: tuple[float, float]) -> None:
        self.service_s, self.stall = service_s, stall
        plan = a_plan(users=connections)
        self.folder, self.recorder = folder, Recorder(folder, 0)
        self.kit = Kit(plan, [[]], None, self.recorder)  # type: ignore[arg-type]  # the pace comes next
        self.pace = OpenArrivals(plan, 0, Choice(plan, 0), self.kit.note_never_sent)
        self.now = 0.0
        self.ends: list[tuple[float, int, Any]] = []
        for number in range(connections):
            gevent.spawn(self._user, number)
        gevent.sleep(0)

    def _user(self, number: int) -> None:
        while (turn := self.pace.turn("image", number)) is not None:
            sent = self.now
            begin = self.stall[1] if self.stall[0] <= sent < self.stall[1] else sent
            answered: Any = gevent.event.AsyncResult()
            heapq.heappush(self.ends, (begin + self.service_s, id(answered), answered))
            done = answered.get()
            self.kit.note(turn, sent, done, 200, "")

    def run(self, due: list[float]) -> np.ndarray[Any, Any]:
        for at in due:
            self._until(at)
            self.now = at
            self.pace.arrive(at)
            gevent.sleep(0)
        self._until(float("inf"))
        self.pace.end()
        self.recorder.close()
        return records.read(self.folder)

    def _until(self, when: float) -> None:
        while self.ends and self.ends[0][0] <= when:
            self.now, _, answered = heapq.heappop(self.ends)
            answered.set(self.now)
            for _ in range(3):  # the user notes it, takes its next turn and sends
                gevent.sleep(0)


def queueing(
    due: list[float], connections: int, service_s: float, stall: tuple[float, float]
) -> list[tuple[float, float]]:
    """When each request is sent and answered, by the recursion of a queue with so many servers."""
    free = [0.0] * connections
    times = []
    for at in due:
        sent = max(at, heapq.heappop(free))
        done = (stall[1] if stall[0] <= sent < stall[1] else sent) + service_s
        heapq.heappush(free, done)
        times.append((sent, done))
    return times


@settings(deadline=None, max_examples=60)
@given(
    due=st.lists(st.integers(0, 5000), min_size=1, max_size=60, unique=True),
    connections=st.integers(1, 4),
    service_ms=st.integers(1, 200),
    stall=st.tuples(st.integers(0, 5000), st.integers(0, 3000)),
)
def test_latency_counts_from_when_a_request_was_due_also_before_a_service_that_stalls(
    tmp_path_factory: Any, due: list[int], connections: int, service_ms: int, stall: tuple[int, int]
) -> None:
    # A fraction of a millisecond apart, so that no arrival falls on an answer.
    times = sorted(at / 1e3 + 0.00037 for at in due)
    stalled = stall[0] / 1e3 + 0.0001, (stall[0] + stall[1]) / 1e3 + 0.0001
    folder = tmp_path_factory.mktemp("run")
    found = Simulation(folder, connections, service_ms / 1e3, stalled).run(times)
    expected = queueing(times, connections, service_ms / 1e3, stalled)
    assert len(found) == len(times)  # none is skipped
    assert found["due"].tolist() == times
    assert np.allclose(found["due"] + found["sent"], [sent for sent, _ in expected], atol=1e-5)
    assert np.allclose(
        records.latencies_s(found), [d - at for at, (_, d) in zip(times, expected, strict=True)], atol=1e-5
    )
    assert found["waited"].tolist() == [sent > at for at, (sent, _) in zip(times, expected, strict=True)]


def test_a_stall_of_a_second_is_seen_by_all_that_were_due_in_it(tmp_path: Path) -> None:
    """A closed loop would have asked once in that second."""
    found = Simulation(tmp_path, 2, 0.001, (1.0, 2.0)).run([at / 100 + 0.0005 for at in range(300)])
    slow = records.latencies_s(found) > 0.1
    assert 85 <= slow.sum() <= 100
    assert np.diff(records.latencies_s(found)[slow]).max() < 0  # the first waited for the longest


def test_what_waits_until_the_end_is_counted_as_never_sent() -> None:
    noted: list[Turn] = []
    plan = a_plan()
    pace = OpenArrivals(plan, 0, Choice(plan, 0), noted.append)
    pace.arrive(1.0)
    pace.arrive(2.0)
    assert pace.turn("image", 0) == Turn(1.0, 0, waited=True)
    pace.end()
    assert noted == [Turn(2.0, 0, waited=True)]
    assert pace.turn("image", 0) is None


def test_the_user_that_was_idle_for_the_shortest_time_is_asked_and_all_are_let_go() -> None:
    plan = a_plan(users=3)
    pace = OpenArrivals(plan, 0, Choice(plan, 0), lambda _: None)
    got: list[tuple[int, Turn | None]] = []

    def user(number: int) -> None:
        got.append((number, pace.turn("image", number)))

    users = [gevent.spawn(user, number) for number in range(3)]
    gevent.sleep(0)
    pace.arrive(5.0)
    gevent.sleep(0)
    assert got == [(2, Turn(5.0, 0))]
    pace.end()
    gevent.joinall(users, timeout=10)
    assert sorted(got[1:]) == [(0, None), (1, None)]


def test_kinds_are_chosen_by_their_weights_and_a_user_sends_only_its_own_way() -> None:
    kinds = Kind("image", "a", weight=3), Kind("b64", "a", weight=1), Kind("image", "b", weight=1)
    choice = Choice(a_plan(*kinds), 0)
    counts = np.bincount([choice.pick() for _ in range(5000)]) / 5000
    assert np.allclose(counts, [0.6, 0.2, 0.2], atol=0.03)
    assert {choice.pick("image") for _ in range(100)} == {0, 2}
    assert choice.pick("b64") == 1


def test_users_of_a_closed_loop_ask_as_far_as_the_load_lets_them() -> None:
    stages = (Stage(0, 1e6, 2, 2),)  # it does not end while we look
    plan = a_plan(users=4, stages=stages, arrivals="closed")
    pace = ClosedLoop(plan, 0, Choice(plan, 0))
    pace.begin(0.0)  # long ago
    took: list[int] = []

    def user(number: int) -> None:
        took.append(number) if pace.turn("image", number) else None

    users = [gevent.spawn(user, number) for number in range(4)]
    gevent.joinall(users[:2], timeout=10)
    assert took == [0, 1]
    gevent.killall(users)


def test_a_closed_loop_ends_with_its_plan() -> None:
    plan = a_plan(arrivals="closed")
    pace = ClosedLoop(plan, 0, Choice(plan, 0))
    pace.begin(-100.0)
    assert pace.turn("image", 0) is None
