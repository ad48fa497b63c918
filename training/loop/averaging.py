"""The exponential moving average of a network's weights: usually better than the weights themselves."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

Weights = list[npt.NDArray[np.float32]]


class WeightAverage:
    """Follows the weights; early on faster, so that the random beginning is soon forgotten.

    It holds every weight, the statistics of batch normalisation too, which then fit the averaged kernels. Fetching
    the weights takes a tenth of a short step, so it is fed every few steps, with a decay for that many.
    """

    every: Final = 4

    def __init__(self, weights: Sequence[npt.NDArray[np.float32]], decay: float) -> None:
        """Begin at `weights`; a `decay` of 0 means no averaging."""
        self.decay = decay**self.every
        self.steps = 0
        self.weights: Weights = [np.array(weight, dtype=np.float32) for weight in weights]

    def update(self, weights: Sequence[npt.NDArray[np.float32]]) -> None:
        """Move towards the weights after `every` steps."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps)) if self.decay else 0.0
        for mean, weight in zip(self.weights, weights, strict=True):
            mean *= decay
            mean += (1.0 - decay) * np.asarray(weight, dtype=np.float32)
