"""Two checkouts side by side: what a change does to rate, latency and the CPU of a request, in one run.

    .venv/bin/python -m loadtests.raw.side_by_side ../before .

Both services run all the time and take turns, round after round, so that what else the machine does meets both; each
figure is the median over the rounds: requests per second, latencies, and the CPU that the service takes for a request.
A checkout is a folder with `service/` in it; both run in this environment.
"""

import json
import os
import statistics
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import click

from loadtests.raw import client
from loadtests.subject import pictures
from loadtests.subject.served import served

_HEALTH: Final = b"GET /healthz HTTP/1.1\r\nHost: bench\r\n\r\n"


def _signpost(checkout: Path) -> tuple[str, ...]:
    """The command of a checkout."""
    module = "service.commands.cli" if (checkout / "service" / "commands").is_dir() else "service.cli"
    program = f"import sys; sys.path.insert(0, {str(checkout)!r}); from {module} import main; main()"
    return sys.executable, "-c", program


def _requests() -> dict[str, list[bytes]]:
    """What is asked for, by what it is."""
    letters = "/v1/models/sign_language:predict"
    pixels = json.dumps({"instances": [[[[0]] * 28] * 28]}).encode()
    return {
        "PNG 28x28": [client.request(letters, "image/png", image) for image in pictures.drawings(16)],
        "JPEG 500x375": [
            client.request("/v1/models/rock_paper_scissors:predict", "image/jpeg", image)
            for image in pictures.photographs(16)
        ],
        "JSON of pixels": [client.request(letters, "application/json", pixels)],
        "GET /healthz": [_HEALTH],
    }


@click.command()
@click.argument("before", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("after", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=3.0, show_default=True, help="Seconds of each run.")
def main(before: Path, after: Path, rounds: int, seconds: float) -> None:
    """Compare two checkouts."""
    click.echo(f"{os.cpu_count()} cores; medians of {rounds} rounds; before | after")
    with ExitStack() as held:
        store = (after / "model_store").resolve()
        services = [held.enter_context(served(store, signpost=_signpost(each.resolve()))) for each in (before, after)]
        for name, requests in _requests().items():
            for clients in (1, 32):
                found: list[list[tuple[float, float, float, float]]] = [[], []]
                for turn in range(rounds):
                    for number in (0, 1) if turn % 2 else (1, 0):
                        service = services[number]
                        cpu_s = service.cpu_s()
                        run = client.run(service.port, requests, clients, seconds)
                        per_request_us = (service.cpu_s() - cpu_s) / run.answered * 1e6
                        of_time = sorted(run.latencies_s)
                        p50_ms, p99_ms = (of_time[int(len(of_time) * share)] * 1e3 for share in (0.5, 0.99))
                        found[number].append((run.rate, p50_ms, p99_ms, per_request_us))
                medians = [[statistics.median(each) for each in zip(*runs, strict=True)] for runs in found]
                told = [
                    f"{rate:6.0f}/s p50 {p50:6.2f} ms p99 {p99:6.2f} ms {cpu:5.0f} us"
                    for rate, p50, p99, cpu in medians
                ]
                click.echo(f"{name:15} {clients:3} clients: {' | '.join(told)}")


if __name__ == "__main__":
    main()
