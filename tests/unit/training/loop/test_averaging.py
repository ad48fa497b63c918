"""The moving average of the weights."""

import numpy as np
import pytest

from training.loop.averaging import WeightAverage


def test_without_decay_it_is_the_last_weights() -> None:
    average = WeightAverage([np.zeros(3, dtype=np.float32)], decay=0.0)
    average.update([np.array([1, 2, 3], dtype=np.float32)])
    assert average.weights[0].tolist() == [1, 2, 3]


def test_it_follows_slowly_and_forgets_the_beginning() -> None:
    average = WeightAverage([np.full(1, 100.0, dtype=np.float32)], decay=0.99)
    values = []
    for _ in range(400):
        average.update([np.ones(1, dtype=np.float32)])
        values.append(float(average.weights[0][0]))
    assert values == sorted(values, reverse=True)
    assert values[0] > 10
    assert values[-1] == pytest.approx(1.0, abs=1e-3)


def test_it_keeps_its_own_copy() -> None:
    weights = [np.zeros(2, dtype=np.float32)]
    average = WeightAverage(weights, decay=0.5)
    weights[0][:] = 7
    assert average.weights[0].tolist() == [0, 0]
