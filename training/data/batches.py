"""Batches for one epoch: shuffled, augmented, and made ahead of time in threads.

Each batch has its own random generator, seeded by (seed, epoch, batch), so neither the number of threads nor a
resumed run changes what a batch holds.
"""

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import numpy as np

from training.data.augmentation import Augmentation, Targets, augment, mix, resize
from training.data.datasets import Dataset, Pixels, Rows

_THREADS: Final = 2
_AHEAD: Final = 6

Batch = tuple[Pixels, Targets]


def epoch_batches(
    data: Dataset, *, size: tuple[int, int], batch_size: int, how: Augmentation, smoothing: float, seed: int, epoch: int
) -> Iterator[Batch]:
    """Make the batches of one epoch; an incomplete last one is left out unless it is the only one.

    Args:
        data: the images to learn from.
        size: height and width of the batches' images, in pixels.
        batch_size: N.
        how: the augmentation.
        smoothing: share of each target that is spread over all classes.
        seed: of the run.
        epoch: counted from 0.

    Yields:
        uint8 (N, *size, C) images and float32 (N, K) targets.
    """
    order = np.random.default_rng((seed, epoch)).permutation(len(data))
    batch_size = min(batch_size, len(data))

    def make(number: int) -> Batch:
        rng = np.random.default_rng((seed, epoch, number))
        at = order[number * batch_size : (number + 1) * batch_size]
        images = augment(data.images(at), size, how, rng)
        return mix(images, data.distributions(at, smoothing), how, rng)

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="batches") as pool:
        waiting: deque[Future[Batch]] = deque()
        try:
            for number in range(len(data) // batch_size):
                waiting.append(pool.submit(make, number))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


class Timed:
    """Passes batches on and counts how long they were waited for: what the images cost a step."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        """Count from zero."""
        self._batches = batches
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Batch]:
        """The batches."""
        return self

    def __next__(self) -> Batch:
        """The next batch."""
        began = time.perf_counter()
        try:
            return next(self._batches)
        finally:
            self.seconds += time.perf_counter() - began


def plain_batches(data: Dataset, size: tuple[int, int], batch_size: int = 256) -> Iterator[tuple[Pixels, Rows]]:
    """The images in order, as they are, with their positions: for evaluation."""
    for start in range(0, len(data), batch_size):
        at = np.arange(start, min(start + batch_size, len(data)))
        yield resize(data.images(at), size), at


def steps_per_epoch(data: Dataset, batch_size: int) -> int:
    """How many batches `epoch_batches` makes."""
    return len(data) // min(batch_size, len(data))
