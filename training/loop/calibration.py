"""Temperature scaling: one number that makes scores say how often they are right (Guo et al., 2017)."""

from typing import Final

import numpy as np

from training.data.datasets import Labels
from training.loop.evaluate import Scores

_RANGE: Final = (0.25, 4.0)
_STEPS: Final = 200
_FEWEST: Final = 100


def fit_temperature(scores: Scores, labels: Labels) -> float:
    """The temperature by which logits should be divided.

    Args:
        scores: of validation images, (N, K).
        labels: their true classes, (N,).

    Returns:
        1 when the images are too few or all right: then they do not tell how sure to be.
    """
    if len(labels) < _FEWEST or (scores.argmax(axis=1) == labels).all():
        return 1.0
    logits = np.log(np.maximum(scores.astype(np.float64), 1e-12))
    candidates = np.geomspace(*_RANGE, _STEPS)
    losses = [_loss(logits / candidate, labels) for candidate in candidates]
    return float(candidates[int(np.argmin(losses))])


def _loss(logits: np.ndarray[tuple[int, ...], np.dtype[np.float64]], labels: Labels) -> float:
    shifted = logits - logits.max(axis=1, keepdims=True)
    chosen = shifted[np.arange(len(labels)), labels]
    return float((np.log(np.exp(shifted).sum(axis=1)) - chosen).mean())
