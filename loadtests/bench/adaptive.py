"""What a latency objective does: throughput against p99 with batches that are chosen by it, and with greedy ones.

    .venv/bin/python -m loadtests.bench.adaptive --objective p99=50ms --figure adaptive.png

The same model is served twice on this machine, once with `--latency-objective`, and both services are asked in turn by
closed loops of more and more clients. Of each point the median of all rounds.
"""

import statistics
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import click

from loadtests.bench.overload import good, p99, requests_for
from loadtests.raw import arrivals
from loadtests.subject.served import served

_CLIENTS: Final = (1, 2, 4, 8, 16, 32)
# Milliseconds and requests per second of each number of clients.
Curve = list[tuple[float, float]]


@click.command()
@click.option("--store", default=Path("model_store"), type=click.Path(path_type=Path), show_default=True)
@click.option("--model", default="cats_vs_dogs", show_default=True)
@click.option("--objective", default="p99=50ms", show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--seconds", default=4.0, show_default=True, help="Length of each run.")
@click.option("--figure", type=click.Path(path_type=Path), help="Where to draw the curves.")
@click.argument("arguments", nargs=-1)
def main(
    store: Path,
    model: str,
    objective: str,
    rounds: int,
    seconds: float,
    figure: Path | None,
    arguments: tuple[str, ...],
) -> None:
    """Measure and print a table; ARGUMENTS (after --) go to `signpost serve`."""
    requests = requests_for(model)
    ways = {"greedy": arguments, objective: (f"--latency-objective={objective}", *arguments)}
    found: dict[str, dict[int, Curve]] = {way: {clients: [] for clients in _CLIENTS} for way in ways}
    with ExitStack() as stack:
        ports = {way: stack.enter_context(served(store, more)).port for way, more in ways.items()}
        for _ in range(rounds):
            for clients in _CLIENTS:
                for way, port in ports.items():
                    arrivals.closed(port, requests, clients, seconds / 4)
                    run = arrivals.closed(port, requests, clients, seconds)
                    found[way][clients].append((p99(good(run)) * 1e3, len(good(run)) / run.wall_s))
    curves = {
        way: [
            (statistics.median(ms for ms, _ in runs), statistics.median(rate for _, rate in runs))
            for runs in each.values()
        ]
        for way, each in found.items()
    }
    click.echo("| clients | " + " | ".join(f"{way}: p99 | requests/s" for way in curves) + " |")
    click.echo("| --- " * (1 + 2 * len(curves)) + "|")
    for number, clients in enumerate(_CLIENTS):
        cells = (f"{curve[number][0]:.1f} ms | {curve[number][1]:.0f}" for curve in curves.values())
        click.echo(f"| {clients} | " + " | ".join(cells) + " |")
    if figure is not None:
        draw(curves, figure)


def draw(curves: dict[str, Curve], path: Path) -> None:
    """Draw throughput against p99, a line for each way, and save it."""
    from matplotlib.figure import Figure

    sheet = Figure(figsize=(6, 4), layout="constrained")
    axes = sheet.subplots()
    for way, curve in curves.items():
        axes.plot([ms for ms, _ in curve], [rate for _, rate in curve], "o-", label=way)
        for clients, point in zip(_CLIENTS, curve, strict=True):
            axes.annotate(str(clients), point, textcoords="offset points", xytext=(4, -10), fontsize=8)
    axes.set_xlabel("p99, ms (numbers: clients)")
    axes.set_ylabel("requests per second")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    sheet.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
