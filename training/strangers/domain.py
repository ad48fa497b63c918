"""Whether a network knows what it sees, told from its features: those that its last layer turns into scores.

Two questions are asked, and the less sure answer counts. Is the image on the own side of a plane that parts the
network's own images from outsiders? And is it near one of some images that it learned from, by the angle between their
features? The first tells photographs of other things; the second what no outsider resembled, noise and blanks above
all. Both are scaled so that the bound is the same for every model, 0.5, and passed by `PASSING` of the validation
images.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from training.data.datasets import Labels

Features = npt.NDArray[np.float32]  # (N, F)
Values = npt.NDArray[np.floating[Any]]  # (N,)

PASSING: Final = 0.95
BANK: Final = 96
_PENALTIES: Final = (3.0, 30.0, 300.0, 3000.0)
_STEPS: Final = 15
_TINY: Final = 1e-6
_HELD: Final = 5  # one outsider of so many chooses the penalty


@dataclass(frozen=True, eq=False)
class Domain:
    """What tells a network's own images from others.

    Attributes:
        mean, deviation: of the features of own images, (F,).
        weights, bias: of the plane, (F,) and a number.
        bank: features of images that it learned from, (B, F), each of length 1.
        slope, offset: of the nearness to the bank.
    """

    mean: Features
    deviation: Features
    weights: Features
    bias: float
    bank: Features
    slope: float
    offset: float

    def tell(self, features: Features) -> npt.NDArray[np.float32]:
        """How well the network knows each image: float32 (N,), 0 to 1."""
        around = _around(features, self.mean, self.deviation)
        plane = around @ self.weights + self.bias
        near = self.slope * (_nearest(around, self.bank) - self.offset)
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(np.minimum(plane, near), -30, 30))), dtype=np.float32)


def fit_domain(own: Features, validation: Features, outsiders: Features, kinds: Labels, seed: int) -> Domain:
    """Find what tells own images from outsiders.

    Args:
        own: features of images that the network learned from, (N, F).
        validation: of images that it did not learn from, which set the bound.
        outsiders: of images of other things.
        kinds: of which kind each of those is; all kinds count the same, however many images they have.
        seed: which of the own images the bank holds.
    """
    mean, deviation = own.mean(axis=0), own.std(axis=0) + 1e-3
    own, validation, outsiders = (_around(each, mean, deviation) for each in (own, validation, outsiders))
    rng = np.random.default_rng(seed)
    bank = own[rng.permutation(len(own))[:BANK]]
    bank = bank / np.maximum(np.linalg.norm(bank, axis=1, keepdims=True), _TINY)
    held = np.arange(len(outsiders)) % _HELD == 0
    shares = 1.0 / np.bincount(kinds)[kinds]
    shares /= shares.sum()
    planes = [_plane(own, outsiders[~held], shares[~held], penalty) for penalty in _PENALTIES]
    weights, bias = max(planes, key=lambda plane: auroc(validation @ plane[0], outsiders[held] @ plane[0]))
    sides, nears = validation @ weights + bias, _nearest(validation, bank)
    of_outsiders = (outsiders @ weights + bias, _nearest(outsiders, bank))
    bounds = _bounds(sides, nears, of_outsiders, shares)
    scales = [max(float(values.std()), _TINY) for values in (sides, nears)]
    return Domain(
        mean=mean.astype(np.float32),
        deviation=deviation.astype(np.float32),
        weights=(weights / scales[0]).astype(np.float32),
        bias=float((bias - bounds[0]) / scales[0]),
        bank=bank.astype(np.float32),
        slope=1.0 / scales[1],
        offset=bounds[1],
    )


def auroc(own: npt.NDArray[np.floating], others: npt.NDArray[np.floating]) -> float:
    """How often one of `own` is higher than one of `others`: 1 where all are, 0.5 where it is chance."""
    order = np.sort(others)
    below, upto = np.searchsorted(order, own, "left"), np.searchsorted(order, own, "right")
    return float((below + upto).mean() / (2 * len(others)))


def _around(features: Features, mean: Features, deviation: Features) -> Features:
    return np.asarray((features - mean) / deviation, dtype=np.float32)


def _nearest(around: Features, bank: Features) -> npt.NDArray[np.float32]:
    lengths = np.maximum(np.linalg.norm(around, axis=1), _TINY)
    return np.asarray((around @ bank.T).max(axis=1) / lengths, dtype=np.float32)


def _plane(own: Features, outsiders: Features, shares: Values, penalty: float) -> tuple[Values, float]:
    """Logistic regression by Newton's method, both sides of one weight: weights (F,) and bias."""
    x = np.concatenate([own, outsiders]).astype(np.float64)
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    y = np.repeat([1.0, 0.0], [len(own), len(outsiders)])
    counts = np.concatenate([np.full(len(own), 1.0 / len(own)), shares / shares.sum()]) * (len(x) / 2)
    ridge = np.full(x.shape[1], penalty)
    ridge[-1] = _TINY
    found = np.zeros(x.shape[1])
    for _ in range(_STEPS):
        share = 1.0 / (1.0 + np.exp(-np.clip(x @ found, -30, 30)))
        slope = x.T @ (counts * (share - y)) + ridge * found
        bend = (x * (counts * share * (1 - share))[:, None]).T @ x + np.diag(ridge)
        step = np.linalg.solve(bend, slope)
        found -= step
        if np.abs(step).max() < 1e-4:
            break
    return found[:-1], float(found[-1])


def _bounds(sides: Values, nears: Values, of_outsiders: tuple[Values, Values], shares: Values) -> tuple[float, float]:
    """The two bounds that `PASSING` of the validation images pass together, and the fewest outsiders."""
    spare = 1.0 - PASSING
    best, bounds = np.inf, (float(sides.min()), float(nears.min()))
    for share in np.linspace(0.0, spare, 11):
        side = float(np.quantile(sides, share))
        passing = nears[sides >= side]
        left = (len(sides) * spare - (len(sides) - len(passing))) / max(len(passing), 1)
        near = float(np.quantile(passing, max(left, 0.0)))
        let_in = float(((of_outsiders[0] >= side) & (of_outsiders[1] >= near)) @ shares)
        if let_in < best:
            best, bounds = let_in, (side, near)
    return bounds
