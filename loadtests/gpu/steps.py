"""The steps of the check, each a function from what it works with to rows of the table."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from loadtests.gpu import bare
from loadtests.gpu.clients import Clients, Generator
from loadtests.gpu.machine import GpuWatch
from loadtests.raw import client
from loadtests.subject import pictures
from loadtests.subject.served import Served, served

_SIGNPOST: Final = Path(sys.executable).with_name("signpost")
_PHOTO_MODEL: Final = "cats_vs_dogs"
_PNG_MODEL: Final = "sign_language"
_LOOK_S: Final = 0.05
# MiB of the GPU's memory that the service gets where it is to run short, and instances of a batch that do not fit it.
_LITTLE_MB: Final = 1600
_LARGE_BATCH: Final = 1024
_FORM_IMAGES: Final = 256


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        step: that found it.
        what: in words.
        told: the figure, in words.
        good: whether it is as it must be; None where nothing must be.
        figures: the same as numbers.
    """

    step: str
    what: str
    told: str
    good: bool | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Host:
    """What the steps work with.

    Attributes:
        store: models, which may be changed.
        folder: for what else they write.
        gpu: tells what the GPU does.
        generator: loads a service.
        has_gpu: whether there is one.
        seconds: of each load.
        swaps: of versions.
        until_s: the end of the budget, on the steady clock.
        flags: of the service.
    """

    store: Path
    folder: Path
    gpu: GpuWatch
    generator: Generator
    has_gpu: bool
    seconds: float
    swaps: int
    until_s: float
    flags: tuple[str, ...]

    @property
    def left_s(self) -> float:
        """Seconds of the budget that are left."""
        return self.until_s - time.monotonic()

    def newest(self, model: str) -> Path:
        """The folder of a model's newest version."""
        folders = (each for each in (self.store / model).iterdir() if each.name.isdigit())
        return max(folders, key=lambda each: int(each.name))


def start(host: Host, service: Served) -> Iterator[Row]:
    """Start: seconds until it is ready, its shape, its memory."""
    shape = next((line for line in service.log.read_text().splitlines() if " worker" in line), "not reported")
    pss_mb = sum(service.pss_mb().values())
    yield Row("start", "ready", f"{service.ready_s:.1f} s", True, {"ready_s": service.ready_s})
    yield Row("start", "shape", shape.partition("INFO ")[2] or shape)
    told = f"{pss_mb:,.0f} MiB of the host, {host.gpu.since(time.monotonic() - 1) or 'no GPU'}"
    yield Row("start", "memory", told, None, {"pss_mb": pss_mb})


