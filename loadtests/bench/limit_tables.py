"""What `loadtests.bench.limit` found, summed up and printed."""

import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import click

from loadtests.bench.bare_loop import Arrangement, Measured
from loadtests.raw.client import Run
from service.interface import REFERENCE

CLIENTS: Final = (1, 32)
FORM_IMAGES: Final = 32
_STAGES: Final = ("decode", "queue", "infer", "encode", "total")


@dataclass(frozen=True)
class Round:
    """What one round found.

    Attributes:
        limits: the bare loop, by runtime.
        runs: against the service, by the number of clients.
        others: against a service that TensorFlow alone runs, if there is one.
        cpu_s: what the service takes of the CPU for a request, by the number of clients.
        form: two clients that post forms of many images.
    """

    limits: Mapping[str, Measured]
    runs: Mapping[int, Run]
    others: Mapping[int, Run]
    cpu_s: Mapping[int, float]
    form: Run | None


def summary(arrangements: Sequence[Arrangement], rounds: list[Round]) -> dict[str, Any]:
    """The medians over the rounds of a case, as JSON takes them; of several runtimes the best is the fastest here.

    Args:
        arrangements: of each runtime that was measured.
        rounds: of the case.
    """
    limits = {each.runtime: _limit(each, rounds) for each in arrangements}
    best = max(limits, key=lambda runtime: limits[runtime]["images_per_s"])
    return {
        "limits": limits,
        "best": best,
        "best_over_tensorflow": _median(rounds, lambda each: each.limits[best].rate / each.limits[REFERENCE].rate),
        "form_share": _median(rounds, lambda each: _form_share(each, best)) if rounds[0].form is not None else None,
        "clients": {str(clients): _with_clients(rounds, clients, best) for clients in CLIENTS},
    }


def show(cases: Mapping[str, Any]) -> None:
    """Print limits and shares, times, stages, and what a lone client waits beyond decoding and the model."""
    rows: list[tuple[str, ...]] = []
    for name, found in cases.items():
        most = found["clients"][str(CLIENTS[-1])]
        if most["refused"]:
            click.echo(f"{name}: {most['refused']} requests of {CLIENTS[-1]} clients were refused, and do not count.")
        rows.append(
            (
                name,
                _told(found["limits"][REFERENCE]),
                _told(found["limits"][found["best"]]),
                f"{found['best_over_tensorflow']:.2f}",
                f"{most['images_per_s']:,.0f}/s ({found['run_by']})",
                f"{most['share_of_tensorflow']:.0%}",
                f"**{most['share']:.0%}**",
                f"{most['share_less_generator']:.0%}",
            )
        )
        if (share := found["form_share"]) is not None:
            rows.append((f"… as forms of {FORM_IMAGES}, 2 clients", "", "", "", "", "", f"**{share:.0%}**", ""))
    limits = ("limit in TensorFlow", "limit of the best runtime", "times")
    service = (f"service, {CLIENTS[-1]} clients", "share of TensorFlow's", "share of the best", "less generator")
    _table(("case", *limits, *service), rows)
    rows = [
        (
            name,
            *(_times(found["clients"][str(clients)]["times_tensorflow"]) for clients in (CLIENTS[-1], CLIENTS[0])),
            *(f"{found['clients'][str(CLIENTS[-1])][key]:.1f} ms" for key in ("p50_ms", "p99_ms")),
            f"{found['clients'][str(CLIENTS[-1])]['p99_over_p50']:.2f}",
            f"{found['clients'][str(CLIENTS[0])]['p50_ms']:.2f} ms",
        )
        for name, found in cases.items()
    ]
    than = "times the images/s of a service run by TensorFlow"
    many = f"{CLIENTS[-1]} clients"
    _table(("case", f"{many}: {than}", "lone client", f"{many}: p50", "p99", "ratio", "lone client: p50"), rows)
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
                    f"{found['limits'][found['best']]['cpu_us']:,.0f} us",
                )
            )
    names = ("case", "clients", "client waits", "socket, parse", *_STAGES[:-1], "other", "CPU: service", "generator")
    _table((*names, "bare loop"), rows)
    over = [(name, f"{found['clients']['1']['p50_over_ms']:+.2f} ms", "0.6 ms") for name, found in cases.items()]
    _table(("lone client", "p50 above decode and infer", "target"), over)


def show_memory(memory: Mapping[str, Any]) -> None:
    """Print what the services take when they are ready and after all of the load."""
    rows = [
        (name, f"{each['processes']}", f"{each['ready_mb']:,.0f} MiB", f"{each['loaded_mb']:,.0f} MiB")
        for name, each in memory.items()
    ]
    _table(("memory (PSS) of the service", "processes", "when ready", "after the load"), rows)


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table in Markdown."""
    for row in (names, ["---"] * len(names), *rows):
        click.echo(f"| {' | '.join(row)} |")
    click.echo()


def _limit(arrangement: Arrangement, rounds: list[Round]) -> dict[str, Any]:
    runtime = arrangement.runtime
    return {
        **asdict(arrangement),
        "text": str(arrangement),
        "images_per_s": _median(rounds, lambda each: each.limits[runtime].rate),
        "cpu_us": _median(rounds, lambda each: each.limits[runtime].cpu_s * 1e6),
    }


def _told(limit: Mapping[str, Any]) -> str:
    runtime = "" if limit["runtime"] == REFERENCE else f"{limit['runtime']}, "
    return f"{limit['images_per_s']:,.0f}/s ({runtime}{limit['text']})"


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def _with_clients(rounds: list[Round], clients: int, best: str) -> dict[str, Any]:
    cores = os.cpu_count() or 1

    def median(of: Callable[[Run], float]) -> float:
        return _median(rounds, lambda each: of(each.runs[clients]))

    def left(run: Run) -> float:
        """The share of the cores that the generator leaves."""
        return 1 - run.cpu_s / (cores * run.wall_s)

    return {
        "images_per_s": median(lambda run: run.rate),
        "share_of_tensorflow": _median(rounds, lambda each: each.runs[clients].rate / each.limits[REFERENCE].rate),
        "share": _median(rounds, lambda each: each.runs[clients].rate / each.limits[best].rate),
        "share_less_generator": _median(
            rounds, lambda each: each.runs[clients].rate / each.limits[best].rate / left(each.runs[clients])
        ),
        "times_tensorflow": (
            _median(rounds, lambda each: each.runs[clients].rate / each.others[clients].rate)
            if rounds[0].others
            else None
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


def _form_share(each: Round, best: str) -> float:
    return FORM_IMAGES * each.form.rate / each.limits[best].rate if each.form is not None else 0.0


def _median(rounds: list[Round], of: Callable[[Round], float]) -> float:
    return statistics.median(map(of, rounds))


def _needed_ms(run: Run) -> float:
    return run.stages_ms.get("decode", 0.0) + run.stages_ms.get("infer", 0.0)


def _percentile_ms(run: Run, percent: int) -> float:
    if len(run.latencies_s) < 2:
        return float("nan")
    return statistics.quantiles(run.latencies_s, n=100)[percent - 1] * 1e3
