"""How near the service comes to what its machine can do: `make bench`.

    .venv/bin/python -m loadtests.bench.limit [-- flags of signpost serve]

The limit is the bare loop (`loadtests/bench/bare_loop.py`): the same decoding and the same SavedModel, with no HTTP and
no queue, in the best of some arrangements of processes and threads. Times mean little on machines that are shared, so
bare loop and service take turns, round after round, and each figure is the median of the ratios of its rounds.

The load generator (`loadtests/raw/client.py`) runs on the same cores. The plain share counts what it takes against the
service; "less generator" is the share of what the bare loop would do on the cores that the generator leaves.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from loadtests.bench import bench_models, curves, limit_tables, startup
from loadtests.bench.bare_loop import Arrangement, BareLoop, arrangements
from loadtests.bench.limit_tables import CLIENTS, FORM_IMAGES, Round
from loadtests.raw import client
from loadtests.raw.client import Run
from loadtests.subject import host, pictures
from loadtests.subject.served import Served, served

_DIFFERENT_IMAGES: Final = 16
_SEARCH_S: Final = 0.4


@dataclass(frozen=True)
class Case:
    """A model, and images such as people send to it."""

    name: str
    model: str
    kind: str
    images: Sequence[bytes]
    target: str

    def requests(self) -> list[bytes]:
        """One post for each image."""
        return [client.request(f"/v1/models/{self.model}:predict", self.kind, image) for image in self.images]

    def form(self) -> bytes:
        """One post of many images, as a form."""
        several = [self.images[number % len(self.images)] for number in range(FORM_IMAGES)]
        return client.request(f"/v1/models/{self.model}:predict", *client.form(several, self.kind))


def cases() -> list[Case]:
    """What is measured; the targets are those of docs/performance.md."""
    photographs, letters = pictures.photographs(_DIFFERENT_IMAGES), pictures.drawings(_DIFFERENT_IMAGES)
    return [
        Case("JPEG, tutorial CNN", bench_models.TUTORIAL_CNN, "image/jpeg", photographs, "85 %"),
        Case("JPEG, cats_vs_dogs", "cats_vs_dogs", "image/jpeg", photographs, "85 %"),
        Case("JPEG, rock_paper_scissors", "rock_paper_scissors", "image/jpeg", photographs, ""),
        Case("PNG, sign_language", "sign_language", "image/png", letters, "45 %"),
        Case("JPEG, MobileNetV2", bench_models.MOBILENET_V2, "image/jpeg", photographs, "90 %"),
    ]


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--store", default=Path("model_store"), type=click.Path(path_type=Path), show_default=True)
@click.option("--rounds", default=5, show_default=True, help="How often bare loop and service take turns.")
@click.option("--seconds", default=2.0, show_default=True, help="Length of each run.")
@click.option("--only", default="", help="Only the cases whose names hold this.")
@click.option("--out", default=Path("build/bench"), type=click.Path(path_type=Path), show_default=True)
@click.option("--growth/--no-growth", "with_growth", default=True, show_default=True, help="Also the growth curves.")
@click.option("--startup/--no-startup", "with_startup", default=True, show_default=True, help="Also start and memory.")
@click.argument("serve_flags", nargs=-1, type=click.UNPROCESSED)
def main(
    store: Path, rounds: int, seconds: float, only: str, out: Path, with_growth: bool, with_startup: bool,
    serve_flags: tuple[str, ...],
) -> None:  # fmt: skip
    """Measure, print the tables, and write them as JSON and figures to a folder."""
    out.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"machine": host.machine(), "versions": host.versions(), "serve_flags": list(serve_flags)}
    click.echo(f"{found['machine']['cores']} CPUs, {found['machine']['cpu']}; TensorFlow as the service runs it.\n")
    with tempfile.TemporaryDirectory() as folder:
        bench_store = Path(folder)
        subprocess.run(
            [sys.executable, "-m", "loadtests.bench.bench_models", folder], check=True, stderr=subprocess.DEVNULL
        )
        for model in sorted(store.iterdir()):
            if model.is_dir():
                (bench_store / model.name).symlink_to(model.resolve())
        chosen = [case for case in cases() if only in case.name]
        with served(bench_store, serve_flags) as service:
            click.echo(f"{_choices(service)}\n")
            bare = BareLoop(bench_store, "--mixed_precision" in " ".join(serve_flags))
            try:
                found["cases"] = {case.name: _measure(case, service, bare, rounds, seconds) for case in chosen}
            finally:
                bare.close()
        limit_tables.show(found["cases"], {case.name: case.target for case in chosen})
        if with_startup:
            found["startup"] = startup.measure(store)
        if with_growth:
            found["growth"] = curves.measure(bench_store, serve_flags, out)
    (out / "limit.json").write_text(json.dumps(found, indent=1) + "\n")
    click.echo(f"Written to {out}.")


def _measure(case: Case, service: Served, bare: BareLoop, rounds: int, seconds: float) -> dict[str, Any]:
    """Take turns between the bare loop and the service."""
    best = max(
        arrangements(os.cpu_count() or 1), key=lambda each: bare.run(case.model, case.images, each, _SEARCH_S).rate
    )
    requests = case.requests()
    forms = [case.form()] if case.kind == "image/jpeg" else []
    for clients in CLIENTS:
        client.run(service.port, requests, clients, _SEARCH_S)
    return limit_tables.summary(
        best, [_round(case, service, bare, best, requests, forms, seconds) for _ in range(rounds)]
    )


def _round(
    case: Case, service: Served, bare: BareLoop, best: Arrangement, requests: list[bytes], forms: list[bytes],
    seconds: float,
) -> Round:  # fmt: skip
    limit = bare.run(case.model, case.images, best, seconds)
    runs: dict[int, Run] = {}
    cpu_s: dict[int, float] = {}
    for clients in CLIENTS:
        before_s = service.cpu_s()
        runs[clients] = client.run(service.port, requests, clients, seconds)
        cpu_s[clients] = (service.cpu_s() - before_s) / max(1, runs[clients].answered)
    form = client.run(service.port, forms, 2, seconds) if forms else None
    return Round(limit.rate, limit.cpu_s, runs, cpu_s, form)


def _choices(service: Served) -> str:
    """What the service says of the shape that it has chosen."""
    lines = [line for line in service.log.read_text().splitlines() if "workers" in line]
    return lines[0] if lines else "The service does not tell its shape."


if __name__ == "__main__":
    main()
