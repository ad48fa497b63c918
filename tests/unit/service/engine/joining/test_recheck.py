"""The second look at joined batches, off the requests' path."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pytest

from service.engine.joining.recheck import Recheck
from service.errors import DeviceOutOfMemory
from service.interface import Array

LONG_S = 20.0
ROWS = {"x": np.array([1.0, 2.0, 6.0])}


class Told:
    def __init__(self) -> None:
        self.found: list[str] = []
        self.came = threading.Event()

    def __call__(self, why: str) -> None:
        self.found.append(why)
        self.came.set()


@pytest.fixture
def made() -> Iterator[Callable[..., tuple[Recheck, Told]]]:
    all_made: list[Recheck] = []

    def make(function: Callable[[Array], Array], share: float = 1.0) -> tuple[Recheck, Told]:
        def run(inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> Mapping[str, Array]:
            assert outputs == ("y",)
            return {"y": function(inputs["x"])}

        told = Told()
        all_made.append(Recheck(run, share=share, tolerance=1e-4, differed=told))
        return all_made[-1], told

    yield make
    for each in all_made:
        each.close()


def note(recheck: Recheck, answered: Array) -> None:
    recheck.note(ROWS, ("y",), {"y": answered})


def test_a_row_that_depended_on_others_is_found_once(made: Callable[..., tuple[Recheck, Told]]) -> None:
    recheck, told = made(lambda x: x - x.mean())
    note(recheck, ROWS["x"] - ROWS["x"].mean())
    assert told.came.wait(LONG_S)
    note(recheck, ROWS["x"] - ROWS["x"].mean())
    recheck.close()
    assert told.found == ["a row of its output 'y' depended on the other rows of a batch"]


def test_rows_that_did_not_are_none_of_its_business(made: Callable[..., tuple[Recheck, Told]]) -> None:
    asked: list[int] = []
    done = threading.Event()

    def double(x: Array) -> Array:
        asked.append(len(x))
        if len(asked) == 3:
            done.set()
        return x * 2

    recheck, told = made(double)
    note(recheck, ROWS["x"] * 2)
    assert done.wait(LONG_S)
    recheck.close()
    assert (asked, told.found) == ([1, 1, 1], [])


def test_another_number_of_rows_is_found(made: Callable[..., tuple[Recheck, Told]]) -> None:
    recheck, told = made(lambda x: np.zeros(int(x[0])))
    note(recheck, np.zeros(3))
    assert told.came.wait(LONG_S)
    assert told.found == ["its output 'y' has 2 rows for 1 row of input"]


def test_the_memory_of_a_batch_may_be_used_again_at_once(made: Callable[..., tuple[Recheck, Told]]) -> None:
    """As that is which an engine process shares with gateways."""
    may_look, done = threading.Event(), threading.Event()
    seen: list[float] = []

    def double(x: Array) -> Array:
        assert may_look.wait(LONG_S)
        seen.extend(x.tolist())
        if len(seen) == 3:
            done.set()
        return x * 2

    recheck, told = made(double)
    inputs, answered = ROWS["x"].copy(), ROWS["x"] * 2
    recheck.note({"x": inputs}, ("y",), {"y": answered})
    inputs[:] = answered[:] = -1
    may_look.set()
    assert done.wait(LONG_S)
    recheck.close()
    assert (seen, told.found) == (ROWS["x"].tolist(), [])


def test_only_a_share_is_looked_at(made: Callable[..., tuple[Recheck, Told]]) -> None:
    before = threading.active_count()
    recheck, _ = made(lambda x: x, share=0.0)
    for _ in range(100):
        note(recheck, ROWS["x"])
    assert threading.active_count() == before


def test_the_first_batches_are_all_looked_at_where_only_a_test_has_shown_anything() -> None:
    told = Told()
    eager = Recheck(lambda inputs, _: {"y": inputs["x"] + 1}, share=1e-12, tolerance=1e-4, differed=told, eager=True)
    note(eager, ROWS["x"])
    assert told.came.wait(LONG_S)
    eager.close()
    off = Recheck(lambda inputs, _: {"y": inputs["x"] + 1}, share=0.0, tolerance=1e-4, differed=told, eager=True)
    note(off, ROWS["x"])
    off.close()
    assert len(told.found) == 1


@pytest.mark.parametrize("error", [DeviceOutOfMemory("full"), ZeroDivisionError("odd")])
def test_an_error_of_a_run_ends_nothing(made: Callable[..., tuple[Recheck, Told]], error: Exception) -> None:
    failed = threading.Event()

    def run(x: Array) -> Array:
        if not failed.is_set():
            failed.set()
            raise error
        return x + 1

    recheck, told = made(run)
    note(recheck, ROWS["x"])
    assert failed.wait(LONG_S)
    until = time.monotonic() + LONG_S
    while not told.came.wait(0.01) and time.monotonic() < until:
        note(recheck, ROWS["x"])
    assert len(told.found) == 1


def test_while_it_is_busy_no_further_batch_waits_behind_many(made: Callable[..., tuple[Recheck, Told]]) -> None:
    held, runs = threading.Event(), threading.Semaphore(0)

    def slow(x: Array) -> Array:
        runs.release()
        assert held.wait(LONG_S)
        return x

    recheck, told = made(slow)
    note(recheck, ROWS["x"])
    assert runs.acquire(timeout=LONG_S)
    for _ in range(50):  # at once, whatever runs
        note(recheck, ROWS["x"])
    held.set()
    recheck.close()
    assert told.found == []
