"""`signpost loadtest`: run a scenario, search for a host's capacity, compare two runs."""

import importlib.util
import math
import os
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Final

import click

from loadtests import capacity as capacities
from loadtests import compare as comparing
from loadtests import options, scenario
from loadtests.plan import objective, shapes
from loadtests.plan.objective import Objective
from loadtests.plan.shapes import Stage
from loadtests.results import report
from loadtests.scenario import Json, Scenario, Service
from loadtests.subject import target
from service.errors import SettingsError

# A percentile of fewer requests than these is chance; a probe at a low rate takes longer, up to so many times.
_ENOUGH: Final = 200
_LONGEST: Final = 4
# A closed loop that finds where to begin.
_HINT_USERS: Final = 4
_HINT_S: Final = 3.0
_HINT_SHARE: Final = 0.7


@click.group(invoke_without_command=True)
@options.having(options.WHOM_AND_HOW, options.RUN)
@click.pass_context
def loadtest(context: click.Context, /, **values: Any) -> None:
    """Load a service and report what it holds.

    Without a subcommand: one run, of 32 users in steps unless it is said otherwise. Exit code 0 when the objectives
    held, 1 when one was missed or nothing was answered, 2 when the test could not be run.
    """
    if context.invoked_subcommand is not None:
        _refuse_lost_options(context)
        return
    asked, held_to = _scenario(values), objective.parse(values["objectives"])
    rate = values["rate"]
    stages = shapes.read(
        values["shape"] or ("constant" if rate else "steps"), rate or values["users"], values["seconds"]
    )
    arrivals, users = (values["arrivals"], asked.connections) if rate else ("closed", values["users"])
    with scenario.service(asked) as at:
        wanted = scenario.plan(asked, at, stages, arrivals, users)
        document = scenario.around(asked, at, wanted) | scenario.run(asked, at, wanted, held_to)
    document |= _held_to(held_to, values["objectives"])
    _finish(values["path"], document)
    answered = document["total"]["due"] > document["total"]["failed"]
    context.exit(0 if answered and all(each["held"] for each in document["objectives"]) else 1)


def _refuse_lost_options(context: click.Context) -> None:
    """An option between `loadtest` and its subcommand would be read by nobody."""
    command_line = click.core.ParameterSource.COMMANDLINE
    if any(context.get_parameter_source(name) is command_line for name in context.params):
        name = context.invoked_subcommand
        raise click.UsageError(f"Options go after the subcommand: signpost loadtest {name} --url ..., for example.")


@loadtest.command("capacity")
@options.having(options.CAPACITY, options.WHOM_AND_HOW)
@click.pass_context
def capacity(context: click.Context, /, **values: Any) -> None:
    """Find the highest rate of arrivals at which the objectives hold.

    Probes of some seconds go up until one misses, then halve the gap; the whole search is repeated, and the median and
    the range of what it found are told. Exit code 1 when no rate holds.
    """
    asked, held_to = _scenario(values), objective.parse(values["objectives"])
    if not held_to:
        raise SettingsError("--slo must name an objective, such as p99=50ms.")
    with scenario.service(asked) as at:
        wanted = scenario.plan(asked, at, (Stage(0.0, 1.0, 1.0, 1.0),), values["arrivals"], asked.connections)
        document = scenario.around(asked, at, wanted)
        prober = _Prober(asked, at=at, held_to=held_to, arrivals=values["arrivals"], seconds=values["seconds"])
        start = values["start"] or _hint(asked, at)
        found = capacities.search(prober.holds, start, values["precision"], values["repeats"], prober.end_search)
    # The report shows the probe that is closest to what was found, so that its numbers agree with the verdict.
    nearest = min(prober.probes, key=lambda probe: (not probe["held"], abs(probe["load"] - found.rate)))
    document |= nearest["numbers"] | _held_to(held_to, values["objectives"])
    document["generator"]["warnings"] = prober.warnings()
    document["plan"]["stages"] = nearest["stages"]
    document["capacity"] = {**asdict(found), "says": str(found)}
    left_out = ("numbers", "stages")
    document["probes"] = [{key: value for key, value in p.items() if key not in left_out} for p in prober.probes]
    _finish(values["path"], document, f"{values['objectives']}: {found}")
    context.exit(0 if found.rate else 1)


