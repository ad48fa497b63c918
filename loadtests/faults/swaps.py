"""What changing versions costs those who ask meanwhile: measured on a real service, with real models.

    .venv/bin/python -m loadtests.faults.swaps

Trains two small versions of `circles`, serves them beside `sign_language`, and prints: requests lost, versions mixed up
and answers that went back in swaps under load; p99 of one model while another is loaded and swapped, relative to quiet;
memory of the service after many reloads; seconds from a version's rename into the store until it serves. Exits with 1
when a request was lost, mixed up or went back: one that began after another had been answered by the version to which
the service changes, and was answered by the version before.
"""

import http.client
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import click
import numpy as np

from service.config.config_edit import rolled_back
from service.objects import urls
from service.objects.editing.config_file import opened
from training.data.circles import draw

SIGNPOST = Path(sys.executable).with_name("signpost")
PATIENCE_S = 120.0
# New connections that must all see the same state: each comes to one of the workers.
_LOOKS = 8


@dataclass
class Service:
    """A running `signpost serve` of a store of its own."""

    store: Path
    port: int
    process: subprocess.Popen[bytes]

    def ask(self, connection: http.client.HTTPConnection, path: str, body: bytes | None = None) -> tuple[int, Any, str]:
        """One request: status, answer, and the version that served it."""
        connection.request("GET" if body is None else "POST", path, body)
        response = connection.getresponse()
        content = response.read()
        return response.status, json.loads(content), response.headers.get("X-Model-Version", "")

    def connect(self) -> http.client.HTTPConnection:
        """A connection of its own, kept alive."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)

    def states(self, model: str) -> dict[int, str]:
        """State of each version of a model."""
        _, answer, _ = self.ask(self.connect(), f"/v1/models/{model}")
        return {int(each["version"]): each["state"] for each in answer.get("model_version_status", [])}

    def rollback(self, model: str, to: int) -> None:
        """Serve another version and wait until it alone is loaded."""
        with opened(self.store) as configs:
            configs.change(model, lambda config: rolled_back(config, to)[0])
        wait_until(lambda: self.serves_only(model, to))

    def serves_only(self, model: str, version: int) -> bool:
        """Whether a version alone is loaded, in every worker that new connections come to."""
        return all(self.states(model) == {version: "AVAILABLE"} for _ in range(_LOOKS))

    def memory_mib(self) -> float:
        """Resident memory of all its processes."""
        pids = [self.process.pid, *_children(self.process.pid)]
        return sum(_resident_bytes(pid) for pid in pids) / 2**20


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, at most `PATIENCE_S`."""
    until = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > until:
            raise click.ClickException("The service did not reach the expected state in time.")
        time.sleep(0.01)


def make_store(folder: Path) -> Path:
    """Train and publish: `circles` versions 1 and 2, `sign_language` version 2."""
    store = folder / "store"
    for seed in (1, 2):
        small = ["--samples=1000", "--epochs=2", f"--seed={seed}", "--cache", str(folder / "cache")]
        command = [str(SIGNPOST), "train", "circles", "--store", str(store), *small]
        subprocess.run(command, check=True, capture_output=True)
    shutil.copytree(Path(__file__).parents[2] / "model_store" / "sign_language", store / "sign_language")
    return store


@contextmanager
def serving(
    store: Path, folder: Path, flags: tuple[str, ...], log: int | IO[str] = subprocess.DEVNULL
) -> Iterator[Service]:
    """Serve a store, in a folder or in object storage."""
    ready = folder / "ready.json"
    ports = ("--port=0", "--rest_api_port=0")
    command = [str(SIGNPOST), "serve", "--store", urls.written(store), *ports, "--ready-file", str(ready), *flags]
    process = subprocess.Popen([*command, "--file_system_poll_wait_seconds=0.1"], stderr=log)
    try:
        wait_until(lambda: ready.exists() or process.poll() is not None)
        yield Service(store, json.loads(ready.read_text())["rest_api_port"], process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)


@dataclass
class Clients:
    """What a number of clients that never pause have seen."""

    expected: dict[str, list[float]]
    answers: int = 0
    lost: list[str] = field(default_factory=list)
    mixed: int = 0
    went_back: int = 0
    to: str = ""  # the version to which the service changes
    since_s: float = 0.0  # when it was told to
    changed_s: float | None = None  # when a request that began after that was answered by it first
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, service: Service, picture: bytes, stop: threading.Event) -> None:
        """Ask until told to stop; every answer must hold the scores of the version it names."""
        connection = service.connect()
        while not stop.is_set():
            began_s = time.monotonic()
            try:
                status, answer, version = service.ask(connection, "/v1/models/circles:predict", picture)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                status, answer, version = 0, {"error": repr(error)}, ""
            with self.lock:
                self.answers += 1
                if status != 200:
                    self.lost.append(answer["error"])
                elif not _same(answer, self.expected[version]):
                    self.mixed += 1
                if version == self.to:
                    if began_s > self.since_s:  # else it is one of the time before, that was slow to come
                        self.changed_s = self.changed_s or time.monotonic()
                elif version and self.changed_s is not None and began_s > self.changed_s:
                    self.went_back += 1

    def expect(self, version: int) -> None:
        """Note that the service is about to change to a version."""
        with self.lock:
            self.to, self.since_s, self.changed_s = str(version), time.monotonic(), None


def _same(answer: Any, expected: list[float]) -> bool:
    return np.allclose(list(answer["predictions"][0]["scores"].values()), expected, atol=1e-3)


