"""How near the service comes to what its machine can do: `make bench`.

    .venv/bin/python -m loadtests.bench.limit [-- flags of signpost serve]

The limit is the bare loop (`loadtests/bench/bare_loop.py`): the same decoding and the same SavedModel, with no HTTP and
no queue, in the best of some arrangements of processes and threads; once in TensorFlow, and once in whatever runtime is
the fastest here. Times mean little on machines that are shared, so the bare loops, the service and a second service
that TensorFlow alone runs take turns, round after round, and each figure is the median of the ratios of its rounds.

The load generator (`loadtests/raw/client.py`) runs on the same cores. The plain share counts what it takes against the
service; "less generator" is the share of what the bare loop would do on the cores that the generator leaves.
"""

import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import click

from loadtests.bench import bench_models, curves, limit_tables, startup
from loadtests.bench.bare_loop import Arrangement, BareLoop, arrangements, runtimes
from loadtests.bench.limit_tables import CLIENTS, FORM_IMAGES, Round
from loadtests.raw import client
from loadtests.raw.client import Run
from loadtests.subject import host, pictures
from loadtests.subject.served import Served, served
from service.interface import REFERENCE

_DIFFERENT_IMAGES: Final = 16
_SEARCH_S: Final = 0.4
_RUN_BY: Final = re.compile(r'signpost_runtime_info\{model="([^"]+)",runtime="([^"]+)"[^}]*\} 1')


@dataclass(frozen=True)
class Case:
    """A model, and images such as people send to it."""

    name: str
    model: str
    kind: str
    images: Sequence[bytes]

    def requests(self) -> list[bytes]:
        """One post for each image."""
        return [client.request(f"/v1/models/{self.model}:predict", self.kind, image) for image in self.images]

    def form(self) -> bytes:
        """One post of many images, as a form."""
        several = [self.images[number % len(self.images)] for number in range(FORM_IMAGES)]
        return client.request(f"/v1/models/{self.model}:predict", *client.form(several, self.kind))


def cases() -> list[Case]:
    """What is measured."""
    photographs, letters = pictures.photographs(_DIFFERENT_IMAGES), pictures.drawings(_DIFFERENT_IMAGES)
    return [
        Case("JPEG, tutorial CNN", bench_models.TUTORIAL_CNN, "image/jpeg", photographs),
        Case("JPEG, cats_vs_dogs", "cats_vs_dogs", "image/jpeg", photographs),
        Case("JPEG, rock_paper_scissors", "rock_paper_scissors", "image/jpeg", photographs),
        Case("PNG, sign_language", "sign_language", "image/png", letters),
        Case("JPEG, MobileNetV2", bench_models.MOBILENET_V2, "image/jpeg", photographs),
        Case("JPEG, EfficientNet-Lite0", bench_models.EFFICIENTNET_LITE0, "image/jpeg", photographs),
        Case("JPEG, ResNet50", bench_models.RESNET50, "image/jpeg", photographs),
    ]


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--store", default=Path("model_store"), type=click.Path(path_type=Path), show_default=True)
@click.option("--rounds", default=3, show_default=True, help="How often bare loops and services take turns.")
@click.option("--seconds", default=2.0, show_default=True, help="Length of each run.")
@click.option("--only", multiple=True, help="Only the cases whose names hold one of these.")
@click.option("--out", default=Path("build/bench"), type=click.Path(path_type=Path), show_default=True)
@click.option("--compare/--no-compare", default=True, show_default=True, help="Also a service run by TensorFlow alone.")
@click.option("--growth/--no-growth", "with_growth", default=False, show_default=True, help="Also the growth curves.")
@click.option("--startup/--no-startup", "with_startup", default=True, show_default=True, help="Also start and memory.")
@click.argument("serve_flags", nargs=-1, type=click.UNPROCESSED)
def main(
    store: Path, rounds: int, seconds: float, only: tuple[str, ...], out: Path, compare: bool, with_growth: bool,
    with_startup: bool, serve_flags: tuple[str, ...],
) -> None:  # fmt: skip
    """Measure, print the tables, and write them as JSON and figures to a folder."""
    out.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"machine": host.machine(), "versions": host.versions(), "serve_flags": list(serve_flags)}
    click.echo(f"{found['machine']['cores']} CPUs, {found['machine']['cpu']}.\n")
    chosen = [case for case in cases() if not only or any(part in case.name for part in only)]
    if not chosen:
        raise click.UsageError(f"No case's name holds {' or '.join(only)}: {', '.join(case.name for case in cases())}.")
    names = {case.model for case in chosen}
    with _bench_store(store, names | (set(curves.MODELS_NEEDED) if with_growth else set())) as bench_store:
        found["cases"], found["memory"] = _measure_all(chosen, bench_store, rounds, seconds, compare, serve_flags)
        limit_tables.show(found["cases"])
        limit_tables.show_memory(found["memory"])
        if with_startup:
            found["startup"] = startup.measure(store)
        if with_growth:
            found["growth"] = curves.measure(bench_store, serve_flags, out)
    (out / "limit.json").write_text(json.dumps(found, indent=1) + "\n")
    click.echo(f"Written to {out}.")


