"""What a teacher says of an image stands beside its label."""

import numpy as np
import pytest

from tests.unit.training.tiny import halves
from training.data.augmentation import Augmentation
from training.data.batches import epoch_batches
from training.data.datasets import Pixels
from training.errors import TrainingError
from training.loop.evaluate import Scores
from training.loop.teaching import learn_from_teacher

CLASSES = ("upper", "lower")


def unsure(images: Pixels) -> Scores:
    assert images.shape[1:] == (16, 16, 1)
    return np.full((len(images), 2), 0.5, dtype=np.float32)


def test_targets_lie_between_label_and_teacher() -> None:
    data = learn_from_teacher(halves(20), unsure, (16, 16, 1), CLASSES, 0.8)
    ((_, targets),) = epoch_batches(
        data, size=(8, 8), batch_size=20, how=Augmentation(), smoothing=0.0, seed=0, epoch=0
    )
    assert sorted(targets[:, 0].tolist()) == pytest.approx([0.4] * 10 + [0.6] * 10)


def test_images_that_are_seen_several_times_are_asked_about_once() -> None:
    asked = []

    def teacher(images: Pixels) -> Scores:
        asked.append(len(images))
        return unsure(images)

    data = halves(20).subset(np.array([3, 3, 3, 8]))
    taught = learn_from_teacher(data, teacher, (16, 16, 1), CLASSES, 1.0)
    assert sum(asked) == 2
    assert taught.distributions(np.arange(4), 0.0) == pytest.approx(np.full((4, 2), 0.5))


@pytest.mark.parametrize(("shape", "classes"), [((16, 16, 1), ("cat", "dog")), ((16, 16, 3), CLASSES)])
def test_a_teacher_of_something_else_is_refused(shape: tuple[int, int, int], classes: tuple[str, ...]) -> None:
    with pytest.raises(TrainingError, match="The teacher's classes"):
        learn_from_teacher(halves(4), unsure, shape, classes, 0.5)
