"""What memory a service of three models takes before load, at its peak and after it, and what for.

    python -m loadtests.memory.under_load [--seconds 20] [-- flags of signpost serve]

Two workers serve all three; 32 clients post photographs to a plain CNN of 150x150, then four post forms of 32, which
make the largest batches. `make bench` prints it too. Settings of TensorFlow and of the C library are environment
variables, and `--signpost` names the command of another version:

    MALLOC_ARENA_MAX=1 python -m loadtests.memory.under_load --signpost "env PYTHONPATH=../other .venv/bin/signpost"

Proportional set sizes (PSS): what processes share counts in parts, so that a program beside the service which has
TensorFlow's libraries mapped too makes the column "files" smaller. "own" is what is a process's alone.
"""

import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from statistics import median
from typing import Any, Final

import click

from loadtests.bench.bench_models import TUTORIAL_CNN
from loadtests.bench.limit_tables import FORM_IMAGES
from loadtests.memory.kinds import KINDS, Memory, memory_of
from loadtests.raw import client
from loadtests.subject import pictures
from loadtests.subject.served import SIGNPOST, Served, served

_OTHERS: Final = ("cats_vs_dogs", "sign_language")
_CLIENTS: Final = 32
_FORMS: Final = 4  # clients that post forms
_WORKERS: Final = 2
# Seconds between two looks while there is load, and without load before the last one.
_LOOK_S: Final = 0.25
_REST_S: Final = 12.0


def measure(
    store: Path, serve_flags: Sequence[str] = (), seconds: float = 10.0, signpost: Sequence[str] = SIGNPOST
) -> dict[str, Any]:
    """Load a service and look at its memory meanwhile; prints a table.

    Args:
        store: with the models of the repository.
        serve_flags: further ones of `signpost serve`.
        seconds: of each load.
        signpost: the command.
    """
    with tempfile.TemporaryDirectory() as folder:
        make = [sys.executable, "-m", "loadtests.bench.bench_models", folder, TUTORIAL_CNN]
        subprocess.run(make, check=True, stderr=subprocess.DEVNULL)
        served_store = Path(folder, "served")
        served_store.mkdir()
        for name, where in ((TUTORIAL_CNN, Path(folder)), *((name, store) for name in _OTHERS)):
            (served_store / name).symlink_to((where / name).resolve())
        flags = [f"--workers={_WORKERS}", "--engine=local", "--log-level=warning", *serve_flags]
        with served(served_store, flags, signpost=signpost) as service:
            found = _watch(service, seconds)
    _show(found)
    return found


def _watch(service: Served, seconds: float) -> dict[str, Any]:
    path = f"/v1/models/{TUTORIAL_CNN}:predict"
    images = pictures.photographs(16)
    posts = [client.request(path, "image/jpeg", image) for image in images]
    form = client.request(path, *client.form(images * (FORM_IMAGES // len(images)), "image/jpeg"))
    found: dict[str, Any] = {"memory": {"before": _look(service)}}
    alone = client.run(service.port, posts, 1, 2.0)
    found["alone_ms"] = 1e3 * median(alone.latencies_s)
    for name, requests, clients, images_each in (
        ("photographs", posts, _CLIENTS, 1), ("forms", [form], _FORMS, FORM_IMAGES),
    ):  # fmt: skip
        before_s = service.cpu_s()
        run, found["memory"][name] = _load(service, requests, clients, seconds)
        found[f"{name}_per_s"] = run.rate * images_each
        found[f"{name}_cpu_ms"] = 1e3 * (service.cpu_s() - before_s) / max(1, run.answered * images_each)
    time.sleep(_REST_S)
    found["memory"]["after"] = _look(service)
    return found


def _load(
    service: Served, requests: Sequence[bytes], clients: int, seconds: float
) -> tuple[client.Run, dict[str, Memory]]:
    """Send requests, and look at the memory when it is most."""
    peak_mb, peak = 0.0, {}
    with ThreadPoolExecutor(1) as pool:  # ends by itself: each wait of the generator has a deadline
        load = pool.submit(client.run, service.port, requests, clients, seconds)
        while not load.done():
            if (now_mb := sum(service.pss_mb().values())) > peak_mb:
                peak_mb, peak = now_mb, _look(service)
            wait([load], _LOOK_S)
    return load.result(), peak


def _look(service: Served) -> dict[str, Memory]:
    """The memory of each of a service's processes now; the first is the one that was started."""
    pids = service.processes()
    names = ["signpost", *(f"worker {number}" for number in range(1, len(pids)))]
    return {name: memory_of(pid) for name, pid in zip(names, pids, strict=True)}


def _show(found: dict[str, Any]) -> None:
    click.echo(
        f"Three models, {_WORKERS} workers; a plain CNN at 150x150: a lone client waits {found['alone_ms']:.2f} ms, "
        f"{_CLIENTS} clients get {found['photographs_per_s']:.0f} images/s ({found['photographs_cpu_ms']:.2f} ms of "
        f"CPU each), {_FORMS} with forms of {FORM_IMAGES} {found['forms_per_s']:.0f} ({found['forms_cpu_ms']:.2f}). "
        "PSS in MiB:\n"
    )
    click.echo("| when | process | all | own | " + " | ".join(KINDS) + " |")
    click.echo("| --- " * (len(KINDS) + 4) + "|")
    for when, processes in found["memory"].items():
        rows = [*processes.items(), ("**all**", sum(processes.values(), Counter()))]
        for name, memory in rows:
            every = sum(memory.values())
            kinds = " | ".join(str(memory[kind]) for kind in KINDS)
            click.echo(f"| {when} | {name} | {every} | {every - memory['files']} | {kinds} |")
    click.echo()


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--store", default=Path("model_store"), type=click.Path(path_type=Path), show_default=True)
@click.option("--seconds", default=20.0, show_default=True, help="Length of each load.")
@click.option("--signpost", default=SIGNPOST[0], show_default=True, help="The command, of this version or another.")
@click.argument("serve_flags", nargs=-1, type=click.UNPROCESSED)
def main(store: Path, seconds: float, signpost: str, serve_flags: tuple[str, ...]) -> None:
    """Measure, and print the table."""
    measure(store, serve_flags, seconds, signpost.split())


if __name__ == "__main__":
    main()
