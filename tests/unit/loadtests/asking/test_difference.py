"""What counts as another answer than the right one; a comparison that lets anything pass would prove nothing."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from loadtests.asking.difference import difference

FLOATS = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
STRINGS = np.array([b"cat", "größe".encode()], np.object_)


@pytest.mark.parametrize(
    ("right", "found"),
    [
        (FLOATS, FLOATS * np.float32(1 + 1e-6)),
        (FLOATS, [[1.0, 2.0], [3.0, 4.000001]]),
        (FLOATS.astype(ml_dtypes.bfloat16), [[1.0, 2.0], [3.0, 4.0]]),
        (np.array([1, 2], np.int64), [1, 2]),
        (np.array([True, False]), [True, False]),
        (STRINGS, STRINGS.copy()),
        (STRINGS, ["cat", "größe"]),
        (np.array([np.nan, np.inf], np.float32), [float("nan"), float("inf")]),
        (np.zeros((0, 3), np.float32), []),
        (np.zeros((2, 0), np.float32), [[], []]),
        (np.float32(2.5).reshape(()), 2.5),
        (np.array([3.670561e-4], np.float32), [3.670454e-4]),  # a sum of what nearly cancels out
    ],
)
def test_the_same_but_for_rounding_is_right(right: Any, found: Any) -> None:
    assert difference({"y": right}, {"y": found}) == ""


@pytest.mark.parametrize(
    ("right", "found", "says"),
    [
        (FLOATS, FLOATS * np.float32(1 + 1e-4), "y: [[1.0"),
        (FLOATS, [[1.0, 2.0], [3.0, 4.001]], "not [[1.0, 2.0], [3.0, 4.0]]"),
        (FLOATS, FLOATS.astype(np.float64), "float64, not float32"),
        (FLOATS, FLOATS[:1], "shape [1, 2], not [2, 2]"),
        (FLOATS, [1.0, 2.0], "shape [2], not [2, 2]"),
        (FLOATS, [[1.0, 2.0], [3.0]], "is ragged"),
        (FLOATS, [["1", "2"], ["3", "4"]], "not of JSON's type for float32"),
        (FLOATS, [[1, 2], [3, 4]], "not of JSON's type for float32"),
        (np.array([1, 2], np.int64), [1, 3], "[1, 3], not [1, 2]"),
        (np.array([1, 2], np.int64), [1.0, 2.0], "not of JSON's type for int64"),
        (np.array([True]), [1], "not of JSON's type for bool"),
        (STRINGS, ["cat", "dog"], "not"),
        (np.array([np.nan], np.float32), [0.0], "not"),
        (np.zeros((0, 3), np.float32), FLOATS, "shape [2, 2], not [0, 3]"),
    ],
)
def test_what_differs_is_told(right: Any, found: Any, says: str) -> None:
    assert says in difference({"y": right}, {"y": found})


def test_outputs_that_lack_or_are_too_many_are_told() -> None:
    assert difference({"y": FLOATS}, {}) == "outputs [], not ['y']"
    assert difference({"y": FLOATS}, {"y": FLOATS, "z": FLOATS}) == "outputs ['y', 'z'], not ['y']"


def test_what_is_never_twice_the_same_must_lie_within_its_bounds() -> None:
    assert difference({"y": FLOATS}, {"y": FLOATS[::-1]}, {"y": (0.0, 4.0)}) == ""
    assert "is not within" in difference({"y": FLOATS}, {"y": FLOATS}, {"y": (0.0, 3.0)})
    assert "shape" in difference({"y": FLOATS}, {"y": FLOATS[:1]}, {"y": (0.0, 4.0)})
