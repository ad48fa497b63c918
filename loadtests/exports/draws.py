"""What models are asked: functions that draw the inputs of a request, so many rows of each."""

from collections.abc import Callable
from typing import Any

import numpy as np

from service.interface import Array

Inputs = dict[str, Array]
# Draws the inputs of a request of so many rows.
Draw = Callable[[np.random.Generator, int], Inputs]

_WORDS = ("cat", "dog", "bird", "fish", "größe", "", "zebra crossing", "snow man and dog", "cat cat cat")


def numbers(name: str, *shape: int, low: float = -1.0, high: float = 1.0, dtype: Any = np.float32) -> Draw:
    """Numbers of a type, even whole ones, each row of a shape."""

    def draw(random: np.random.Generator, rows: int) -> Inputs:
        values = random.uniform(low, high, (rows, *shape))
        return {name: (values if np.dtype(dtype).kind not in "iu" else np.floor(values)).astype(dtype)}

    return draw


def complex_numbers(name: str, *shape: int) -> Draw:
    """complex64, each row of a shape."""

    def draw(random: np.random.Generator, rows: int) -> Inputs:
        real, imaginary = random.uniform(-1, 1, (2, rows, *shape))
        return {name: (real + 1j * imaginary).astype(np.complex64)}

    return draw


def words(name: str, *shape: int) -> Draw:
    """Strings, some empty, some of several words, some beyond ASCII; each row of a shape."""

    def draw(random: np.random.Generator, rows: int) -> Inputs:
        return {name: strings(random.choice(_WORDS, (rows, *shape)))}

    return draw


def together(*draws: Draw) -> Draw:
    """The inputs of several draws, all with the same number of rows."""

    def draw(random: np.random.Generator, rows: int) -> Inputs:
        return {name: array for each in draws for name, array in each(random, rows).items()}

    return draw


def always(rows: int, each: Draw) -> Draw:
    """A draw that has so many rows whatever is asked."""
    return lambda random, _: each(random, rows)


def of_any_length(name: str, longest: int, shortest: int = 0, below: int = 50) -> Draw:
    """Whole numbers, int32 (rows, length), of a length that differs from request to request."""

    def draw(random: np.random.Generator, rows: int) -> Inputs:
        return {name: random.integers(below, size=(rows, random.integers(shortest, longest + 1)), dtype=np.int32)}

    return draw


def strings(values: Any) -> Array:
    """An object array of bytes, as TensorFlow's strings are."""
    array = np.asarray(values)
    made = np.empty(array.shape, np.object_)
    for index, value in np.ndenumerate(array):
        made[index] = value if isinstance(value, bytes) else str(value).encode()
    return made
