"""Learning rates and image sizes over the time of a run; plain arithmetic."""

import math
from dataclasses import dataclass, replace
from itertools import pairwise


@dataclass(frozen=True)
class Phase:
    """Some epochs at one image size.

    Attributes:
        epochs: how many.
        size: height and width of the training images, in pixels; None for the model's own.
        mix: whether images are blended, where the augmentation says so; the last epochs do better without.
    """

    epochs: int
    size: int | None = None
    mix: bool = True


def phase_of(phases: tuple[Phase, ...], epoch: int) -> Phase:
    """The phase that an epoch (counted from 0) belongs to; the last one goes on for ever."""
    for phase in phases:
        if epoch < phase.epochs:
            return phase
        epoch -= phase.epochs
    return phases[-1]


def stretch(phases: tuple[Phase, ...], epochs: int) -> tuple[Phase, ...]:
    """The same phases in the same proportions over another number of epochs; those left with none are dropped."""
    total = max(1, sum(phase.epochs for phase in phases))
    ends, end = [0], 0
    for phase in phases:
        end += phase.epochs
        ends.append(round(end * epochs / total))
    lengths = [after - before for before, after in pairwise(ends)]
    return tuple(replace(phase, epochs=length) for length, phase in zip(lengths, phases, strict=True) if length)


def learning_rate(progress: float, peak: float, warmup: float, last: float = 0.01) -> float:
    """A linear warm-up, then half a cosine.

    Args:
        progress: share of the run that is done, 0 to 1.
        peak: the highest rate.
        warmup: share of the run that the warm-up takes.
        last: the rate at the end, as a share of `peak`.
    """
    if progress < warmup:
        return peak * max(progress / warmup, 1e-3)
    done = (progress - warmup) / (1.0 - warmup) if warmup < 1.0 else 1.0
    return peak * (last + (1.0 - last) * 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0))))
