"""What is found out by measuring while a version is loaded: whether batches run quicker in pairs, or in 32 bits.

Other versions may be loaded at the same time, so both ways run in turn, and the median of several turns counts.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Final

import numpy as np

from service.engine.batching.batcher import Run
from service.engine.batching.warmer import Sample
from service.interface import Array

_TURNS: Final = 3
# Seconds and batches of one way in a turn.
_TURN_S: Final = 0.03
_FEWEST: Final = 2
_MOST: Final = 16


def gain_of_pairs(run: Run, sample: Sample, size: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """How many times as many batches run in a second two at a time, as one after the other.

    On a GPU the one may be copied while the other is computed.

    Args:
        run: the function on one device; it has run at this size.
        sample: its row is repeated.
        size: of the batches.
        clock: seconds, steady; replaced in tests.

    Raises:
        SignpostError: it fails, as when the device has no memory for two.
    """
    inputs = _batch(sample, size)
    count = _count(run, inputs, sample.outputs, clock)

    def several() -> None:
        for _ in range(count):
            run(inputs, sample.outputs)

    gains = []
    with ThreadPoolExecutor(2) as pool:
        for _ in range(_TURNS):
            began_s = clock()
            several()
            several()
            between_s = clock()
            for each in [pool.submit(several), pool.submit(several)]:
                each.result()
            gains.append((between_s - began_s) / max(1e-9, clock() - between_s))
    return median(gains)


def times_as_long(
    run: Run, other: Run, sample: Sample, size: int, clock: Callable[[], float] = time.perf_counter
) -> float:
    """How many times as long a batch takes in one function as in another; both run at this size first.

    Raises:
        SignpostError: one of them fails.
    """
    inputs = _batch(sample, size)
    other(inputs, sample.outputs)
    count = _count(run, inputs, sample.outputs, clock)
    ratios = []
    for _ in range(_TURNS):
        taken_s = []
        for each in (run, other):
            began_s = clock()
            for _ in range(count):
                each(inputs, sample.outputs)
            taken_s.append(clock() - began_s)
        ratios.append(taken_s[0] / max(1e-9, taken_s[1]))
    return median(ratios)


def _batch(sample: Sample, size: int) -> Mapping[str, Array]:
    return {name: np.repeat(row, size, axis=0) for name, row in sample.row.items()}


def _count(run: Run, inputs: Mapping[str, Array], outputs: tuple[str, ...], clock: Callable[[], float]) -> int:
    """How many batches make a turn."""
    run(inputs, outputs)
    began_s = clock()
    run(inputs, outputs)
    return min(_MOST, max(_FEWEST, int(_TURN_S / max(1e-9, clock() - began_s))))