def draw_picture() -> bytes:
    """What the clients ask about."""
    file = io.BytesIO()
    draw(3, side=32, radii=(2, 6), rng=np.random.default_rng(0)).save(file, "PNG")
    return file.getvalue()


def swap_under_load(service: Service, picture: bytes, clients: int, swaps: int) -> dict[str, float]:
    """Swap `circles` between its versions while clients ask for it."""
    expected = {}
    for version in (1, 2):
        service.rollback("circles", version)
        _, answer, served = service.ask(service.connect(), "/v1/models/circles:predict", picture)
        if served != str(version):
            raise click.ClickException(f"Version {served} answered where {version} alone should be loaded.")
        expected[served] = list(answer["predictions"][0]["scores"].values())
    if _same({"predictions": [{"scores": dict(enumerate(expected["1"]))}]}, expected["2"]):
        raise click.ClickException("The two versions give the same scores; their answers can't be told apart.")
    seen, stop = Clients(expected), threading.Event()
    threads = [threading.Thread(target=seen.run, args=(service, picture, stop)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        for number in range(swaps):
            seen.expect(1 + number % 2)
            service.rollback("circles", 1 + number % 2)
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE_S)
    for reason in sorted(set(seen.lost))[:5]:
        click.echo(f"lost: {reason}", err=True)
    counted = {"answers": seen.answers, "lost": len(seen.lost), "mixed": seen.mixed, "went_back": seen.went_back}
    return {"clients": clients, "swaps": swaps, **counted}


def p99_ms(service: Service, picture: bytes, rate: float, done: Callable[[], bool]) -> float:
    """p99 of `circles` at a steady rate of arrivals, counted from when each request was due."""
    connection = service.connect()
    latencies_ms: list[float] = []
    start_s = time.monotonic()
    while not done():
        due_s = start_s + len(latencies_ms) / rate
        time.sleep(max(0.0, due_s - time.monotonic()))
        service.ask(connection, "/v1/models/circles:predict", picture)
        latencies_ms.append((time.monotonic() - due_s) * 1e3)
    return float(np.percentile(latencies_ms, 99))


def latency_beside_loads(service: Service, picture: bytes, rate: float, loads: int) -> dict[str, float]:
    """p99 of `circles` while versions of `sign_language` are loaded and swapped, and in quiet, in turn."""
    quiet, busy = [], []
    for _ in range(3):
        until = time.monotonic() + 5.0
        quiet.append(p99_ms(service, picture, rate, lambda: time.monotonic() > until))  # noqa: B023 - called at once
        loader = threading.Thread(target=_load_others, args=(service, loads))
        loader.start()
        busy.append(p99_ms(service, picture, rate, lambda: not loader.is_alive()))  # noqa: B023 - called at once
        loader.join()
    return {
        "rate": rate,
        "loads": loads,
        "p99_quiet_ms": float(np.median(quiet)),
        "p99_beside_loads_ms": float(np.median(busy)),
        "ratio": float(np.median(busy) / np.median(quiet)),
    }


def _load_others(service: Service, loads: int) -> None:
    for _ in range(loads):
        _publish_copy(service)


def _publish_copy(service: Service) -> float:
    """Publish a copy of the latest `sign_language` by rename; seconds until it serves."""
    folder = service.store / "sign_language"
    latest = max(int(path.name) for path in folder.iterdir() if path.name.isdigit())
    shutil.copytree(folder / str(latest), folder / ".copy")
    time.sleep(1.1)  # a copy that was finished a while ago, as when it comes from elsewhere
    renamed_s = time.monotonic()
    (folder / ".copy").rename(folder / str(latest + 1))
    wait_until(lambda: service.serves_only("sign_language", latest + 1))
    seconds = time.monotonic() - renamed_s
    shutil.rmtree(folder / str(latest))
    return seconds


def reload_memory(service: Service, reloads: int) -> dict[str, float]:
    """Resident memory before and after many reloads of `circles`."""
    for version in (1, 2):
        service.rollback("circles", version)
    before = service.memory_mib()
    for number in range(reloads):
        service.rollback("circles", 1 + number % 2)
    after = service.memory_mib()
    return {"reloads": reloads, "before_mib": before, "after_mib": after, "growth": after / before - 1}


def _children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *_children(int(child))]
    return found


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--clients", default=32, show_default=True)
@click.option("--swaps", default=50, show_default=True)
@click.option("--loads", default=10, show_default=True, help="How often the other model is loaded in each round.")
@click.option("--rate", default=50.0, show_default=True, help="Requests per second during the loads.")
@click.option("--reloads", default=100, show_default=True)
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
def main(clients: int, swaps: int, loads: int, rate: float, reloads: int, flags: tuple[str, ...]) -> None:
    """Measure what changing versions costs; FLAGS go to `signpost serve`."""
    picture = draw_picture()
    with tempfile.TemporaryDirectory() as name, serving(make_store(Path(name)), Path(name), flags) as service:
        measured = {
            "swaps": swap_under_load(service, picture, clients, swaps),
            "beside_loads": latency_beside_loads(service, picture, rate, loads),
            "memory": reload_memory(service, reloads),
            "rename_to_available_s": float(np.median([_publish_copy(service) for _ in range(5)])),
        }
    click.echo(json.dumps(measured, indent=1))
    if any(measured["swaps"][wrong] for wrong in ("lost", "mixed", "went_back")):  # type: ignore[index]
        raise SystemExit(1)


if __name__ == "__main__":
    main()
