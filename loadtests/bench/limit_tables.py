"""What `loadtests.bench.limit` found, summed up and printed."""

import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import click

from loadtests.bench.bare_loop import Arrangement
from loadtests.raw.client import Run

CLIENTS: Final = (1, 8, 32)
FORM_IMAGES: Final = 32
_STAGES: Final = ("decode", "queue", "infer", "encode", "total")


@dataclass(frozen=True)
class Round:
    """What one round found.

    Attributes:
        bare_rate: images per second of the bare loop.
        bare_cpu_s: what it takes of the CPU for an image.
        runs: against the service, by the number of clients.
        cpu_s: what the service takes of the CPU for a request, by the number of clients.
        form: two clients that post forms of many images.
    """

    bare_rate: float
    bare_cpu_s: float
    runs: Mapping[int, Run]
    cpu_s: Mapping[int, float]
    form: Run | None


def summary(best: Arrangement, rounds: list[Round]) -> dict[str, Any]:
    """The medians over the rounds of a case, as JSON takes them."""
    return {
        "arrangement": {**asdict(best), "text": str(best)},
        "bare_images_per_s": _median(rounds, lambda each: each.bare_rate),
        "bare_cpu_us": _median(rounds, lambda each: each.bare_cpu_s * 1e6),
        "form_share": _median(rounds, _form_share) if rounds[0].form is not None else None,
        "clients": {str(clients): _with_clients(rounds, clients) for clients in CLIENTS},
    }


def show(cases: Mapping[str, Any], targets: Mapping[str, str]) -> None:
    """Print the shares, the stages, and what a lone client waits beyond decoding and the model."""
    rows: list[tuple[str, ...]] = []
    for name, found in cases.items():
        most = found["clients"][str(CLIENTS[-1])]
        if most["refused"]:
            click.echo(f"{name}: {most['refused']} requests of {CLIENTS[-1]} clients were refused, and do not count.")
        rows.append(
            (
                name,
                f"{found['bare_images_per_s']:,.0f}/s ({found['arrangement']['text']})",
                f"{most['images_per_s']:,.0f}/s",
                f"**{most['share']:.0%}**",
                f"{most['share_less_generator']:.0%}",
                targets.get(name, ""),
                f"{most['p50_ms']:.1f} ms",
                f"{most['p99_ms']:.1f} ms",
                f"{most['p99_over_p50']:.2f}",
            )
        )
        if (share := found["form_share"]) is not None:
            rows.append((f"… as forms of {FORM_IMAGES}, 2 clients", "", "", f"**{share:.0%}**", "", "90 %", "", "", ""))
    _table(
        ("case", "bare loop", "service, 32 clients", "share", "less generator", "target", "p50", "p99", "ratio"), rows
    )
    rows = []
    for name, found in cases.items():
        for clients, run in found["clients"].items():
            stages = run["stages_ms"]
            inside_ms = sum(stages[stage] for stage in _STAGES[:-1])
            rows.append(
                (
                    name,
                    clients,
                    f"{run['mean_ms']:.2f} ms",
                    f"{run['mean_ms'] - stages['total']:.2f}",
                    *(f"{stages[stage]:.2f}" for stage in _STAGES[:-1]),
                    f"{stages['total'] - inside_ms:.2f}",
                    f"{run['service_cpu_us']:,.0f} us",
                    f"{run['generator_cpu_us']:.0f} us",
                    f"{found['bare_cpu_us']:,.0f} us",
                )
            )
    names = ("case", "clients", "client waits", "socket, parse", *_STAGES[:-1], "other", "CPU: service", "generator")
    _table((*names, "bare loop"), rows)
    over = [(name, f"{found['clients']['1']['p50_over_ms']:+.2f} ms", "0.6 ms") for name, found in cases.items()]
    _table(("lone client", "p50 above decode and infer", "target"), over)


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table in Markdown."""
    for row in (names, ["---"] * len(names), *rows):
        click.echo(f"| {' | '.join(row)} |")
    click.echo()


def _with_clients(rounds: list[Round], clients: int) -> dict[str, Any]:
    cores = os.cpu_count() or 1

    def median(of: Callable[[Run], float]) -> float:
        return _median(rounds, lambda each: of(each.runs[clients]))

    def left(run: Run) -> float:
        """The share of the cores that the generator leaves."""
        return 1 - run.cpu_s / (cores * run.wall_s)

    return {
        "images_per_s": median(lambda run: run.rate),
        "share": _median(rounds, lambda each: each.runs[clients].rate / each.bare_rate),
        "share_less_generator": _median(
            rounds, lambda each: each.runs[clients].rate / each.bare_rate / left(each.runs[clients])
        ),
        "refused": sum(each.runs[clients].refused for each in rounds),
        "mean_ms": median(lambda run: statistics.fmean(run.latencies_s or [float("nan")]) * 1e3),
        "p50_ms": median(lambda run: _percentile_ms(run, 50)),
        "p99_ms": median(lambda run: _percentile_ms(run, 99)),
        "p99_over_p50": median(lambda run: _percentile_ms(run, 99) / _percentile_ms(run, 50)),
        "p50_over_ms": median(lambda run: _percentile_ms(run, 50) - _needed_ms(run)),
        "service_cpu_us": _median(rounds, lambda each: each.cpu_s[clients] * 1e6),
        "generator_cpu_us": median(lambda run: run.cpu_s / max(1, len(run.latencies_s)) * 1e6),
        "stages_ms": {stage: _median_of_stage(rounds, clients, stage) for stage in _STAGES},
    }


def _median_of_stage(rounds: list[Round], clients: int, stage: str) -> float:
    return _median(rounds, lambda each: each.runs[clients].stages_ms.get(stage, 0.0))


def _form_share(each: Round) -> float:
    return FORM_IMAGES * each.form.rate / each.bare_rate if each.form is not None else 0.0


def _median(rounds: list[Round], of: Callable[[Round], float]) -> float:
    return statistics.median(map(of, rounds))


def _needed_ms(run: Run) -> float:
    return run.stages_ms.get("decode", 0.0) + run.stages_ms.get("infer", 0.0)


def _percentile_ms(run: Run, percent: int) -> float:
    if len(run.latencies_s) < 2:
        return float("nan")
    return statistics.quantiles(run.latencies_s, n=100)[percent - 1] * 1e3
