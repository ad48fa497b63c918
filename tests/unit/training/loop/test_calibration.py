"""Temperature scaling makes scores say how often they are right."""

import numpy as np
import pytest

from training.loop.calibration import fit_temperature
from training.loop.evaluate import Labels, Scores, calibration_error, softmax

pytestmark = pytest.mark.slow  # TensorFlow


def drawn(temperature: float, count: int = 4000) -> tuple[Scores, Labels]:
    """Scores of a model whose logits are `temperature` times too large, with labels drawn from the true ones."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, (count, 3)).astype(np.float32)
    honest = softmax(logits)
    labels = np.array([rng.choice(3, p=row / row.sum()) for row in honest.astype(np.float64)], dtype=np.int32)
    return softmax(logits * np.float32(temperature)), labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_is_found_again(temperature: float) -> None:
    scores, labels = drawn(temperature)
    assert fit_temperature(scores, labels) == pytest.approx(temperature, rel=0.1)


def test_it_lowers_the_calibration_error_and_keeps_the_answers() -> None:
    scores, labels = drawn(2.5)
    better = softmax(np.log(scores) / np.float32(fit_temperature(scores, labels)))
    assert calibration_error(better, labels) < 0.3 * calibration_error(scores, labels)
    np.testing.assert_array_equal(better.argmax(axis=1), scores.argmax(axis=1))


def test_images_that_say_nothing_about_confidence_change_nothing() -> None:
    scores, labels = drawn(2.5)
    assert fit_temperature(scores[:50], labels[:50]) == 1.0
    assert fit_temperature(scores, scores.argmax(axis=1).astype(np.int32)) == 1.0
    assert fit_temperature(scores[:0], labels[:0]) == 1.0
