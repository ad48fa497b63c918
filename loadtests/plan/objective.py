"""What a service is held to: `p50=10ms,p99=50ms,errors=0.1%`."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from service.errors import SettingsError

_PART: Final = re.compile(r"p(?P<percentile>\d{1,2}(?:\.\d+)?)=(?P<limit>\d+(?:\.\d+)?|\.\d+)(?P<unit>us|ms|s)")
_ERRORS: Final = re.compile(r"errors=(?P<share>\d+(?:\.\d+)?|\.\d+)%")
_SECONDS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True)
class Objective:
    """One thing that must hold.

    Attributes:
        text: as it was written.
        percentile: which latency it limits; None for the share of errors.
        limit: in seconds, or as a share.
    """

    text: str
    percentile: float | None
    limit: float


@dataclass(frozen=True)
class Verdict:
    """What came of an objective: what was measured, in its unit (infinite: no answer), and whether it holds."""

    objective: Objective
    measured: float
    held: bool

    @property
    def found(self) -> str:
        """What was measured, for people."""
        return f"{self.measured:.2%} errors" if self.objective.percentile is None else milliseconds(self.measured)

    def __str__(self) -> str:
        """For people."""
        return f"{self.objective.text}: {'held' if self.held else 'missed'} ({self.found})"


def parse(text: str) -> tuple[Objective, ...]:
    """Read objectives separated by commas; nothing gives none.

    Raises:
        SettingsError: a part is not an objective, or stands twice.
    """
    found: dict[float | None, Objective] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        if match := _PART.fullmatch(part):
            objective = Objective(part, float(match["percentile"]), float(match["limit"]) * _SECONDS[match["unit"]])
        elif match := _ERRORS.fullmatch(part):
            objective = Objective(part, None, float(match["share"]) / 100)
        else:
            raise SettingsError(f"--slo takes p99=50ms, errors=0.1% and the like, separated by commas; not {part!r}.")
        if objective.percentile in found:
            raise SettingsError(f"--slo names {part.partition('=')[0]} twice; name it once.")
        found[objective.percentile] = objective
    return tuple(found.values())


def within_s(objectives: Sequence[Objective]) -> float:
    """Seconds within which an answer counts as good: what the highest percentile allows; without one, any time."""
    latency = [(each.percentile, each.limit) for each in objectives if each.percentile is not None]
    return max(latency)[1] if latency else math.inf


def judge(objectives: Sequence[Objective], latencies_s: "np.ndarray[Any, Any]", errors: int) -> list[Verdict]:
    """Hold the objectives against the latencies of all requests, infinite for those that failed."""
    verdicts = []
    for each in objectives:
        if not len(latencies_s):
            measured = math.inf
        elif each.percentile is None:
            measured = errors / len(latencies_s)
        else:
            measured = percentile(latencies_s, each.percentile)
        verdicts.append(Verdict(each, measured, measured <= each.limit))
    return verdicts


def percentile(latencies_s: "np.ndarray[Any, Any]", at: float) -> float:
    """The latency that `at` percent do not exceed, one that occurred; infinite where it falls on a failure."""
    return float(np.percentile(latencies_s, at, method="inverted_cdf")) if len(latencies_s) else math.nan


def milliseconds(seconds: float) -> str:
    """For people: three digits that count."""
    if math.isinf(seconds):
        return "no answer"
    if math.isnan(seconds):
        return "-"
    value = seconds * 1e3
    return f"{value:.2f} ms" if value < 10 else f"{value:.1f} ms" if value < 100 else f"{value:,.0f} ms"
