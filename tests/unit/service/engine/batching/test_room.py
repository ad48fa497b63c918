"""Whether a request may wait for a batch: by number, by time, and by its own deadline."""

import pytest

from service.engine.batching.parameters import BatchingParameters
from service.engine.batching.room import Room
from service.errors import Overloaded, TooLarge
from service.interface import Call

NOW = 50.0
PATIENT = Call(NOW + 1000.0)


def room(max_queue_s: float = 10.0) -> Room:
    """One whose batches run 100 instances in a second; 40 may wait, and 12 requests are never too many."""
    parameters = BatchingParameters(max_batch_size=10, max_enqueued_batches=4, max_queue_s=max_queue_s)
    made = Room(parameters, lambda: NOW)
    made.note(10, 0.1)
    return made


def test_the_wait_follows_the_measured_rate() -> None:
    made = room()
    assert made.wait_s(30, 1) == pytest.approx(0.3)
    assert made.wait_s(30, 3) == pytest.approx(0.1)
    for _ in range(50):
        made.note(10, 0.2)
    assert made.wait_s(30, 1) == pytest.approx(0.6, rel=0.01)
    assert Room(BatchingParameters()).wait_s(30, 1) == 0  # nothing was measured yet
    made.note(10, 0.0)  # a clock too coarse to tell


def test_a_full_queue_refuses_and_tells_when_there_is_room() -> None:
    room().check(10, PATIENT, 3, 30, 1)
    with pytest.raises(Overloaded, match="30 instances wait, at most 40 may") as refused:
        room().check(11, PATIENT, 3, 30, 1)
    assert refused.value.retry_after_s == pytest.approx(0.3)


def test_a_request_larger_than_the_queue_is_taken_while_nothing_waits_and_within_its_own_limit() -> None:
    room().check(41, PATIENT, 0, 0, 1)
    with pytest.raises(Overloaded, match="1 instances wait, at most 40 may"):
        room().check(41, PATIENT, 1, 1, 1)
    small = Room(BatchingParameters(max_batch_size=10, max_enqueued_batches=4, max_instances=100), lambda: NOW)
    small.check(100, PATIENT, 0, 0, 1)
    with pytest.raises(
        TooLarge, match=r"101 instances; at most 100 are taken \(--max-instances\)\. Send them in several"
    ):
        small.check(101, PATIENT, 0, 0, 1)


def test_who_would_only_wait_until_the_deadline_is_refused_at_once() -> None:
    room().check(1, Call(NOW + 0.31), 3, 30, 1)
    with pytest.raises(Overloaded, match=r"too long for the 290 ms of mine: it takes about 0\.3 s") as refused:
        room().check(1, Call(NOW + 0.29, limit="the 290 ms of mine"), 3, 30, 1)
    assert refused.value.retry_after_s == pytest.approx(0.3)
    room().check(1, Call(NOW - 1.0), 3, 30, 1)  # it has passed already, which is said elsewhere
    room().check(1, Call(NOW + 0.0001), 0, 0, 1)  # nobody waits, so nothing is known against it


def test_many_requests_are_refused_when_their_wait_is_too_long() -> None:
    room(0.2).check(1, PATIENT, 12, 30, 1)
    with pytest.raises(Overloaded, match=r"a new one would wait about 0\.3 s; try again later"):
        room(0.2).check(1, PATIENT, 13, 30, 1)
    room(0.4).check(1, PATIENT, 13, 30, 1)
