"""Two runs side by side: what differs, and whether it does beyond the noise.

Each run's blocks are resampled (`loadtests.results.noise`); the draws of B over those of A give the ratio's 99 %
interval. A figure is better or worse only if that
interval leaves out 1 and the ratio itself is beyond a tolerance, which stands
for what the blocks of a single run can't tell: that a service starts a little quicker or slower each time.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from loadtests.plan import objective
from loadtests.results import noise
from loadtests.scenario import FORMAT
from service.errors import SettingsError

Json = dict[str, Any]

LEVEL: Final = 0.99
_FIGURES: Final = {"rate": "answers/s", "p50": "p50", "p95": "p95", "p99": "p99", "errors": "failed"}
# A share of failures grows from nothing by no factor: half a percent more is worse.
_ERRORS: Final = 0.005


@dataclass(frozen=True)
class Difference:
    """One figure of two runs.

    Attributes:
        name: of the figure.
        before: in A, as text.
        after: in B, as text.
        change: B over A, less 1; for failures the difference of the shares.
        interval: between which it lies, or None where it can't be told.
        verdict: `better`, `worse` or `the same`, within the noise.
    """

    name: str
    before: str
    after: str
    change: float
    interval: tuple[float, float] | None
    verdict: str


def read(path: Path) -> Json:
    """Read the document of a run.

    Raises:
        SettingsError: it is none, or of another format.
    """
    try:
        document = json.loads(path.read_text("utf-8"))
        if document["format"] != FORMAT:
            raise SettingsError(f"{path} has format {document['format']}; this version compares format {FORMAT}.")
        assert document["segments"]
    except OSError as error:
        raise SettingsError(f"{path} can't be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise SettingsError(
            f"{path} is not a result of `signpost loadtest`, which writes one next to each report."
        ) from error
    found: Json = document
    return found


def differing(before: Json, after: Json) -> list[str]:
    """What the two runs did not have in common, which no figure can be compared without thinking of."""
    names = {"kinds": "requests", "stages": "load over time", "arrivals": "arrivals"}
    told = [name for key, name in names.items() if before["plan"][key] != after["plan"][key]]
    machine = ("cpu", "cores", "gpus")
    return told + [name for name in machine if before["machine"][name] != after["machine"][name]]


def compare(before: Json, after: Json, tolerance: float = 0.05) -> list[Difference]:
    """Compare the figures of two documents.

    Args:
        before: A.
        after: B.
        tolerance: the relative difference up to which two runs count as the same.
    """
    return list(_differences(_draws(before, 1), _draws(after, 2), before, after, tolerance))


def _draws(document: Json, seed: int) -> dict[str, noise.Floats]:
    return noise.draw([each["blocks"] for each in document["segments"]], seed)


def _differences(
    drawn_a: dict[str, noise.Floats], drawn_b: dict[str, noise.Floats], a: Json, b: Json, tolerance: float
) -> Iterator[Difference]:
    for name, shown in _FIGURES.items():
        one, other = _value(a, name), _value(b, name)
        texts = _text(name, one), _text(name, other)
        if name == "errors":
            change = other - one
            interval = noise.interval(drawn_b[name] - drawn_a[name], LEVEL)
            beyond = abs(change) > _ERRORS and (interval[0] > 0 or interval[1] < 0)
            yield Difference(shown, *texts, change, interval, _verdict(beyond, change < 0))
            continue
        if not (math.isfinite(one) and math.isfinite(other) and one > 0):
            # A percentile that falls on failures is beyond every latency.
            same = one == other or not (one > 0 or other > 0)
            better = (other > one) == (name == "rate")
            yield Difference(shown, *texts, math.nan, None, "the same" if same else _verdict(True, better))
            continue
        change = other / one - 1
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = drawn_b[name] / drawn_a[name] - 1
        interval = noise.interval(np.nan_to_num(ratios, nan=0.0), LEVEL)
        beyond = abs(change) > tolerance and (interval[0] > 0 or interval[1] < 0)
        yield Difference(shown, *texts, change, interval, _verdict(beyond, (change > 0) == (name == "rate")))


def _verdict(beyond: bool, better: bool) -> str:
    return "the same" if not beyond else "better" if better else "worse"


def _value(document: Json, name: str) -> float:
    total = document["total"]
    if name == "rate":
        return float(total["rate"])
    if name == "errors":
        return float(total["failed"] / max(1, total["due"]))
    value = total[f"{name}_s"]
    return math.inf if value is None else float(value)


def _text(name: str, value: float) -> str:
    if name == "rate":
        return f"{value:,.1f}"
    return f"{value:.2%}" if name == "errors" else objective.milliseconds(value)
