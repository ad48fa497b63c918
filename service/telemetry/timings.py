"""The seconds that a current request has spent in each stage: decode, queue, infer, encode."""

import time
from dataclasses import dataclass, field


@dataclass
class Timings:
    """Seconds of each stage, in the order in which they are passed.

    Attributes:
        stages_s: what was added so far, by stage.
        ended: where the request is traced, each stage with its seconds and the time (`time.time_ns()`) of its end.
    """

    stages_s: dict[str, float] = field(default_factory=dict)
    ended: list[tuple[str, float, int]] | None = None

    def add(self, stage: str, seconds: float) -> None:
        """Add to a stage that has just ended."""
        self.stages_s[stage] = self.stages_s.get(stage, 0.0) + seconds
        if self.ended is not None:
            self.ended.append((stage, seconds, time.time_ns()))

    def header(self) -> str:
        """The value of a Server-Timing header (W3C), in milliseconds."""
        return ", ".join(f"{stage};dur={seconds * 1e3:.3f}" for stage, seconds in self.stages_s.items())