class _Prober:
    """Runs probes and keeps what came of them."""

    def __init__(
        self, asked: Scenario, *, at: Service, held_to: tuple[Objective, ...], arrivals: str, seconds: float
    ) -> None:
        self._asked, self._at, self._held_to, self._arrivals, self._seconds = asked, at, held_to, arrivals, seconds
        self.probes: list[Json] = []
        self._before: tuple[float, bool] | None = None  # the probe before, in this search

    def holds(self, rate: float) -> bool:
        """Whether the objectives hold at a rate."""
        seconds = min(max(self._seconds, _ENOUGH / rate), _LONGEST * self._seconds)
        stages = (Stage(0.0, seconds, rate, rate),)
        wanted = scenario.plan(self._asked, self._at, stages, self._arrivals, self._asked.connections)
        # The line of a probe is enough: what runs on would come between them.
        numbers = scenario.run(replace(self._asked, quiet=True), self._at, wanted, self._held_to)
        held = all(each["held"] for each in numbers["objectives"])
        probe = {**numbers["total"], "load": rate, "held": held, "numbers": numbers}
        self.probes.append(probe | {"stages": [asdict(each) for each in wanted.stages]})
        if not self._asked.quiet:
            says = "; ".join(each["says"] for each in numbers["objectives"])
            again = "   (again)" if self._before == (rate, False) else ""
            click.echo(f"{rate:8,.1f} requests/s   {says}{again}", err=True)
        self._before = (rate, held)
        return held

    def end_search(self, number: int, held: float, missed: float) -> None:
        """Say what a search has found."""
        self._before = None
        if not self._asked.quiet:
            what = f"{held:,.1f} requests/s met the objectives" if held else "no rate met the objectives"
            click.echo(f"search {number}: {what}, {missed:,.1f} missed them twice", err=True)

    def warnings(self) -> list[str]:
        """What may have made the generator the limit, rather than the service: one of each probe that missed."""
        missed = (probe["numbers"]["generator"]["warnings"] for probe in self.probes if not probe["held"])
        return [each for warnings in missed for each in warnings if each.startswith("The generator")][:1]


def _hint(asked: Scenario, at: Service) -> float:
    """A rate to begin with: most of what a few users get who never pause."""
    wanted = scenario.plan(asked, at, (Stage(0.0, _HINT_S, _HINT_USERS, _HINT_USERS),), "closed", _HINT_USERS)
    return max(1.0, _HINT_SHARE * float(scenario.run(replace(asked, quiet=True), at, wanted, ())["total"]["rate"]))


@loadtest.command("compare")
@click.argument("before", metavar="A.json", type=options.PATH)
@click.argument("after", metavar="B.json", type=options.PATH)
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 1),
    default=0.05,
    show_default=True,
    help="Relative difference below which two runs count as equal.",
)
@click.pass_context
def compare(context: click.Context, /, before: Path, after: Path, tolerance: float) -> None:
    """Compare two runs: B against A. Exit code 1 when B is worse in something, beyond the noise."""
    a, b = comparing.read(before), comparing.read(after)
    if told := comparing.differing(a, b):
        click.echo(f"Note: the runs differ in {', '.join(told)}.", err=True)
    found = comparing.compare(a, b, tolerance)
    rows = [("", str(before), str(after), "change", f"{comparing.LEVEL:.0%} interval", "")]
    for each in found:
        between = "" if each.interval is None else f"{each.interval[0]:+.1%} to {each.interval[1]:+.1%}"
        change = "" if math.isnan(each.change) else f"{each.change:+.1%}"
        rows.append((each.name, each.before, each.after, change, between, each.verdict))
    for line in report.aligned(rows):
        click.echo(line)
    context.exit(1 if any(each.verdict == "worse" for each in found) else 0)


def _scenario(values: dict[str, Any]) -> Scenario:
    if missing := [name for name in ("locust", "matplotlib") if importlib.util.find_spec(name) is None]:
        raise SettingsError(
            f"Load tests and their reports need {' and '.join(missing)}: pip install 'signpost-serving[loadtest]'; "
            "in a checkout `make loadtest` installs it."
        )
    if values["api_key"]:
        os.environ[target.API_KEY] = values["api_key"]  # for the processes of the generator
    return Scenario(**{field.name: values[field.name] for field in fields(Scenario)})


def _held_to(objectives: tuple[Objective, ...], text: str) -> Json:
    within_s = objective.within_s(objectives)
    return {"slo": text, "within_s": within_s if math.isfinite(within_s) else None}


def _finish(path: Path, document: Json, verdict: str = "") -> None:
    beside = report.write(path, document)
    for line in (*report.lines(document), *filter(None, [verdict])):
        click.echo(line)
    click.echo(f"Report: {path}; numbers: {beside}")
