"""The row test: does each row that a signature answers depend on its own row of the input alone?

Only then may requests of strangers run in one batch. A declared shape does not say it: detections, words and centred
values have an open first dimension too. So before a version serves, rows run together, in batches of a few and of as
many as there may be, each by itself, and in another order; every output must have one row for each, and the same one
each time (within rounding). The rows are real ones where there are any, from a version's golden samples or its warm-up
file; otherwise they are drawn.

Pure NumPy: `run` may be anything that maps inputs to outputs.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from service.engine.batching.batch import wrong_rows
from service.engine.batching.batcher import Run
from service.errors import SignpostError
from service.interface import Array, Signature, TensorSpec

Inputs = Mapping[str, Array]

# Rows of a small batch, and how many of those are tried.
_FEW: Final = 3
_TRIALS: Final = 3
# Rows of a large batch that run by themselves too, at most.
_ALONE: Final = 32
# The row that holds no numbers, in a batch that has one.
_ODD: Final = 1
# Of whole numbers, which are often places in a table: drawn below each of these, as larger ones may not be there.
_BOUNDS: Final = (2, 10, 100)
_SCALES: Final = (1.0, 0.1, 10.0)
# Seconds for a test; what a model does with drawn numbers may take any time.
_MOST_S: Final = 20.0
# Smaller numbers than this, where no larger ones are beside them, may be rounding and nothing else.
_LEAST_SCALE: Final = 0.01
# And so may be what is so much smaller than the largest number of the output.
_LEAST_SHARE: Final = 1e-3
# What is forgiven in any case, and so many times what the size of a batch alone was seen to change.
_LEAST_TOLERANCE: Final = 2e-6
_NOISE: Final = 8.0


def why_not_joined(
    run: Run,
    signature: Signature,
    real: Sequence[Inputs],
    tolerance: float,
    most_rows: int,
    clock: Callable[[], float] = time.monotonic,
) -> str:
    """Find out why requests of a signature must not be joined.

    Args:
        run: the function.
        signature: its inputs and outputs.
        real: inputs that it was made for; requests of any number of rows.
        tolerance: how far numbers may differ at most that are the same but for rounding; see `rounding`.
        most_rows: rows of a batch at most.
        clock: seconds, steady; replaced in tests.

    Returns:
        The reason in words; empty if the test is passed.
    """
    if any(spec.shape is None or -1 in spec.shape[1:] for spec in signature.outputs.values()):
        return "a row of an output may have any shape, which may follow from the other rows of the batch"
    most_rows = max(2, most_rows)  # batches of one row are what larger requests are cut into
    sizes = sorted({min(_FEW, most_rows), most_rows // 2 + 1, most_rows})
    trials = list(_real_trials(real, signature, sizes))
    if not trials:
        if any(spec.dtype.kind == "O" for spec in signature.inputs.values()):
            return (
                "it takes strings, and the version's warm-up file lacks two rows with which to test "
                "whether its rows are independent"
            )
        if any(spec.shape is None or -1 in spec.shape[1:] for spec in signature.inputs.values()):
            return (
                "it takes several dimensions of any size, and the version's warm-up file lacks two rows "
                "of one shape with which to test whether its rows are independent"
            )
        trials = list(_drawn_trials(signature, sizes))
    refusal = ""
    passed = False
    until_s = clock() + _MOST_S

    def in_time(inputs: Inputs, outputs: tuple[str, ...]) -> Inputs:
        if clock() > until_s:
            raise _OutOfTime
        return run(inputs, outputs)

    for rows, odd in trials:
        try:
            found = _find_dependence(in_time, rows, odd, tolerance)
        except _OutOfTime:
            return f"its row test took more than {_MOST_S:.0f} s"
        except SignpostError as error:
            refusal = refusal or str(error)
            continue
        if found:
            return found
        passed = True
    return "" if passed else f"its row test did not run: {refusal}"


def one_row(signature: Signature, real: Sequence[Inputs]) -> Inputs | None:
    """A row that a signature takes: one that it was made for, or else one that is drawn; None where neither can be had.

    Args:
        signature: its inputs and outputs.
        real: inputs that it was made for.
    """
    for inputs in real:
        if signature.has_rows(inputs):
            return {name: array[:1] for name, array in inputs.items()}
    specs = signature.inputs.values()
    if any(spec.dtype.kind == "O" or spec.shape is None or -1 in spec.shape[1:] for spec in specs):
        return None
    generator = np.random.default_rng(0)
    return {name: _draw(generator, spec, 0, 1) for name, spec in signature.inputs.items()}


class _OutOfTime(Exception):
    """The test has taken as long as it may."""


def rounding(array: Array, tolerance: float) -> Array:
    """How far numbers of an output may differ that are the same but for rounding.

    Args:
        array: the output of a whole batch, (N, …): of a single row, sums that come to nothing would leave rounding
            alone.
        tolerance: as a share of the largest number in the same place of any row.

    Returns:
        A bound for each place in a row, (1, …).
    """
    bound: Array = tolerance * _scale(array)
    return bound


def _scale(array: Array) -> Array:
    """The largest number in each place of any row, (1, …), but not next to nothing; 1 where there are no numbers."""
    if array.dtype.kind in "iubOS" or not array.size:
        return np.ones((1,) * array.ndim)
    sizes = np.abs(array if array.dtype.kind == "c" else array.astype(np.float64))
    sizes = np.where(np.isfinite(sizes), sizes, 0.0)
    least = max(_LEAST_SCALE, _LEAST_SHARE * float(sizes.max()))
    scale: Array = np.maximum(sizes.max(axis=0, keepdims=True), least)
    return scale


def differ(one: Array, other: Array, bound: Array) -> bool:
    """Whether two arrays of an output are not the same: numbers within `bound`, all else to the letter."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return True
    if one.dtype.kind in "iubOS":
        return not bool(np.array_equal(one, other))
    wide = np.complex128 if one.dtype.kind == "c" else np.float64
    return not bool(np.isclose(one.astype(wide), other.astype(wide), rtol=0.0, atol=bound, equal_nan=True).all())


