"""What it costs to have the models in another process: measured against the same engine in this one.

    .venv/bin/python -m loadtests.bench.engine_overhead

Runs one model of a store in this process, and behind `signpost serve` over a Unix socket, TCP and REST; prints the
median and p99 of a lone caller, and predictions per second of many. Callers are threads of this process, as in a
gateway worker. The ways take turns, several times, so that what else the machine does meets all of them.
"""

import http.client
import io
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from PIL import Image

from service.config.settings import Settings
from service.engine.batching.parameters import BatchingParameters
from service.engine.remote.engine import RemoteEngine
from service.interface import Call, Engine, ImageSize, ModelSpec
from service.parts import engines, plan
from service.parts.runtime import Runtime
from service.telemetry.serving_metrics import ServingMetrics

SIGNPOST = Path(sys.executable).with_name("signpost")
PATIENCE_S = 120.0
ROUNDS = 3

# Makes a function that asks once, for one thread.
Asker = Callable[[], Callable[[], None]]


@click.command()
@click.option("--store", default=Path("model_store"), type=click.Path(path_type=Path), show_default=True)
@click.option("--model", default="sign_language", show_default=True, help="An image classifier of the store.")
@click.option("--callers", default=32, show_default=True, help="Threads that ask at the same time.")
@click.option("--seconds", default=2.0, show_default=True, help="Length of each of the three runs of each way.")
def main(store: Path, model: str, callers: int, seconds: float) -> None:
    """Measure and print a table."""
    planned = plan.make(Settings(store=store, port=0, rest_api_port=0))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        local = engines.local_engine(planned, Runtime(folder, 1, None, 0), ServingMetrics(), lambda *_: None)
        stack.callback(local.close)
        local.start()
        _wait(lambda: local.status().ready)
        with local.lease(ModelSpec(model)) as servable:
            size = servable.signatures["serving_default"].image
        if size is None:
            raise click.ClickException(f"{model} is no image classifier.")
        socket = folder / "grpc.sock"
        ports = stack.enter_context(_served(store, folder, socket))
        ways: dict[str, Asker] = {"local engine": _engine_asker(local, model, size)}
        for name, address in (("Unix socket", f"unix:{socket}"), ("TCP", f"127.0.0.1:{ports['port']}")):
            for calls in (1, 2, 4) if name == "Unix socket" else (2,):
                remote = RemoteEngine([address], replace(BatchingParameters(), num_batch_threads=calls))
                stack.callback(remote.close)
                remote.start()
                _wait(lambda: remote.status().ready)  # noqa: B023 - called at once
                ways[f"gRPC, {name}, {calls} calls"] = _engine_asker(remote, model, size)
        ways["REST, PNG"] = _rest_asker(ports["rest_api_port"], model, size)
        _report(_measure(ways, callers, seconds), callers)


def _measure(ways: dict[str, Asker], callers: int, seconds: float) -> dict[str, tuple[list[float], float]]:
    """For each way the seconds of each request of a lone caller, and the most requests per second of all callers."""
    alone: dict[str, list[float]] = {name: [] for name in ways}
    rates: dict[str, float] = dict.fromkeys(ways, 0.0)
    for _ in range(ROUNDS):
        for name, asker in ways.items():
            alone[name] += _run(asker, 1, seconds)[0]
            rates[name] = max(rates[name], _run(asker, callers, seconds)[1])
    return {name: (alone[name], rates[name]) for name in ways}


def _run(asker: Asker, callers: int, seconds: float) -> tuple[list[float], float]:
    taken: list[list[float]] = [[] for _ in range(callers)]
    begin = threading.Barrier(callers + 1)

    def ask_on(mine: list[float]) -> None:
        ask = asker()
        ask()
        begin.wait(PATIENCE_S)
        until = time.perf_counter() + seconds
        while (started := time.perf_counter()) < until:
            ask()
            mine.append(time.perf_counter() - started)

    threads = [threading.Thread(target=ask_on, args=(mine,)) for mine in taken]
    for thread in threads:
        thread.start()
    begin.wait(PATIENCE_S)
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    return [each for mine in taken for each in mine], sum(map(len, taken)) / (time.perf_counter() - started)


def _engine_asker(engine: Engine, model: str, size: ImageSize) -> Asker:
    pixels = _pixels(size)[None]

    def make() -> Callable[[], None]:
        def ask() -> None:
            with engine.lease(ModelSpec(model)) as servable:
                servable.predict({"image": pixels}, Call(time.monotonic() + PATIENCE_S, outputs=("scores",)))

        return ask

    return make


def _rest_asker(port: int, model: str, size: ImageSize) -> Asker:
    file = io.BytesIO()
    pixels = _pixels(size)
    Image.fromarray(pixels if size.channels == 3 else pixels[:, :, 0]).save(file, "PNG")

    def make() -> Callable[[], None]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)

        def ask() -> None:
            connection.request("POST", f"/v1/models/{model}:predict", file.getvalue(), {"Content-Type": "image/png"})
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                raise RuntimeError(f"REST answered {response.status}.")

        return ask

    return make


def _pixels(size: ImageSize) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    shape = (size.height, size.width, size.channels)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@contextmanager
def _served(store: Path, folder: Path, socket: Path) -> Iterator[dict[str, int]]:
    """A service of the store, with its engine in its one worker; its ports."""
    ready = folder / "ready.json"
    command = [str(SIGNPOST), "serve", "--store", str(store), "--port=0", "--rest_api_port=0", "--log-level=warning"]
    command += ["--grpc_socket_path", str(socket), "--ready-file", str(ready), "--threads=64"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        _wait(lambda: ready.exists() or process.poll() is not None)
        if process.poll() is not None:
            raise click.ClickException(f"`signpost serve` ended with exit code {process.returncode}.")
        yield json.loads(ready.read_text())
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > until:
            raise click.ClickException("The service did not become ready.")
        time.sleep(0.02)


def _report(found: dict[str, tuple[list[float], float]], callers: int) -> None:
    base_s = statistics.median(next(iter(found.values()))[0])
    click.echo(f"| way | lone caller, median | over local | p99 | {callers} callers |\n| --- | --- | --- | --- | --- |")
    for name, (alone, rate) in found.items():
        median_s, p99_s = statistics.median(alone), statistics.quantiles(alone, n=100)[98]
        over = f"{(median_s - base_s) * 1e3:+.2f} ms"
        click.echo(f"| {name} | {median_s * 1e3:.2f} ms | {over} | {p99_s * 1e3:.2f} ms | {rate:,.0f}/s |")


if __name__ == "__main__":
    main()
