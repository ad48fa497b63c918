"""Who of several workers has more than its share of the connections."""

import os
import select

import pytest

from service.parts.connection_counts import ConnectionCounts


@pytest.fixture
def counts() -> ConnectionCounts:
    return ConnectionCounts(2)


def test_a_worker_alone_never_has_too_many(counts: ConnectionCounts) -> None:
    place = counts.reserve()
    counts.note(place, 100)
    assert counts.fewer(place, 100) is None
    counts.reserve()  # that one still loads
    assert counts.fewer(place, 100) is None


def test_few_are_shared_evenly_and_many_nearly_so(counts: ConnectionCounts) -> None:
    one, other = counts.reserve(), counts.reserve()
    counts.note(other, 0)
    assert counts.fewer(one, 0) is None
    assert counts.fewer(one, 1) == other
    counts.note(other, 80)
    assert counts.fewer(one, 85) is None
    assert counts.fewer(one, 86) == other


def test_who_has_left_or_ended_is_not_waited_for(counts: ConnectionCounts) -> None:
    one, other, third = counts.reserve(), counts.reserve(), counts.reserve()
    for place in (other, third):
        counts.note(place, 0)
    counts.leave(other)
    assert counts.fewer(one, 1) == third
    counts.free(third)
    assert counts.fewer(one, 1) is None


def test_the_place_of_a_worker_that_has_ended_is_free_again(counts: ConnectionCounts) -> None:
    places = [counts.reserve() for _ in range(1000)]
    assert None in places
    counts.free(places[7])
    counts.free(None)
    assert counts.reserve() == places[7]


def test_without_a_place_a_worker_takes_what_comes(counts: ConnectionCounts) -> None:
    counts.note(counts.reserve(), 0)
    counts.note(None, 5)
    counts.leave(None)
    assert counts.fewer(None, 5) is None


def test_forked_processes_see_each_other(counts: ConnectionCounts) -> None:
    ours, theirs = counts.reserve(), counts.reserve()
    if not (child := os.fork()):
        counts.note(theirs, 3)
        os._exit(0)
    os.waitpid(child, 0)
    assert counts.fewer(ours, 4) == theirs
    assert counts.fewer(ours, 3) is None


def test_a_worker_is_woken(counts: ConnectionCounts) -> None:
    place = counts.reserve()
    assert place is not None
    for _ in range(2):
        counts.wake(place)
    assert select.select([counts.wakes(place)], [], [], 0)[0]
    counts.woken(place)
    counts.woken(place)
    assert not select.select([counts.wakes(place)], [], [], 0)[0]