def _find_dependence(run: Run, rows: Inputs, odd: int | None, tolerance: float) -> str:
    """Why the rows of one batch are not independent; empty if they seem to be.

    Args:
        run: the function.
        rows: the batch.
        odd: the row of it that holds no numbers; what it gives itself is left out.
        tolerance: see `rounding`.
    """
    count = len(next(iter(rows.values())))
    together = run(rows, ())
    if reason := wrong_rows(together, count):
        return reason
    alone = []
    chosen = np.unique(np.linspace(0, count - 1, min(count, _ALONE)).astype(int))
    chosen = chosen[chosen != odd] if odd is not None else chosen
    for number in chosen.tolist():
        alone.append(run({name: array[number : number + 1] for name, array in rows.items()}, ()))
        if reason := wrong_rows(alone[-1], 1):
            return reason
    # The same row several times shows how the size of a batch alone changes its numbers.
    first = run({name: np.repeat(array[:1], count, axis=0) for name, array in rows.items()}, ())
    backwards = run({name: array[::-1] for name, array in rows.items()}, ())
    for name, array in together.items():
        if {each[name].shape[1:] for each in (*alone, first)} != {array.shape[1:]}:
            return f"the shape of a row of its output {name!r} depends on the other rows of the batch"
        apart = np.concatenate([each[name] for each in alone])
        most = rounding(array, tolerance)
        # What rounds to that in the first row rounds to more in rows of larger numbers.
        noise = float((_distance(first[name], apart[:1]) / _scale(apart[:1])).max(initial=0.0))
        bound = np.minimum(max(_NOISE * noise, _LEAST_TOLERANCE) * _scale(array), most)
        if (
            differ(first[name], np.repeat(apart[:1], len(first[name]), axis=0), most)
            or differ(array[chosen], apart, bound)
            or differ(array[chosen], backwards[name][::-1][chosen], bound)
        ):
            return f"a row of its output {name!r} depends on the other rows of the batch"
    return ""


def _distance(one: Array, other: Array) -> Array:
    """The largest difference of any row in each place, (1, …); 0 where they are not numbers."""
    if one.dtype.kind in "iubOS":
        return np.zeros((1,) * one.ndim)
    wide = np.complex128 if one.dtype.kind == "c" else np.float64
    with np.errstate(invalid="ignore"):  # infinite ones
        distances = np.abs(one.astype(wide) - other.astype(wide))
    largest: Array = np.where(np.isfinite(distances), distances, 0.0).max(axis=0, keepdims=True, initial=0.0)
    return largest


def _real_trials(
    real: Sequence[Inputs], signature: Signature, sizes: Sequence[int]
) -> Iterator[tuple[Inputs, int | None]]:
    """Batches of different rows, put together from requests whose rows have the same shapes."""
    groups: dict[tuple[object, ...], list[Inputs]] = {}
    for inputs in real:
        if signature.has_rows(inputs):
            key = tuple((name, array.dtype, array.shape[1:]) for name, array in sorted(inputs.items()))
            rows = len(next(iter(inputs.values())))
            kept = groups.setdefault(key, [])
            kept.extend({name: array[n : n + 1] for name, array in inputs.items()} for n in range(min(rows, sizes[-1])))
    for rows_of_group in groups.values():
        different: list[Inputs] = []
        for row in rows_of_group:
            if not any(all(np.array_equal(row[name], other[name]) for name in row) for other in different):
                different.append(row)
        if len(different) < 2:
            continue
        for size in sizes:  # larger ones than there are rows have some of them several times
            chosen = [different[number % len(different)] for number in range(size)]
            yield {name: np.concatenate([row[name] for row in chosen]) for name in chosen[0]}, None


def _drawn_trials(signature: Signature, sizes: Sequence[int]) -> Iterator[tuple[Inputs, int | None]]:
    generator = np.random.default_rng(0)
    for number in range(_TRIALS):
        yield {name: _draw(generator, spec, number, sizes[0]) for name, spec in signature.inputs.items()}, None
    for size in sizes[1:]:
        for number in range(_TRIALS):
            batch = {name: _draw(generator, spec, number, size) for name, spec in signature.inputs.items()}
            for array in batch.values():  # requests of strangers may be the same
                array[-1] = array[0]
            yield batch, None
    for value in (np.nan, np.inf):  # one request that holds none must not change the others' answers
        batch = {name: _draw(generator, spec, 0, sizes[-1]) for name, spec in signature.inputs.items()}
        floats = [array for array in batch.values() if array.dtype.kind in "fcV"]
        for array in floats:
            array[_ODD] = value
        if floats and sizes[-1] > _ODD + 1:
            yield batch, _ODD


def _draw(generator: np.random.Generator, spec: TensorSpec, number: int, rows: int) -> Array:
    shape = (rows, *(spec.shape or ())[1:])
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