def verify(host: Host, _service: Served) -> Iterator[Row]:
    """Verify: recorded scores of each model, as this device computes them."""
    models = sorted(each.name for each in host.store.iterdir() if each.is_dir())
    running = {
        name: subprocess.Popen(
            [str(_SIGNPOST), "models", "--store", str(host.store), "verify", name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name in (models if host.has_gpu else [_PNG_MODEL])
    }
    for name, process in running.items():
        try:
            said = process.communicate(timeout=max(1.0, host.left_s))[0].strip().splitlines()
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            said = ["not within the budget"]
        yield Row("verify", name, said[-1] if said else "", process.returncode == 0)


def load(host: Host, service: Served) -> Iterator[Row]:
    """Load: photographs and small PNGs on more and more connections, beside what host and model do by themselves."""
    photographs = pictures.photographs(16)
    cores = len(os.sched_getaffinity(0))
    decoded = bare.decoding(photographs, 192, 192, cores)
    yield Row("load", f"bare decoding, {cores} cores", f"{decoded:,.0f}/s", None, {"rate": decoded})
    many = (1, 32, 128, 256) if host.has_gpu else (1, 8)
    for model, kind, images in (
        (_PHOTO_MODEL, "image/jpeg", photographs),
        (_PNG_MODEL, "image/png", pictures.drawings(16)),
    ):
        requests = [client.request(f"/v1/models/{model}:predict", kind, image) for image in images]
        host.generator.load(service.port, requests, many[-1], host.seconds / 2)
        for connections in many:
            began_s = time.monotonic()
            found = host.generator.load(service.port, requests, connections, host.seconds)
            share = f", {found.rate / decoded:.0%} of bare decoding" if model == _PHOTO_MODEL else ""
            gpu = host.gpu.since(began_s)
            figures = {"rate": found.rate, "p50_ms": found.p50_ms, "p99_ms": found.p99_ms, "refused": found.refused}
            told = f"{found}{share}{'; ' if gpu else ''}{gpu}"
            yield Row("load", f"{model}, {connections} connections", told, None, figures)
        done = subprocess.run(
            [sys.executable, "-m", "loadtests.gpu.bare", str(host.newest(model))],
            capture_output=True,
            text=True,
            timeout=max(10.0, host.left_s),
            check=True,
        )
        rates = json.loads(done.stdout.splitlines()[-1])
        told = ", ".join(f"{name}: {rate:,.0f}/s" for name, rate in rates.items())
        yield Row("load", f"bare model {model}, batch x threads", told, None, rates)


def swaps(host: Host, service: Served) -> Iterator[Row]:
    """Swaps: versions that follow each other while clients ask."""
    model, number = (_PHOTO_MODEL, 16) if host.has_gpu else (_PNG_MODEL, 4)
    clients = _clients(service, model, number)
    taken_s: list[float] = []
    try:
        for _ in range(host.swaps):
            before = host.newest(model)
            after = before.with_name(str(int(before.name) + 1))
            shutil.copytree(before, host.folder / "next")
            renamed_s = time.monotonic()
            (host.folder / "next").rename(after)
            _wait(host, partial(_serves_only, service, model, after.name), f"{model}/{after.name}")
            taken_s.append(time.monotonic() - renamed_s)
            shutil.rmtree(before)
    finally:
        clients.stop()
    statuses = clients.statuses()
    lost = sum(statuses.values()) - statuses[200]
    told = f"{lost} of {sum(statuses.values()):,} lost{_said(clients)}"
    told += f"; a swap took {min(taken_s):.1f} to {max(taken_s):.1f} s"
    figures = {"statuses": dict(statuses), "seconds": taken_s}
    gpu = host.gpu.since(time.monotonic() - 1)
    yield Row("swaps", f"{len(taken_s)} under {number} clients", told + (f"; {gpu}" if gpu else ""), not lost, figures)


def kill(host: Host, service: Served) -> Iterator[Row]:
    """Kill: the engine process is killed while clients ask."""
    engines = re.findall(r"\(engine process (\d+)\)", service.log.read_text())
    if not engines:
        yield Row("kill", "kill -9 of the engine", "this shape has no engine process")
        return
    clients = _clients(service, _PNG_MODEL, 8)
    try:
        _wait(host, lambda: clients.statuses()[200] > 0, "an answer")
        os.kill(int(engines[-1]), signal.SIGKILL)
        killed_s = time.monotonic()
        _wait(host, lambda: clients.first(503, killed_s) is not None, "a 503")
        failed_s = clients.first(503, killed_s) or killed_s
        _wait(host, lambda: clients.first(200, failed_s) is not None, "an answer from the next engine")
        back_s = (clients.first(200, failed_s) or killed_s) - killed_s
    finally:
        clients.stop()
    statuses = clients.statuses()
    told = f"served again after {back_s:.1f} s; answers by status: {dict(sorted(statuses.items()))}"
    figures = {"back_s": back_s, "statuses": dict(statuses)}
    yield Row("kill", "kill -9 of the engine", told, set(statuses) <= {200, 503}, figures)


def memory(host: Host, _service: Served) -> Iterator[Row]:
    """Memory: batches that do not fit the device."""
    if not host.gpu.total_mb:
        yield Row("memory", "out of device memory", "needs a GPU; shown with a device made for tests")
        return
    share = _LITTLE_MB / host.gpu.total_mb
    flags = (f"--per_process_gpu_memory_fraction={share:.4f}", f"--max_batch_size={_LARGE_BATCH}")
    form = client.form(pictures.photographs(16) * (_FORM_IMAGES // 16), "image/jpeg")
    with served(host.store, (*host.flags, *flags)) as service:
        path = f"/v1/models/{_PHOTO_MODEL}:predict"
        clients = Clients(service.port, path=path, body=form[1], kind=form[0], number=8)
        time.sleep(3 * host.seconds)
        clients.stop()
        log = [line for line in service.log.read_text().splitlines() if "memory" in line]
    statuses = clients.statuses()
    told = f"answers by status: {dict(sorted(statuses.items()))}{_said(clients)}; log: {log[-1] if log else 'nothing'}"
    good = set(statuses) <= {200, 429} and bool(statuses[200])
    yield Row("memory", f"batches of {_LARGE_BATCH} in {_LITTLE_MB} MiB", told, good, {"statuses": dict(statuses)})


def training(host: Host, _service: Served) -> Iterator[Row]:
    """Training: it takes memory as needed, and publishes."""
    samples, epochs = (8000, 4) if host.has_gpu else (300, 1)
    at = host.folder / "training"
    command = [str(_SIGNPOST), "train", "circles", f"--samples={samples}", f"--epochs={epochs}"]
    command += [f"--{name}={at / name}" for name in ("store", "cache", "report")]
    began_s = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=max(1.0, host.left_s), check=False)
    except subprocess.TimeoutExpired:
        yield Row("training", "circles", "not within the budget", False)
        return
    seconds = time.monotonic() - began_s
    lines = [
        line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("Published", "In TF32", "Error"))
    ]
    told = f"{seconds:.0f} s; {' '.join(lines).replace(str(at), '…')}; {host.gpu.since(began_s) or 'no GPU'}"
    yield Row("training", f"circles, {epochs} epochs of {samples:,}", told, done.returncode == 0, {"seconds": seconds})


Step = Callable[[Host, Served], Iterator[Row]]
STEPS: Final[Mapping[str, Step]] = {
    each.__name__: each for each in (start, verify, load, swaps, kill, memory, training)
}


def _clients(service: Served, model: str, number: int) -> Clients:
    photo = model == _PHOTO_MODEL
    body = (pictures.photographs(1) if photo else pictures.drawings(1))[0]
    kind = "image/jpeg" if photo else "image/png"
    return Clients(service.port, path=f"/v1/models/{model}:predict", body=body, kind=kind, number=number)


def _said(clients: Clients) -> str:
    return f" ({clients.complaint()})" if clients.complaint() else ""


def _serves_only(service: Served, model: str, version: str) -> bool:
    return _states(service, model) == {version: "AVAILABLE"}


def _states(service: Served, model: str) -> dict[str, str]:
    with contextlib.suppress(OSError, ValueError), urllib.request.urlopen(f"{service.url}/v1/models/{model}") as answer:
        return {each["version"]: each["state"] for each in json.load(answer)["model_version_status"]}
    return {}


def _wait(host: Host, condition: Callable[[], bool], what: str) -> None:
    while not condition():
        if host.left_s <= 0:
            raise TimeoutError(f"{what} did not finish within the budget")
        time.sleep(_LOOK_S)