@contextmanager
def _bench_store(store: Path, names: set[str]) -> Iterator[Path]:
    """A store of just these models: some are made, the others are those of the store."""
    with tempfile.TemporaryDirectory() as folder:
        made = sorted(names & set(bench_models.NAMES))
        if made:
            command = [sys.executable, "-m", "loadtests.bench.bench_models", folder, *made]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        for name in names - set(made):
            Path(folder, name).symlink_to((store / name).resolve())
        yield Path(folder)


def _measure_all(
    chosen: Sequence[Case], store: Path, rounds: int, seconds: float, compare: bool, serve_flags: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure every case, with one service or two, and how much memory those take."""
    with ExitStack() as stack:
        kept = stack.enter_context(tempfile.TemporaryDirectory())  # the models are new each time: nothing to remember
        flags = (f"--store-cache={kept}", *serve_flags)
        services = {"as chosen": stack.enter_context(served(store, flags))}
        if compare:
            services["TensorFlow"] = stack.enter_context(served(store, (*flags, f"--runtime={REFERENCE}")))
        service = services["as chosen"]
        click.echo(f"{_choices(service)}\n")
        memory = {name: {"ready_mb": sum(each.pss_mb().values())} for name, each in services.items()}
        run_by = _run_by(service)
        bare = BareLoop(store, "--mixed_precision" in " ".join(serve_flags))
        stack.callback(bare.close)
        found = {}
        for case in chosen:
            best = _search(case, bare, store)
            measured = _measure(case, services, bare, best, rounds, seconds)
            found[case.name] = {"run_by": run_by.get(case.model, "?"), **measured}
        for name, each in services.items():
            memory[name] |= {"loaded_mb": sum(each.pss_mb().values()), "processes": len(each.processes())}
        return found, memory


def _search(case: Case, bare: BareLoop, store: Path) -> list[Arrangement]:
    """The best arrangement in TensorFlow, and in each other runtime."""
    return [
        max(
            (replace(each, runtime=runtime) for each in arrangements(os.cpu_count() or 1)),
            key=lambda each: bare.run(case.model, case.images, each, _SEARCH_S).rate,
        )
        for runtime in (REFERENCE, *runtimes(store, case.model))
    ]


def _measure(
    case: Case, services: Mapping[str, Served], bare: BareLoop, best: Sequence[Arrangement], rounds: int, seconds: float
) -> dict[str, Any]:  # fmt: skip
    """Take turns between the bare loops and the services."""
    requests = case.requests()
    forms = [case.form()] if case.kind == "image/jpeg" else []
    for service in services.values():
        for clients in CLIENTS:
            client.run(service.port, requests, clients, _SEARCH_S)
    taken = [_round(case, services, bare, best, requests, forms, seconds) for _ in range(rounds)]
    return limit_tables.summary(best, taken)


def _round(
    case: Case, services: Mapping[str, Served], bare: BareLoop, best: Sequence[Arrangement], requests: list[bytes],
    forms: list[bytes], seconds: float,
) -> Round:  # fmt: skip
    limits = {each.runtime: bare.run(case.model, case.images, each, seconds) for each in best}
    service, other = services["as chosen"], services.get("TensorFlow")
    runs: dict[int, Run] = {}
    others: dict[int, Run] = {}
    cpu_s: dict[int, float] = {}
    for clients in CLIENTS:
        before_s = service.cpu_s()
        runs[clients] = client.run(service.port, requests, clients, seconds)
        cpu_s[clients] = (service.cpu_s() - before_s) / max(1, runs[clients].answered)
        if other is not None:
            others[clients] = client.run(other.port, requests, clients, seconds)
    # Of a large network some forms must be answered in that time.
    form_s = max(seconds, 3 * FORM_IMAGES / max(1.0, runs[CLIENTS[-1]].rate))
    form = client.run(service.port, forms, 2, form_s) if forms else None
    return Round(limits, runs, others, cpu_s, form)


def _choices(service: Served) -> str:
    """What the service says of the shape that it has chosen."""
    lines = [line for line in service.log.read_text().splitlines() if "workers" in line]
    return lines[0] if lines else "The service does not tell its shape."


def _run_by(service: Served) -> dict[str, str]:
    """The runtime of each model, as the service's metrics tell it."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
    connection.request("GET", "/metrics")
    found = _RUN_BY.findall(connection.getresponse().read().decode())
    connection.close()
    return dict(found)


if __name__ == "__main__":
    main()
