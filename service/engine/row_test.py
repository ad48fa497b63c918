"""The row test: does each row that a signature answers depend on its own row of the input alone?

Only then may requests of strangers run in one batch. A declared shape does not say it: detections, words and centred
values have an open first dimension too. So before a version serves, a few rows run together, each by itself, and in
another order; every output must have one row for each, and the same one each time (within rounding). The rows are real
ones where there are any, from a version's golden samples or its warm-up file; otherwise they are drawn.

Pure NumPy: `run` may be anything that maps inputs to outputs.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from service.engine.batch import wrong_rows
from service.engine.batching import Run
from service.engine.interface import Array, Signature, TensorSpec
from service.errors import SignpostError

Inputs = Mapping[str, Array]

# Rows of a trial.
_ROWS: Final = 3
_TRIALS: Final = 3
# Of whole numbers, which are often places in a table: drawn below each of these, as larger ones may not be there.
_BOUNDS: Final = (2, 10, 100)
_SCALES: Final = (1.0, 0.1, 10.0)
# Seconds for a test; what a model does with drawn numbers may take any time.
_MOST_S: Final = 20.0
# Smaller numbers than this, where no larger ones are beside them, may be rounding and nothing else.
_LEAST_SCALE: Final = 0.01
# What is forgiven in any case, and so many times what the size of a batch alone was seen to change.
_LEAST_TOLERANCE: Final = 2e-6
_NOISE: Final = 8.0


def why_not_joined(
    run: Run,
    signature: Signature,
    real: Sequence[Inputs],
    tolerance: float,
    clock: Callable[[], float] = time.monotonic,
) -> str:
    """Find out why requests of a signature must not be joined.

    Args:
        run: the function.
        signature: its inputs and outputs.
        real: inputs that it was made for; requests of any number of rows.
        tolerance: how far numbers may differ at most that are the same but for rounding; see `rounding`.
        clock: seconds, steady; replaced in tests.

    Returns:
        The reason in words; empty if the test is passed.
    """
    if any(spec.shape is None or -1 in spec.shape[1:] for spec in signature.outputs.values()):
        return "a row of an output may have any shape, which may follow from the other rows of the batch"
    trials = list(_real_trials(real, signature))
    if not trials:
        if any(spec.dtype.kind == "O" for spec in signature.inputs.values()):
            return (
                "it takes strings, and there are no two rows in the version's warm-up file to find out whether its "
                "rows are independent"
            )
        if any(spec.shape is None or -1 in spec.shape[1:] for spec in signature.inputs.values()):
            return (
                "it takes several dimensions of any size, and there are no two rows of one shape in the version's "
                "warm-up file to find out whether its rows are independent"
            )
        trials = list(_drawn_trials(signature))
    refusal = ""
    passed = False
    until_s = clock() + _MOST_S

    def in_time(inputs: Inputs, outputs: tuple[str, ...]) -> Inputs:
        if clock() > until_s:
            raise _OutOfTime
        return run(inputs, outputs)

    for rows in trials:
        try:
            found = _find_dependence(in_time, rows, tolerance)
        except _OutOfTime:
            return f"its row test took more than {_MOST_S:.0f} s"
        except SignpostError as error:
            refusal = refusal or str(error)
            continue
        if found:
            return found
        passed = True
    return "" if passed else f"its row test did not run: {refusal}"


class _OutOfTime(Exception):
    """The test has taken as long as it may."""


def rounding(array: Array, tolerance: float) -> float:
    """How far numbers of an output may differ that are the same but for rounding.

    Args:
        array: the output of a whole batch: of a single row, sums that come to nothing would leave rounding alone.
        tolerance: as a share of its largest number.
    """
    if array.dtype.kind in "iubOS":
        return 0.0
    sizes = np.abs(array if array.dtype.kind == "c" else array.astype(np.float64))
    return tolerance * max(_LEAST_SCALE, float(sizes[np.isfinite(sizes)].max(initial=0.0)))


def differ(one: Array, other: Array, bound: float) -> bool:
    """Whether two arrays of an output are not the same: numbers within `bound`, all else to the letter."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return True
    if one.dtype.kind in "iubOS":
        return not bool(np.array_equal(one, other))
    wide = np.complex128 if one.dtype.kind == "c" else np.float64
    return not bool(np.allclose(one.astype(wide), other.astype(wide), rtol=0.0, atol=bound, equal_nan=True))


