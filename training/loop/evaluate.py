"""Numbers about a classifier: from scores to accuracy, confusion, precision and recall, each with its counts."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from training.data.batches import plain_batches
from training.data.datasets import Dataset, Labels, Pixels, Rows

if TYPE_CHECKING:
    import keras

__all__ = ["Labels", "Metrics", "Rows", "Scores"]

Scores = npt.NDArray[np.float32]

_BINS = 15


def predict(network: "keras.Model", data: Dataset, size: tuple[int, int]) -> Scores:
    """The scores of all images: float32 (N, K), each row adding up to 1."""
    scores = np.zeros((len(data), len(data.classes)), dtype=np.float32)
    for images, at in plain_batches(data, size):
        scores[at] = predict_pixels(network, images)
    return scores


def predict_pixels(network: "keras.Model", pixels: Pixels) -> Scores:
    """The scores of one batch: uint8 (N, H, W, C) to float32 (N, K)."""
    return softmax(np.asarray(network.predict_on_batch(pixels), dtype=np.float32))


def softmax(logits: Scores) -> Scores:
    """Logits (N, K) to scores (N, K)."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), dtype=np.float32)


def loss_and_accuracy(scores: Scores, labels: Labels) -> dict[str, float]:
    """Mean negative log likelihood and accuracy, under the names of a history."""
    chosen = scores[np.arange(len(labels)), labels]
    return {
        "val_loss": float(-np.log(np.maximum(chosen, 1e-12)).mean()),
        "val_accuracy": float((scores.argmax(axis=1) == labels).mean()),
    }


@dataclass(frozen=True, eq=False)
class Metrics:
    """What a test says about a classifier.

    Attributes:
        images: N.
        correct: how many of them were right.
        confusion: int64 (K, K), rows the true class, columns the predicted one.
        loss: mean negative log likelihood.
        calibration_error: expected difference between score and accuracy, over 15 bins.
        reliability: those bins, see `reliability`.
    """

    images: int
    correct: int
    confusion: npt.NDArray[np.int64]
    loss: float
    calibration_error: float
    reliability: Sequence[tuple[int, float, float]]

    @property
    def accuracy(self) -> float:
        """Share of the images that were right."""
        return self.correct / self.images

    def as_dict(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """Everything as plain data, for the model card."""
        return {
            "images": self.images,
            "correct": self.correct,
            "accuracy": round(self.accuracy, 6),
            "accuracy_interval_95": [round(bound, 6) for bound in interval(self.correct, self.images)],
            "loss": round(self.loss, 6),
            "calibration_error": round(self.calibration_error, 6),
            "reliability": [[count, round(score, 4), round(right, 4)] for count, score, right in self.reliability],
            "per_class": per_class(self.confusion, classes),
            "confusion": self.confusion.tolist(),
        }


def measure(scores: Scores, labels: Labels) -> Metrics:
    """Compare scores (N, K) with labels (N,)."""
    classes = scores.shape[1]
    found = scores.argmax(axis=1)
    confusion = np.bincount(labels.astype(np.int64) * classes + found, minlength=classes * classes)
    return Metrics(
        images=len(labels),
        correct=int((found == labels).sum()),
        confusion=confusion.reshape(classes, classes).astype(np.int64),
        loss=loss_and_accuracy(scores, labels)["val_loss"],
        calibration_error=calibration_error(scores, labels),
        reliability=reliability(scores, labels),
    )


def interval(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a share: 95 % for the default `z`; (0, 1) without trials."""
    if not trials:
        return 0.0, 1.0
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    reach = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)
    return max(0.0, centre - reach), min(1.0, centre + reach)


def per_class(confusion: npt.NDArray[np.int64], classes: tuple[str, ...]) -> dict[str, Mapping[str, Any]]:
    """Precision, recall and F1 of each class, with their intervals and counts."""
    table: dict[str, Mapping[str, Any]] = {}
    for index, name in enumerate(classes):
        right = int(confusion[index, index])
        actual, predicted = int(confusion[index].sum()), int(confusion[:, index].sum())
        table[name] = {
            "images": actual,
            "precision": round(right / predicted, 6) if predicted else None,
            "precision_interval_95": [round(bound, 6) for bound in interval(right, predicted)],
            "recall": round(right / actual, 6) if actual else None,
            "recall_interval_95": [round(bound, 6) for bound in interval(right, actual)],
            "f1": round(2 * right / (actual + predicted), 6) if actual + predicted else None,
        }
    return table


def reliability(scores: Scores, labels: Labels) -> list[tuple[int, float, float]]:
    """For each bin of the highest score: number of images, mean score, accuracy; empty bins are left out."""
    highest, right = scores.max(axis=1), scores.argmax(axis=1) == labels
    bins = np.minimum((highest * _BINS).astype(int), _BINS - 1)
    return [
        (int((bins == index).sum()), float(highest[bins == index].mean()), float(right[bins == index].mean()))
        for index in range(_BINS)
        if (bins == index).any()
    ]


def calibration_error(scores: Scores, labels: Labels) -> float:
    """Expected calibration error: how far scores are from the fraction correct, on average."""
    parts = reliability(scores, labels)
    return sum(count * abs(score - accuracy) for count, score, accuracy in parts) / max(1, len(labels))
