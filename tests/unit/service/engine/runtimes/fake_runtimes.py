"""Runtimes and references as functions of whose answers and times a test decides."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from service.engine.runtimes.choice import Trial
from service.engine.runtimes.part import Opened
from service.interface import Array

Answers = Callable[[Array], Array]


class Clock:
    """A clock that only moves when something runs."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def scores_of(pixels: Array) -> Array:
    """Of two classes, by how bright an image is: (N, 2)."""
    bright = pixels.reshape(len(pixels), -1).mean(axis=1) / 255
    return np.stack([1 - bright, bright], axis=1).astype(np.float32)


@dataclass
class FakeRun:
    """A function of an image classifier that takes its time."""

    clock: Clock = field(default_factory=Clock)
    row_s: float = 1e-3
    call_s: float = 0.0
    answers: Answers = scores_of
    calls: list[int] = field(default_factory=list)
    closed: int = 0

    def __call__(self, inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> Mapping[str, Array]:
        assert not self.closed
        rows = len(inputs["image"])
        self.calls.append(rows)
        self.clock.now_s += self.call_s + rows * self.row_s
        return {name: self.answers(inputs["image"]) for name in outputs}

    def close(self) -> None:
        self.closed += 1

    def opened(self, sizes: tuple[int, ...] = ()) -> Opened:
        return Opened((self,), self.close, sizes)


def trial(pixels: Array | None = None, **changed: object) -> Trial:
    """Four images, of rising brightness, and the scores recorded of them."""
    if pixels is None:
        pixels = np.repeat(np.array([0, 60, 200, 255], np.uint8), 18).reshape(4, 2, 3, 3)
    given = {
        "inputs": {"image": pixels}, "outputs": ("scores",), "sizes": (1, 8, 32),
        "recorded": {"scores": scores_of(pixels)}, "recorded_tolerance": 0.02, "scores": "scores",
    } | changed  # fmt: skip
    return Trial(**given)  # type: ignore[arg-type]
