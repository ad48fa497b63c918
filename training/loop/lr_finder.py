"""The learning-rate finder (Smith, 2015): raise the rate with every step, and see where the loss falls fastest."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import keras
import numpy as np

from training.data.batches import Batch, epoch_batches
from training.data.datasets import Dataset
from training.errors import TrainingError
from training.loop.fit import make_optimizer
from training.network import architectures
from training.recipe import Recipe

_LOWEST: Final = 1e-6
_HIGHEST: Final = 1.0
_SMOOTHING: Final = 0.9
_DIVERGED: Final = 4.0  # times the lowest loss
_FEWEST: Final = 10


@dataclass(frozen=True)
class Found:
    """What the finder saw.

    Attributes:
        rates: that were tried, rising.
        losses: smoothed, one for each rate.
        suggested: where the loss falls fastest.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggested: float


def find(recipe: Recipe, train: Dataset, seed: int, steps: int = 100) -> Found:
    """Train for some steps with rising rates; the network is thrown away.

    Raises:
        TrainingError: the loss diverged at once, so nothing can be suggested.
    """
    keras.utils.set_random_seed(seed)
    network = architectures.build(recipe.architecture, (*recipe.size, recipe.channels), len(train.classes))
    network.compile(
        optimizer=make_optimizer(recipe),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        jit_compile=keras.backend.backend() != "tensorflow",
    )
    batches = _endless(recipe, train, seed)
    rates: list[float] = []
    losses: list[float] = []
    mean = 0.0
    for step, rate in enumerate(np.geomspace(_LOWEST, _HIGHEST, steps), start=1):
        network.optimizer.learning_rate = float(rate)
        images, targets = next(batches)
        loss = float(network.train_on_batch(images, targets, return_dict=True)["loss"])
        mean = _SMOOTHING * mean + (1.0 - _SMOOTHING) * loss
        smoothed = mean / (1.0 - _SMOOTHING**step)  # corrects for the beginning at zero
        if not np.isfinite(loss) or (losses and smoothed > _DIVERGED * min(losses)):
            break
        rates.append(float(rate))
        losses.append(smoothed)
    if len(rates) < _FEWEST:
        raise TrainingError(f"The loss already diverged at a learning rate of {rate:.1g}; is the input scaled?")
    return Found(tuple(rates), tuple(losses), suggest(rates, losses))


def suggest(rates: list[float], losses: list[float]) -> float:
    """The rate at which the loss falls fastest, before it is lowest."""
    slopes = np.gradient(np.asarray(losses), np.log(np.asarray(rates)))
    until = max(2, int(np.argmin(losses)) + 1)
    return rates[int(np.argmin(slopes[:until]))]


def _endless(recipe: Recipe, train: Dataset, seed: int) -> Iterator[Batch]:
    epoch = 0
    while True:
        yield from epoch_batches(
            train,
            size=recipe.size,
            batch_size=recipe.batch_size,
            how=recipe.augmentation,
            smoothing=recipe.label_smoothing,
            seed=seed,
            epoch=epoch,
        )
        epoch += 1
