"""A recipe, data and a listener that are small enough for a test of the real loop."""

from collections.abc import Mapping

import numpy as np

from training.data.augmentation import Augmentation
from training.data.datasets import Data, Dataset, dataset
from training.data.request import Request
from training.recipe import Architecture, Recipe
from training.schedule import Phase


def no_data(_: Request) -> Data:
    raise AssertionError


RECIPE = Recipe(
    model="halves",
    load=no_data,
    size=(8, 8),
    channels=1,
    architecture=Architecture("cnn", widths=(4, 8), dropout=0.2),
    augmentation=Augmentation(brightness=0.1, mixup=0.2),
    phases=(Phase(4),),
    batch_size=16,
    learning_rate=2e-2,
    average_decay=0.9,
)


def halves(count: int = 96, seed: int = 0) -> Dataset:
    """Noise that is brighter in its upper or its lower half."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 120, (count, 8, 8, 1), dtype=np.uint8)
    labels = np.arange(count) % 2
    pixels[labels == 0, :4] += 120
    pixels[labels == 1, 4:] += 120
    return dataset(pixels, labels, ["upper", "lower"])


class Listener:
    """Hears everything; calls back after each step."""

    def __init__(self, interrupt_in_epoch: int | None = None) -> None:
        self.interrupt_in_epoch = interrupt_in_epoch
        self.epochs: list[Mapping[str, float]] = []
        self.steps = 0

    def say(self, text: str) -> None:
        pass

    def step(self, epoch: int, epochs: int, step: int, steps: int, _numbers: Mapping[str, float]) -> None:
        assert 1 <= step <= steps
        assert 1 <= epoch <= epochs
        self.steps += 1
        if epoch == self.interrupt_in_epoch:
            raise KeyboardInterrupt

    def epoch(self, _epoch: int, _epochs: int, numbers: Mapping[str, float]) -> None:
        self.epochs.append(numbers)
