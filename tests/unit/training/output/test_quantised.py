"""A network in int8: how much it may lose, and what is said of it."""

from typing import Any

import pytest

from training.errors import TrainingError
from training.output import quantised

pytestmark = pytest.mark.slow  # TensorFlow


def card(correct: int, in_int8: int, images: int = 1000, epochs: int = 0) -> dict[str, Any]:
    def test(right: int) -> dict[str, Any]:
        return {"test": {"images": images, "correct": right, "accuracy": right / images}}

    return {
        "metrics": test(correct),
        "training": {"epochs": epochs},
        "timings": {"ms_per_image_batch_32": 4.0},
        "int8": {
            "metrics": test(in_int8),
            "against_float": {"other_classes": 9},
            "timings": {"ms_per_image_batch_32": 1.0},
        },
    }


@pytest.mark.parametrize(
    ("correct", "in_int8", "images", "most_lost"),
    [(950, 950, 1000, 0.0), (950, 960, 1000, 0.003), (950, 947, 1000, 0.003), (49, 48, 50, 0.003), (49, 40, 50, 0.2)],
)
def test_little_may_be_lost_and_one_image_always(correct: int, in_int8: int, images: int, most_lost: float) -> None:
    quantised.check_loss(card(correct, in_int8, images), most_lost)


@pytest.mark.parametrize(
    ("correct", "in_int8", "images", "says"),
    [
        (950, 946, 1000, "right on 946 of 1000 test images and in float on 950: 0.0040 of its accuracy would be lost"),
        (49, 47, 50, "right on 47 of 50 test images"),
    ],
)
def test_more_refuses_with_the_numbers(correct: int, in_int8: int, images: int, says: str) -> None:
    with pytest.raises(TrainingError, match=says) as told:
        quantised.check_loss(card(correct, in_int8, images), 0.003)
    assert "Nothing was published" in str(told.value)
    assert "--resume" not in str(told.value)


def test_what_was_trained_is_not_lost_with_it() -> None:
    with pytest.raises(TrainingError, match="--resume"):
        quantised.check_loss(card(950, 900, epochs=3), 0.003)


def test_both_accuracies_are_told() -> None:
    said = quantised.in_words(card(950, 948))
    assert "948 of 1000 right, accuracy 0.9480, where the float network reached 0.9500" in said
    assert "9 images get another class" in said
    assert "4.0 times as fast as TensorFlow" in said
