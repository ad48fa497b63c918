"""Learning from a teacher: what a larger network says of each image, beside its label."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from training.data.augmentation import resize
from training.data.datasets import Dataset, Pixels
from training.errors import TrainingError
from training.loop.evaluate import Scores

_BATCH = 64


def learn_from_teacher(
    data: Dataset,
    ask: Callable[[Pixels], Scores],
    shape: tuple[int, int, int],
    classes: Sequence[str],
    share: float,
) -> Dataset:
    """Put a teacher's scores into what is to be learned.

    The teacher sees each image as it is, once; asking again for each augmented one would cost more than the training.

    Args:
        data: the images to learn from.
        ask: the teacher, from pixels (N, H, W, C) to scores (N, K).
        shape: (H, W, C) that the teacher takes.
        classes: the teacher's.
        share: of the teacher's scores in the targets; the rest are the labels.

    Raises:
        TrainingError: the teacher knows other classes or takes other images.
    """
    if tuple(classes) != data.classes or shape[2] != data.shape[2]:
        raise TrainingError(
            f"The teacher's classes are {', '.join(classes)} in images of {shape[2]} channels; those to be learned are "
            f"{', '.join(data.classes)} in images of {data.shape[2]}."
        )
    rows = np.unique(data.rows)
    soft = np.zeros((len(data.pixels), len(classes)), dtype=np.float32)
    for start in range(0, len(rows), _BATCH):
        some = rows[start : start + _BATCH]
        told = ask(resize(data.pixels[some], shape[:2]))
        labels = np.eye(len(classes), dtype=np.float32)[data.labels[some]]
        soft[some] = share * told + (1.0 - share) * labels
    return replace(data, soft=soft)
