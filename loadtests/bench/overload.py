"""What a service does with more requests than it can carry.

    .venv/bin/python -m loadtests.bench.overload

Full load is a closed loop of 32 clients: its rate is what the service can carry, its p99 what that costs. Then requests
arrive at multiples of that rate, whether or not they are answered. All of that again in each round, against the same
service, and of each ratio the median: on a shared machine only what was measured side by side compares. The first
second of each run is told apart: the service takes an overload for a burst until it lasts. The generator runs beside
the service and takes some of its cores; the table says how much.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from loadtests.raw import arrivals
from loadtests.raw.arrivals import Answered, Load
from loadtests.raw.client import request
from loadtests.subject import pictures
from loadtests.subject.served import served

FULL_CLIENTS: Final = 32
_LOADS: Final = (0.5, 1.0, 2.0, 4.0)
# Seconds of each run that are told apart.
_FIRST_S: Final = 1.0


@dataclass(frozen=True)
class Found:
    """What one run found after its first second, in relation to full load in the same round.

    Attributes:
        goodput: good answers per second, within the run.
        p99: of the good answers.
        first_p99: the same of the first second.
        refused: share of the answers that were refusals.
        other: answers that were neither good nor refusals.
        retry_after_s: what refusals told.
        generator: share of a core that the generator took.
    """

    goodput: float
    p99: float
    first_p99: float
    refused: float
    other: int
    retry_after_s: frozenset[int]
    generator: float


@click.command()
@click.option("--store", default=Path("model_store"), type=click.Path(path_type=Path), show_default=True)
@click.option("--models", default="sign_language,cats_vs_dogs", show_default=True, help="Separated by commas.")
@click.option("--rounds", default=5, show_default=True, help="Of which the median counts.")
@click.option("--seconds", default=8.0, show_default=True, help="Length of each run.")
@click.argument("arguments", nargs=-1)
def main(store: Path, models: str, rounds: int, seconds: float, arguments: tuple[str, ...]) -> None:
    """Measure and print a table; ARGUMENTS (after --) go to `signpost serve`."""
    with served(store, arguments) as service:
        for model in models.split(","):
            requests = requests_for(model)
            arrivals.closed(service.port, requests, FULL_CLIENTS, 2.0)
            fulls: list[tuple[float, float]] = []
            found: dict[float, list[Found]] = {load: [] for load in _LOADS}
            for number in range(rounds):
                full = arrivals.closed(service.port, requests, FULL_CLIENTS, seconds / 2)
                settled = [answer for answer in good(full) if answer.due_s >= _FIRST_S]
                rate, p99_s = len(settled) / (full.wall_s - _FIRST_S), p99(settled)
                fulls.append((rate, p99_s))
                for load in _LOADS:
                    run = arrivals.arriving(service.port, requests, rate * load, seconds, number)
                    found[load].append(relate(run, rate, p99_s))
            report(model, fulls, found)


def requests_for(model: str) -> list[bytes]:
    """Posts of images as people would send them to a model of the store."""
    drawn = model == "sign_language"
    images = pictures.drawings(8) if drawn else pictures.photographs(8)
    kind = "image/png" if drawn else "image/jpeg"
    return [request(f"/v1/models/{model}:predict", kind, image) for image in images]


def good(load: Load) -> list[Answered]:
    """The answers that a client wanted."""
    return [answer for answer in load.answers if answer.status == 200]


def p99(answers: Sequence[Answered]) -> float:
    """99th percentile of the latencies, in seconds; 0 where there are none."""
    latencies = sorted(answer.latency_s for answer in answers)
    return latencies[int(len(latencies) * 0.99)] if latencies else 0.0


def relate(load: Load, rate: float, p99_s: float) -> Found:
    """A run in relation to the rate and the p99 of full load."""
    first = [answer for answer in good(load) if answer.due_s < _FIRST_S]
    later = [answer for answer in load.answers if answer.due_s >= _FIRST_S]
    answers = [answer for answer in later if answer.status == 200]
    refused = [answer for answer in later if answer.status == 429]
    in_time = sum(answer.due_s + answer.latency_s <= load.wall_s for answer in answers)
    return Found(
        goodput=in_time / (load.wall_s - _FIRST_S) / rate,
        p99=p99(answers) / p99_s,
        first_p99=p99(first) / p99_s,
        refused=len(refused) / len(later),
        other=sum(answer.status not in (200, 429) for answer in load.answers),
        retry_after_s=frozenset(answer.retry_after_s for answer in refused),
        generator=load.cpu_share,
    )


def report(model: str, fulls: Sequence[tuple[float, float]], found: dict[float, list[Found]]) -> None:
    """Print the medians of all rounds."""
    rate, p99_s = (statistics.median(values) for values in zip(*fulls, strict=True))
    click.echo(f"\n{model}: full load ({FULL_CLIENTS} clients) {rate:,.0f}/s, p99 {p99_s * 1e3:.0f} ms\n")
    click.echo("| load | goodput | p99 | of the first second | refused | Retry-After | other errors | generator |")
    click.echo("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for load, each in found.items():
        names = ("goodput", "p99", "first_p99", "refused", "generator")
        goodput, ratio, first, refused, generator = (
            statistics.median(getattr(one, name) for one in each) for name in names
        )
        told = sorted(frozenset[int]().union(*(one.retry_after_s for one in each)))
        shown = "-" if not told else f"{told[0]} s" if len(told) == 1 else f"{told[0]} to {told[-1]} s"
        click.echo(
            f"| {load:g} | {goodput:.0%} | {ratio:.2f} | {first:.2f} | {refused:.0%} | {shown} "
            f"| {sum(one.other for one in each)} | {generator:.0%} of a core |"
        )


if __name__ == "__main__":
    main()
