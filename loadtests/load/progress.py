"""What the user sees while load is generated: a line rewritten on a terminal, a line now and then elsewhere."""

import sys
from types import TracebackType
from typing import Final, Self

import click

from loadtests.plan import objective, shapes
from loadtests.plan.plan import Plan
from loadtests.results import records
from loadtests.results.records import Records

_WINDOW_S: Final = 2.0
_EVERY_S: Final = 5.0  # between two lines where there is no terminal


class Progress:
    """Shows a run; quiet says nothing."""

    def __init__(self, plan: Plan, quiet: bool = False) -> None:
        """Say nothing yet."""
        self._plan, self._quiet = plan, quiet
        self._terminal = sys.stderr.isatty()
        self._said_s = 0.0

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last line."""
        if self._terminal and self._said_s:
            click.echo(err=True)

    def __call__(self, at_s: float, found: Records) -> None:
        """Tell how it goes at a time, from the last records."""
        if self._quiet or at_s <= 0 or (not self._terminal and at_s < self._said_s + _EVERY_S):
            return
        text = describe(self._plan, at_s, found, _WINDOW_S if self._terminal else _EVERY_S)
        click.echo(f"\r\x1b[K{text}" if self._terminal else text, err=True, nl=not self._terminal)
        self._said_s = at_s


def describe(plan: Plan, at_s: float, found: Records, window_s: float) -> str:
    """One line: time, load, what came of the requests that ended in the last seconds."""
    ended = found["due"] + found["done"]
    last = found[ended > at_s - window_s]
    latencies = records.latencies_s(last)
    failed = int(records.failed(last).sum())
    load = shapes.load_at(plan.stages, min(at_s, plan.end_s - 1e-6))
    what = f"{load:,.0f} requests/s due" if plan.is_open else f"{max(1, round(load))} users"
    rate = (len(last) - failed) / min(window_s, at_s)
    median, p99 = (objective.milliseconds(objective.percentile(latencies, at)) for at in (50, 99))
    end = f"{min(at_s, plan.end_s):4.0f} of {plan.end_s:.0f} s"
    return f"{end}   {what}   {rate:,.0f} answers/s   p50 {median}   p99 {p99}   {failed} failed"
