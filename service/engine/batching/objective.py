"""What latency a model should keep."""

import re
from dataclasses import dataclass
from typing import Final

from service.errors import SettingsError

_OBJECTIVE: Final = re.compile(r"(?:([^:=,]+):)?p(\d{1,2}(?:\.\d+)?)=(\d+(?:\.\d+)?)(us|ms|s)", re.ASCII)
_UNITS_S: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True)
class Objective:
    """A share of the requests that is answered within a time.

    Attributes:
        share: of the requests, e.g. 0.99.
        within_s: seconds in the batcher, from a request's arrival there to its answer.
    """

    share: float
    within_s: float


def parse(text: str) -> dict[str, Objective]:
    """Read `--latency-objective`: `p99=50ms` for every model, or `cats_vs_dogs:p99=80ms,p95=20ms`.

    Returns:
        Objectives by model's name; the name "" stands for every other model.

    Raises:
        SettingsError: a part that is not an objective, one of no time at all, or two for the same model.
    """
    objectives: dict[str, Objective] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = _OBJECTIVE.fullmatch(part.replace(" ", ""))
        if found is None or not (float(found[2]) > 0 and float(found[3]) > 0):
            raise SettingsError(f"--latency-objective takes p99=50ms, or MODEL:p99=50ms,…; {part!r} is neither.")
        name = found[1] or ""
        if name in objectives:
            raise SettingsError(f"--latency-objective has two objectives for {name or 'every model'}; leave one out.")
        objectives[name] = Objective(float(found[2]) / 100, float(found[3]) * _UNITS_S[found[4]])
    return objectives
