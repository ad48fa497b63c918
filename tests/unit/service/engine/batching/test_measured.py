"""What is measured while a version is loaded, by a clock that the test sets."""

import threading
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from service.engine.batching.measured import gain_of_pairs, times_as_long
from service.engine.batching.warmer import Sample
from service.interface import Array

SAMPLE = Sample({"x": np.zeros((1, 2))}, ("y",))


def clock(*times_s: float) -> Callable[[], float]:
    left = iter(times_s)
    return lambda: next(left)


class Device:
    """Notes which threads ran it."""

    def __init__(self) -> None:
        self.own = self.others = 0

    def __call__(self, inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> Mapping[str, Array]:
        assert (inputs["x"].shape, outputs) == ((8, 2), ("y",))
        if threading.current_thread() is threading.main_thread():
            self.own += 1
        else:
            self.others += 1
        return {"y": inputs["x"]}


def test_as_many_batches_run_in_pairs_as_one_after_the_other_and_the_median_turn_counts() -> None:
    device = Device()
    times_s = (0, 0.01, *(1, 2, 2.5), *(3, 4, 5), *(6, 8, 9))  # a batch takes 0.01 s: three of them make a turn
    assert gain_of_pairs(device, SAMPLE, 8, clock(*times_s)) == 2.0
    assert (device.own, device.others) == (2 + 3 * 2 * 3, 3 * 2 * 3)


def test_slow_batches_and_quick_ones_take_no_longer_than_they_must() -> None:
    turns = (1, 2, 3, 4, 5, 6, 7, 8, 9)
    slow, quick = Device(), Device()
    assert gain_of_pairs(slow, SAMPLE, 8, clock(0, 0.9, *turns)) == 1.0
    assert gain_of_pairs(quick, SAMPLE, 8, clock(0, 0.0001, *turns)) == 1.0
    assert (slow.others, quick.others) == (3 * 2 * 2, 3 * 2 * 16)


def test_the_slower_function_is_known() -> None:
    times_s = (0, 0.01, *(1, 3, 4, 5), *(6, 9, 10, 11), *(12, 13, 14, 15))
    one, other = Device(), Device()
    assert times_as_long(one, other, SAMPLE, 8, clock(*times_s)) == 2.0
    assert (one.own, other.own) == (2 + 3 * 3, 1 + 3 * 3)


def test_what_fails_is_told() -> None:
    def broken(*_: object) -> Mapping[str, Array]:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        gain_of_pairs(broken, SAMPLE, 8)
