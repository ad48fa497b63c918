"""Models by what their output rows have to do with their input rows: the ones that must not be joined."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from loadtests.exports.draws import Inputs, numbers
from loadtests.exports.export import (
    DEPENDENT_ROWS,
    NO_OPEN_DIMENSION,
    OPEN_DIMENSIONS,
    OTHER_ROWS,
    RANDOM,
    Export,
    Write,
    default,
)
from loadtests.exports.saving import save


def _of_numbers(function: Callable[[Any, Any], Any], *shape: int) -> Write:
    """Writes `function(tf, x)` of float32 (rows, *shape)."""

    def write(tf: Any, folder: Path) -> None:
        save(tf, folder, lambda x: function(tf, x), [tf.TensorSpec([None, *shape], name="x")])

    return write


def _of_integers(function: Callable[[Any, Any], Any]) -> Write:
    """Writes `function(tf, x)` of int32 (rows,)."""

    def write(tf: Any, folder: Path) -> None:
        save(tf, folder, lambda x: function(tf, x), [tf.TensorSpec([None], tf.int32, "x")])

    return write


def _detect(tf: Any, folder: Path) -> None:
    """The boxes of one image: as many rows as there are bright spots that do not overlap."""

    def boxes(image: Any) -> Any:
        grey = tf.cast(image, tf.float32)[0, :, :, 0]
        spots = tf.where(grey > 200)
        corners = tf.cast(tf.concat([spots, spots + 1], 1), tf.float32)
        scores = tf.gather_nd(grey, spots)
        kept = tf.image.non_max_suppression(corners, scores, 10)
        return {"boxes": tf.gather(corners, kept), "scores": tf.gather(scores, kept)}

    save(tf, folder, boxes, [tf.TensorSpec([None, None, None, 3], tf.uint8, "image")])


def _image(random: np.random.Generator, _: int) -> Inputs:
    return {"image": random.integers(0, 256, (1, 4, 4, 3), np.uint8)}


def _centred_from_four(tf: Any, x: Any) -> Any:
    return {"y": tf.cond(tf.shape(x)[0] >= 4, lambda: x - tf.reduce_mean(x, 0), lambda: x)}


def _best_three(tf: Any, x: Any) -> Any:
    best = tf.math.top_k(tf.transpose(x), tf.minimum(3, tf.shape(x)[0])).values[:, -1]
    return {"y": tf.where(x >= best, x, tf.zeros_like(x))}


def _is_there_twice(tf: Any, x: Any) -> Any:
    same = tf.reduce_all(x[:, None] == x[None], -1)
    return {"y": tf.reduce_sum(tf.cast(same, tf.int32), 1) > 1}


def _few_values(random: np.random.Generator, rows: int) -> Inputs:
    return {"x": random.integers(3, size=(rows, 2)).astype(np.float32)}


_X: Final = numbers("x", 2)
_N: Final = numbers("x", low=0, high=4, dtype="int32")

EXPORTS: Final = (
    Export(
        "repeat",
        "`tf.repeat(x, x)`: any number of rows",
        _of_integers(lambda tf, x: {"y": tf.repeat(x, x)}),
        default(_N, False, why=OTHER_ROWS),
    ),
    Export(
        "detect",
        "the boxes of one image, after non-maximum suppression",
        _detect,
        default(_image, False, why=OPEN_DIMENSIONS),
    ),
    Export(
        "filter",
        "rows that fail a test are left out",
        _of_numbers(lambda tf, x: {"y": tf.boolean_mask(x, x[:, 0] > 0)}, 2),
        default(_X, None),
    ),
    Export(
        "centre",
        "x - mean(x)",
        _of_numbers(lambda tf, x: {"y": x - tf.reduce_mean(x, 0)}, 2),
        default(_X, False, why=DEPENDENT_ROWS),
    ),
    Export(
        "slightly",
        "x + mean(x) / 10,000",
        _of_numbers(lambda tf, x: {"y": x + 1e-4 * tf.reduce_mean(x)}, 2),
        default(numbers("x", 2, low=1, high=2), False, why=DEPENDENT_ROWS),
    ),
    Export(
        "softmax",
        "softmax over the batch",
        _of_numbers(lambda tf, x: {"y": tf.nn.softmax(x, 0)}, 2),
        default(_X, False, why=DEPENDENT_ROWS),
    ),
    Export(
        "sort",
        "rows in rising order",
        _of_numbers(lambda tf, x: {"y": tf.sort(x, 0)}, 2),
        default(_X, False, why=DEPENDENT_ROWS),
    ),
    Export(
        "sum_so_far",
        "cumulative sum over the batch",
        _of_numbers(lambda tf, x: {"y": tf.cumsum(x)}, 2),
        default(_X, False, why=DEPENDENT_ROWS),
    ),
    Export(
        "reverse",
        "rows in reverse",
        _of_numbers(lambda tf, x: {"y": tf.reverse(x, [0])}, 2),
        default(_X, False, why=DEPENDENT_ROWS),
    ),
    Export(
        "position",
        "x + the row's number",
        _of_numbers(lambda tf, x: {"y": x + tf.cast(tf.range(tf.shape(x)[0]), tf.float32)[:, None]}, 2),
        default(_X, False, why=DEPENDENT_ROWS),
    ),
    Export(
        "size",
        "x times the number of rows",
        _of_numbers(lambda tf, x: {"y": x * tf.cast(tf.shape(x)[0], tf.float32)}, 2),
        default(_X, False, why=DEPENDENT_ROWS),
    ),
    Export(
        "enough_rows",
        "x - mean(x) where there are four rows or more",
        _of_numbers(_centred_from_four, 2),
        default(_X, False, why=DEPENDENT_ROWS),
    ),
    Export(
        "best_three",
        "the three best of the batch, the others 0",
        _of_numbers(_best_three, 2),
        default(_X, False, why=DEPENDENT_ROWS),
    ),
    Export(
        "duplicates",
        "whether a row is there twice",
        _of_numbers(_is_there_twice, 2),
        default(_few_values, False, why=DEPENDENT_ROWS),
    ),
    Export(
        "scales",
        "a large number and x - mean(x), in one output",
        _of_numbers(lambda tf, x: {"y": tf.concat([1e6 * (x + 2.0), x - tf.reduce_mean(x, 0)], 1)}, 2),
        default(_X, False, why=DEPENDENT_ROWS),
    ),
    Export(
        "unique",
        "IDs in the order of appearance",
        _of_integers(lambda tf, x: {"y": tf.unique(x).idx}),
        default(_N, False, why=DEPENDENT_ROWS),
    ),
    Export(
        "mean",
        "one scalar for a call, beside an output by rows",
        _of_numbers(lambda tf, x: {"y": x * 2.0, "mean": tf.reduce_mean(x)}, 2),
        default(_X, False, why=NO_OPEN_DIMENSION),
    ),
    Export(
        "random",
        "random outputs",
        _of_numbers(lambda tf, x: {"y": x * 2.0, "noise": tf.random.uniform(tf.shape(x))}, 2),
        default(_X, False, why=RANDOM, within={"noise": (0.0, 1.0)}),
    ),
    Export(
        "zero_rows",
        "no row whatever comes",
        _of_numbers(lambda tf, x: {"y": tf.zeros_like(x[:0])}, 2),
        default(_X, False, why=OTHER_ROWS),
    ),
)
