"""Which runtime serves a version: the fastest that answers as the reference does, found out by running both.

Pure Python and NumPy: runtimes and reference may be anything that maps arrays to arrays.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from service.engine.batching.batcher import Run
from service.engine.joining.row_test import differ, rounding
from service.engine.runtimes.part import NotTaken, Opened
from service.errors import SignpostError
from service.interface import REFERENCE, Array, RunBy

# How many times as fast a runtime has to be to serve, over all sizes, and at least at each of them.
_GAIN: Final = 1.05
_LEAST: Final = 0.95
# How far scores may be from the reference's.
TOLERANCE: Final = 1e-3
# Two runs of the reference that differ by more, as a share of the largest number, are random.
_SAME: Final = 1e-5
# Rows of such a run.
_FEW: Final = 4
# Scores that are nearer to each other than this may change places.
_TIE: Final = 1e-5
# Turns of measuring at a size, at least and at most, and seconds of measuring altogether.
_TURNS: Final = (2, 9)
_MOST_S: Final = 2.5
# Of those that it takes at each size.
_SIZE_S: Final = 0.5

Inputs = Mapping[str, Array]


@dataclass(frozen=True)
class Candidate:
    """A runtime that may be able to serve.

    Attributes:
        name: of the runtime.
        open: opens it with the version's part; raises NotTaken where it can't.
        trial: what it is tried with, where that is not what all are.
    """

    name: str
    open: Callable[[], Opened]
    trial: "Trial | None" = None


@dataclass(frozen=True)
class Trial:
    """What runtimes are tried with.

    Attributes:
        inputs: a request of several rows.
        outputs: the numbers that are wanted of it.
        sizes: of the batches that will run, the smallest first.
        recorded: what the trainer recorded for outputs of it, if it is of golden samples.
        recorded_tolerance: how far those may be away.
        tolerance: how far scores may be from the reference's.
        scores: the output that holds scores of classes; empty where none does.
        own: whether what is tried has answers of its own: only those recorded for it count, not the reference's.
    """

    inputs: Inputs
    outputs: tuple[str, ...]
    sizes: tuple[int, ...]
    recorded: Mapping[str, Array]
    recorded_tolerance: float
    tolerance: float = TOLERANCE
    scores: str = ""
    own: bool = False

    def of_sizes(self, sizes: tuple[int, ...]) -> "Trial":
        """The same for a runtime that takes only batches of these sizes; none means any."""
        if not sizes:
            return self
        return replace(
            self,
            inputs=batch(self.inputs, sizes[-1]),
            recorded=batch(self.recorded, sizes[-1]) if self.recorded else {},
            sizes=tuple(size for size in self.sizes if size in sizes) or sizes[-1:],
        )


@dataclass(frozen=True)
class Choice:
    """What serves, and why.

    Attributes:
        by: what is told of it.
        opened: the runtime; None where the reference serves.
    """

    by: RunBy
    opened: Opened | None = None


def why_random(reference: Run, trial: Trial) -> str:
    """Why nothing can be compared with a reference: it answers the same input differently; empty where it does not.

    Raises:
        SignpostError: it does not run.
    """
    few = {name: array[:_FEW] for name, array in trial.inputs.items()}
    one, other = (reference(few, trial.outputs) for _ in range(2))
    for name in one:
        if differ(one[name], other[name], rounding(one[name], _SAME)):
            return f"two runs gave different {name!r}, so nothing can be compared"
    return ""


def why_not(run: Run, reference: Run, trial: Trial) -> str:
    """Why a runtime must not serve: in what its answers are not the reference's; empty where they are.

    Raises:
        SignpostError: one of them does not run.
    """
    found, expected = run(trial.inputs, trial.outputs), reference(trial.inputs, trial.outputs)
    for name, array in expected.items():
        given = found[name]
        if given.shape != array.shape or given.dtype != array.dtype:
            return f"its {name!r} is {given.dtype} {list(given.shape)} and should be {array.dtype} {list(array.shape)}"
        if trial.own:
            if not np.isfinite(given).all():
                return f"its {name!r} holds what is not a number"
        elif differ(array, given, _bound(array, name, trial)):
            return f"its {name!r} differs from TensorFlow's by up to {_distance(array, given):.2g}"
        elif name == trial.scores and (rows := _moved(array, given)):
            return f"it puts another class first for {rows} of {len(array)} images"
        recorded = trial.recorded.get(name)
        if recorded is not None and not _distance(recorded, given) <= trial.recorded_tolerance:
            return f"its {name!r} differs from those recorded by up to {_distance(recorded, given):.2g}"
    return ""


def gains(
    run: Run,
    reference: Run,
    trial: Trial,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[int, float]:
    """How many times as fast a runtime is as the reference, by the size of batches, as far as there is time.

    Both run in turn, and the quickest of several turns counts, as others who use the host only ever slow it down. A
    size at which one of them takes longer for a row than at a smaller one counts as that, as the batcher then makes
    smaller batches.

    Raises:
        SignpostError: one of them does not run.
    """
    found: dict[int, float] = {}
    rows_s = [math.inf, math.inf]  # seconds for a row, at the best size so far
    until_s = clock() + _MOST_S
    row_s = 0.0
    fewest, most = _TURNS
    for size in trial.sizes:
        inputs = batch(trial.inputs, size)
        if found and clock() + row_s * size * (fewest + 1) > until_s:
            break
        for each in (run, reference):  # the first run at a size may prepare something
            each(inputs, trial.outputs)
        taken_s: list[list[float]] = []
        began_s = clock()
        while len(taken_s) < fewest or (len(taken_s) < most and clock() - began_s < _SIZE_S):
            taken_s.append([_timed(each, inputs, trial.outputs, clock) for each in (run, reference)])
        quickest_s = [min(times) / size for times in zip(*taken_s, strict=True)]
        row_s = sum(quickest_s)
        rows_s = [min(best, now) for best, now in zip(rows_s, quickest_s, strict=True)]
        found[size] = rows_s[1] / max(1e-12, rows_s[0])
    return found


def gain_of(run: Run, reference: Run, trial: Trial, clock: Callable[[], float] = time.perf_counter) -> float:
    """How many times as fast a runtime is as the reference, over all sizes; see `gains`."""
    return _mean(gains(run, reference, trial, clock))


def choose(
    candidates: Sequence[Candidate],
    reference: Run,
    trial: Trial,
    clock: Callable[[], float] = time.perf_counter,
) -> Choice:
    """Find the runtime that serves; those that do not are closed.

    Args:
        candidates: the runtimes to try.
        reference: TensorFlow's function.
        trial: what they are tried with.
        clock: seconds, steady; replaced in tests.
    """
    try:
        if why := why_random(reference, trial):
            return Choice(RunBy(why=why))
    except SignpostError as error:
        return Choice(RunBy(why=f"it does not run what runtimes are tried with: {error}"))
    best = Choice(RunBy())
    own_names = {each.name for each in candidates if each.trial is not None}
    told: list[str] = []
    own: list[str] = []  # of what has answers of its own
    for candidate in candidates:
        try:
            opened = candidate.open()
        except NotTaken as error:
            (told if candidate.trial is None else own).append(f"{candidate.name} {error}")
            continue
        by = _tried(candidate.name, opened, reference, candidate.trial or trial, clock)
        if by.runtime == REFERENCE:
            opened.close()
            (told if candidate.trial is None else own).append(by.why)
            continue
        best, other = sorted((best, Choice(by, opened)), key=lambda each: each.by.gain, reverse=True)
        if other.opened is not None:
            other.opened.close()
            if other.by.runtime in own_names:
                own.append(f"{best.by.runtime} is faster")
    why = "; ".join(own if best.opened is not None else [*own, *told])
    return Choice(replace(best.by, why=why), best.opened)


def batch(inputs: Inputs, size: int) -> Inputs:
    """So many rows of a request, some of them several times where it has fewer."""
    return {name: np.ascontiguousarray(array[np.arange(size) % len(array)]) for name, array in inputs.items()}


def _tried(name: str, opened: Opened, reference: Run, trial: Trial, clock: Callable[[], float]) -> RunBy:
    """What is told of a runtime that may serve, or of the reference and why this one does not."""
    try:
        fits = trial.of_sizes(opened.sizes)
        for run in opened.devices:
            if why := why_not(run, reference, fits):
                return RunBy(why=f"{name} does not answer {'as recorded' if fits.own else 'the same'}: {why}")
        measured = gains(opened.devices[0], reference, fits, clock)
    except Exception as error:  # of any kind: the runtime is somebody else's code
        return RunBy(why=f"{name} failed: {error}")
    gain = _mean(measured)
    if gain > _GAIN and min(measured.values()) > _LEAST:
        return RunBy(name, gain)
    shown = ", ".join(f"{ratio:.2f} at {size}" for size, ratio in measured.items())
    return RunBy(why=f"{name} is not faster (times as fast as TensorFlow by the size of batches: {shown})")


def _bound(array: Array, name: str, trial: Trial) -> Array:
    if name == trial.scores:
        return np.full((1,) * array.ndim, trial.tolerance)
    return rounding(array, trial.tolerance)


def _distance(one: Array, other: Array) -> float:
    if one.shape != other.shape:
        return math.inf
    return float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max(initial=0.0))


def _moved(expected: Array, given: Array) -> int:
    """Rows whose highest score is another class's, other than by a tie."""
    rows = np.arange(len(expected))
    behind = expected.max(axis=1) - expected[rows, given.argmax(axis=1)]
    return int((behind > _TIE).sum())


def _mean(measured: Mapping[int, float]) -> float:
    """The geometric mean, in which twice as fast at one size and half as fast at another come to nothing."""
    return math.exp(sum(map(math.log, measured.values())) / len(measured))


def _timed(run: Run, inputs: Inputs, outputs: tuple[str, ...], clock: Callable[[], float]) -> float:
    began_s = clock()
    run(inputs, outputs)
    return clock() - began_s
