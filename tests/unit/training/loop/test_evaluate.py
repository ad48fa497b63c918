"""Counts, intervals and calibration against numbers worked out by hand."""

import numpy as np
import pytest

from training.loop.evaluate import calibration_error, interval, measure, softmax

pytestmark = pytest.mark.slow  # TensorFlow


def test_what_is_counted() -> None:
    scores = np.array([[0.9, 0.1, 0], [0.2, 0.7, 0.1], [0.6, 0.4, 0], [0, 0.5, 0.5]], dtype=np.float32)
    metrics = measure(scores, np.array([0, 1, 1, 2], dtype=np.int32))
    assert (metrics.images, metrics.correct, metrics.accuracy) == (4, 2, 0.5)
    assert metrics.confusion.tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert metrics.loss == pytest.approx(-np.log([0.9, 0.7, 0.4, 0.5]).mean(), abs=1e-6)
    card = metrics.as_dict(("a", "b", "c"))
    assert card["per_class"]["b"] | {"precision_interval_95": 0, "recall_interval_95": 0} == {
        "images": 2, "precision": 0.5, "recall": 0.5, "f1": 0.5, "precision_interval_95": 0, "recall_interval_95": 0,
    }  # fmt: skip
    assert card["reliability"] == [[1, 0.5, 0.0], [1, 0.6, 0.0], [1, 0.7, 1.0], [1, 0.9, 1.0]]
    assert card["per_class"]["c"]["precision"] is None
    assert card["per_class"]["c"]["recall"] == 0.0


@pytest.mark.parametrize(
    ("successes", "trials", "bounds"),
    [(0, 0, (0, 1)), (0, 10, (0, 0.2775)), (10, 10, (0.7225, 1)), (50, 100, (0.4038, 0.5962))],
)
def test_wilsons_interval(successes: int, trials: int, bounds: tuple[float, float]) -> None:
    assert interval(successes, trials) == pytest.approx(bounds, abs=1e-4)


def test_scores_that_say_how_often_they_are_right_have_no_calibration_error() -> None:
    labels = np.array([0, 0, 0, 1], dtype=np.int32)
    honest = np.tile(np.array([[0.75, 0.25]], dtype=np.float32), (4, 1))
    assert calibration_error(honest, labels) == pytest.approx(0.0)
    assert calibration_error(np.tile(np.array([[1.0, 0.0]], dtype=np.float32), (4, 1)), labels) == pytest.approx(0.25)


def test_softmax_adds_up_to_one_whatever_the_logits() -> None:
    scores = softmax(np.array([[1000.0, 0.0], [-1000.0, -1000.0]], dtype=np.float32))
    np.testing.assert_allclose(scores, [[1, 0], [0.5, 0.5]])
