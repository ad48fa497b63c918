"""How the load goes over a run: stages, read from `shapes.toml` or a file of the same form."""

import math
import tomllib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from service.errors import SettingsError

_OURS: Final = Path(__file__).with_name("shapes.toml")


@dataclass(frozen=True)
class Stage:
    """A part of a run in which the load goes evenly from one value to another.

    Attributes:
        begin_s: when it begins, in seconds after the run.
        seconds: how long it takes.
        first: load at its begin: users, or requests per second.
        last: load at its end.
    """

    begin_s: float
    seconds: float
    first: float
    last: float

    @property
    def end_s(self) -> float:
        """When it ends."""
        return self.begin_s + self.seconds

    @property
    def requests(self) -> float:
        """How many requests are due in it if its load is a rate."""
        return self.seconds * (self.first + self.last) / 2

    def load(self, at_s: float) -> float:
        """The load at a time within it."""
        return self.first + (self.last - self.first) * (at_s - self.begin_s) / self.seconds

    def when_due(self, requests: float) -> float:
        """When so many requests of this stage have been due; the inverse of the integral of its rate."""
        rise = (self.last - self.first) / self.seconds
        speed = self.first + math.sqrt(max(0.0, self.first**2 + 2 * rise * requests))
        return self.begin_s + (min(self.seconds, 2 * requests / speed) if speed else 0.0)


def names() -> list[str]:
    """The shapes that are there without a file."""
    return list(tomllib.loads(_OURS.read_text("utf-8")))


def read(name: str, load: float, seconds: float | None = None) -> tuple[Stage, ...]:
    """Make the stages of a shape.

    Args:
        name: one of `names()`, or the path of a TOML file whose top level holds `seconds` and `stages`.
        load: users or requests per second at a share of 1.
        seconds: length of the whole, if not the shape's own.

    Raises:
        SettingsError: there is no such shape, or its file does not have the form.
    """
    ours = tomllib.loads(_OURS.read_text("utf-8"))
    try:
        shape = ours[name] if name in ours else tomllib.loads(Path(name).read_text("utf-8"))
        return _stages(shape, load, float(seconds or shape["seconds"]))
    except OSError as error:
        known = ", ".join(ours)
        raise SettingsError(f"--shape takes {known} or a file in TOML; {name!r} is neither.") from error
    except (KeyError, TypeError, ValueError) as error:
        raise SettingsError(
            f"{name} is not a shape ({error}); it needs `seconds`, and `stages` with `share` above 0 and `from` and "
            "`to` of at least 0, such as { share = 1, from = 0.5, to = 1 }."
        ) from error


def _stages(shape: Any, load: float, seconds: float) -> tuple[Stage, ...]:
    parts = [(float(each["share"]), float(each["from"]), float(each["to"])) for each in shape["stages"]]
    if not parts or seconds <= 0 or any(share <= 0 or min(first, last) < 0 for share, first, last in parts):
        raise ValueError("a length or a load is out of range")
    whole = sum(share for share, _, _ in parts)
    stages: list[Stage] = []
    for share, first, last in parts:
        begin_s = stages[-1].end_s if stages else 0.0
        stages.append(Stage(begin_s, seconds * share / whole, first * load, last * load))
    return tuple(stages)


def after_warm_up(stages: Sequence[Stage], warm_up_s: float) -> tuple[Stage, ...]:
    """The same with a stage before them, at their first load; a shape that begins with none warms up at its highest."""
    if not warm_up_s:
        return tuple(stages)
    first = stages[0].first or max(stage.last for stage in stages)
    moved = (Stage(each.begin_s + warm_up_s, each.seconds, each.first, each.last) for each in stages)
    return (Stage(0.0, warm_up_s, first, first), *moved)


def load_at(stages: Sequence[Stage], at_s: float) -> float:
    """The load at a time; nothing before and after the run."""
    number = bisect_right([stage.begin_s for stage in stages], at_s) - 1
    return stages[number].load(at_s) if number >= 0 and at_s < stages[-1].end_s else 0.0


def next_look(stages: Sequence[Stage], at_s: float, interval_s: float) -> float:
    """When the load may have changed: the end of the stage, or where it rises or falls, after an interval."""
    if at_s < 0:
        return 0.0
    for stage in stages:
        if at_s < stage.end_s:
            return stage.end_s if stage.first == stage.last else min(stage.end_s, at_s + interval_s)
    return at_s