def _find_dependence(run: Run, rows: Inputs, tolerance: float) -> str:
    """Why the rows of one trial are not independent; empty if they seem to be."""
    count = len(next(iter(rows.values())))
    together = run(rows, ())
    if reason := wrong_rows(together, count):
        return reason
    alone = []
    for number in range(count):
        alone.append(run({name: array[number : number + 1] for name, array in rows.items()}, ()))
        if reason := wrong_rows(alone[-1], 1):
            return reason
    # The same row several times shows how the size of a batch alone changes its numbers.
    first = run({name: np.repeat(array[:1], count, axis=0) for name, array in rows.items()}, ())
    backwards = run({name: array[::-1] for name, array in rows.items()}, ())
    for name, array in together.items():
        if {each[name].shape[1:] for each in alone} != {array.shape[1:]}:
            return f"the shape of a row of its output {name!r} depends on the other rows of the batch"
        apart = np.concatenate([each[name] for each in alone])
        noise = _distance(first[name], np.repeat(apart[:1], count, axis=0))
        bound = min(max(_NOISE * noise, rounding(array, _LEAST_TOLERANCE)), rounding(array, tolerance))
        if differ(array, apart, bound) or differ(array[::-1], backwards[name], bound):
            return f"a row of its output {name!r} depends on the other rows of the batch"
    return ""


def _distance(one: Array, other: Array) -> float:
    """The largest difference between two arrays of numbers of one shape; 0 where they are no numbers."""
    if one.shape != other.shape or one.dtype.kind in "iubOS":
        return 0.0
    wide = np.complex128 if one.dtype.kind == "c" else np.float64
    distances = np.abs(one.astype(wide) - other.astype(wide))
    return float(distances[np.isfinite(distances)].max(initial=0.0))


def _real_trials(real: Sequence[Inputs], signature: Signature) -> Iterator[Inputs]:
    """Batches of different rows, put together from requests whose rows have the same shapes."""
    groups: dict[tuple[object, ...], list[Inputs]] = {}
    for inputs in real:
        if signature.has_rows(inputs):
            key = tuple((name, array.dtype, array.shape[1:]) for name, array in sorted(inputs.items()))
            rows = len(next(iter(inputs.values())))
            kept = groups.setdefault(key, [])
            kept.extend({name: array[n : n + 1] for name, array in inputs.items()} for n in range(min(rows, _ROWS)))
    for rows_of_group in groups.values():
        different: list[Inputs] = []
        for row in rows_of_group:
            if not any(all(np.array_equal(row[name], other[name]) for name in row) for other in different):
                different.append(row)
        different = different[: _TRIALS * _ROWS]
        for start in range(0, len(different), _ROWS):
            chosen = different[start : start + _ROWS]
            if len(chosen) > 1:
                yield {name: np.concatenate([row[name] for row in chosen]) for name in chosen[0]}


def _drawn_trials(signature: Signature) -> Iterator[Inputs]:
    generator = np.random.default_rng(0)
    for number in range(_TRIALS):
        yield {name: _draw(generator, spec, number) for name, spec in signature.inputs.items()}


def _draw(generator: np.random.Generator, spec: TensorSpec, number: int) -> Array:
    shape = (_ROWS, *(spec.shape or ())[1:])
    kind = spec.dtype.kind
    if kind == "b":
        return generator.integers(0, 2, shape).astype(np.bool_)
    if kind in "iu":
        bound = 256 if spec.dtype == np.uint8 else _BOUNDS[number]
        return generator.integers(0, bound, shape).astype(spec.dtype)
    values = generator.standard_normal(shape) * _SCALES[number]
    if kind == "c":
        values = values + 1j * generator.standard_normal(shape)
    return values.astype(spec.dtype)
