"""A scenario from begin to end: a service, a plan, the generator, the numbers, and what a report tells beside them."""

import shlex
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click

from loadtests.load import floor, generator
from loadtests.load.progress import Progress
from loadtests.plan import plan as plans
from loadtests.plan import shapes
from loadtests.plan.objective import Objective
from loadtests.plan.plan import Plan
from loadtests.plan.shapes import Stage
from loadtests.results import records, summary
from loadtests.subject import host, metrics, target
from loadtests.subject.served import Served, served
from service.errors import SettingsError, Unavailable

Json = dict[str, Any]

FORMAT: Final = 1  # of the document; another one is not compared


@dataclass(frozen=True)
class Scenario:
    """What a user asked for; see `loadtests.options` for each."""

    url: str | None
    grpc_address: str | None
    store: Path
    serve: str
    ways: tuple[str, ...]
    models: tuple[str, ...]
    images: Path | None
    processes: int
    connections: int
    warm_up_s: float
    timeout_s: float
    seed: int
    floor: bool
    quiet: bool


@dataclass(frozen=True)
class Service:
    """What is asked: where it listens, and the process if it is our own."""

    url: str
    grpc_address: str
    own: Served | None
    flags: str


@contextmanager
def service(asked: Scenario) -> Iterator[Service]:
    """The service at the URL, or one of our own for as long as the context lasts."""
    if asked.url is not None:
        url = target.checked(asked.url)
        yield Service(url, asked.grpc_address or f"{urlsplit(url).hostname}:8500", None, "")
        return
    if asked.serve and not asked.serve.strip().startswith("-"):
        raise SettingsError(f"--serve takes flags of `signpost serve`, such as '--workers 2'; not {asked.serve!r}.")
    if not asked.quiet:
        click.echo(f"Starting `signpost serve --store {asked.store} {asked.serve}`".rstrip() + " …", err=True)
    try:
        flags = shlex.split(asked.serve)
    except ValueError as error:
        raise SettingsError(f"--serve {asked.serve!r} can't be read as a command line: {error}.") from error
    try:
        with served(asked.store, flags) as own:
            yield Service(own.url, own.grpc_address, own, asked.serve)
    except click.ClickException as error:
        raise Unavailable(error.message) from error  # exit code 2; 1 is for objectives that were missed


def plan(asked: Scenario, at: Service, stages: Sequence[Stage], arrivals: str, users: int) -> Plan:
    """The plan of a run, without a folder yet.

    Raises:
        SettingsError: the service has no models, or not the one that was asked for.
    """
    has = target.models(at.url)
    kinds = plans.kinds(asked.ways, asked.models or has)
    unknown = sorted({kind.model for kind in kinds} - set(has))
    if unknown or not kinds:
        raise SettingsError(
            f"{at.url} has no model {', '.join(unknown) or 'at all'}; it has {', '.join(has) or 'none'}."
        )
    return Plan(
        at.url,
        at.grpc_address,
        kinds,
        shapes.after_warm_up(stages, asked.warm_up_s),
        arrivals,
        max(users, len({kind.way for kind in kinds}) * asked.processes),
        asked.processes,
        str(asked.images or ""),
        asked.timeout_s,
        asked.seed,
    )


def run(asked: Scenario, at: Service, wanted: Plan, objectives: Sequence[Objective]) -> Json:
    """Generate the load of a plan, and turn what came of it into numbers (`loadtests.results.summary`)."""
    before, cpu_s = metrics.read(at.url), at.own.cpu_s() if at.own else 0.0
    with tempfile.TemporaryDirectory() as folder, Progress(wanted, asked.quiet) as shown:
        there = replace(wanted, folder=folder)
        found = generator.run(there, shown)
        numbers = summary.make(there, found, records.read_beside(Path(folder)), asked.warm_up_s, objectives)
    numbers["batches"] = metrics.between(before, metrics.read(at.url))
    if at.own:
        seconds = wanted.end_s
        numbers["service_load"] = {
            "cpu_cores": (at.own.cpu_s() - cpu_s) / seconds,
            "pss_mib": sum(at.own.pss_mb().values()),
            "ready_s": at.own.ready_s,
        }
    return numbers


def around(asked: Scenario, at: Service, wanted: Plan) -> Json:
    """What a report tells beside the numbers: when, where, of what, and how good the generator is."""
    lowest = None
    if asked.floor:
        if not asked.quiet:
            click.echo("Measuring the generator's own floor …", err=True)
        with tempfile.TemporaryDirectory() as folder:
            lowest = floor.measure(wanted, Path(folder))
    return {
        "format": FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": host.machine(),
        "versions": host.versions(),
        "service": {
            "url": at.url,
            "own": at.own is not None,
            "flags": at.flags,
            "store": str(asked.store) if at.own else "",
            "models": {model: _versions(at.url, model) for model in sorted({kind.model for kind in wanted.kinds})},
        },
        "plan": {**asdict(wanted), "warm_up_s": asked.warm_up_s},
        "floor": lowest,
    }


def _versions(url: str, model: str) -> list[str]:
    states = target.states(url, model)
    return [version for version, state in states.items() if state == "AVAILABLE"]
