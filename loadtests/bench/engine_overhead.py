"""What it costs to have the models in another process: against the same models in the process that asks.

    .venv/bin/python -m loadtests.bench.engine_overhead

Two tables. In the first the callers are threads of this process, as in a gateway worker: they ask a local engine, and
the engine process of a shared service over the hop and over gRPC. In the second they are clients of HTTP that post
small PNGs to whole services on the same cores: local engines, a shared engine, and the same engine behind gateways that
reach it over gRPC. The ways take turns, round after round, so that what else the machine does meets all of them; a
ratio is the median of those of the rounds.
"""

import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import click
import numpy as np

from loadtests.raw import client
from loadtests.subject import pictures
from loadtests.subject.served import served
from service.config import shape
from service.config.settings import AUTO, Settings
from service.engine.batching.parameters import BatchingParameters
from service.engine.remote.engine import RemoteEngine
from service.engine.remote.link import Link
from service.interface import Call, Engine, ImageSize, ModelSpec
from service.parts import engines, plan
from service.parts.runtime import Runtime
from service.telemetry.serving_metrics import ServingMetrics

_PATIENCE_S: Final = 120.0
# Calls of one model that a gateway has on their way.
_CALLS: Final = 2
_DIFFERENT_IMAGES: Final = 16

# Asks on so many threads or connections for so many seconds; seconds of each answer, and answers per second.
Way = Callable[[int, float], tuple[list[float], float]]


@dataclass
class _Found:
    """What a way was measured at, round by round."""

    alone_s: list[float] = field(default_factory=list)  # medians
    slowest_s: list[float] = field(default_factory=list)  # 99th percentiles
    rates: list[float] = field(default_factory=list)


@click.command()
@click.option("--store", default=Path("model_store"), type=click.Path(path_type=Path), show_default=True)
@click.option("--model", default="sign_language", show_default=True, help="An image classifier of the store.")
@click.option("--callers", default=32, show_default=True, help="Threads or clients that ask at the same time.")
@click.option("--seconds", default=2.0, show_default=True, help="Length of each run.")
@click.option("--rounds", default=5, show_default=True, help="How often the ways take turns.")
@click.option("--gateways", default=0, show_default=True, help="Of a shared engine; 0 is as many as it chooses itself.")
def main(store: Path, model: str, callers: int, seconds: float, rounds: int, gateways: int) -> None:
    """Measure and print the tables."""
    chosen = shape.choose(Settings(store=store, engine="shared", workers=gateways or AUTO), shape.look())
    workers = chosen.workers
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        os.environ["TMPDIR"] = str(folder)  # the services' private folders are found there
        # On the same threads of TensorFlow as the engine process.
        planned = plan.make(replace(chosen, engine="local"))
        local = engines.local_engine(planned, _runtime(folder), ServingMetrics(), lambda *_: None)
        stack.callback(local.close)
        local.start()
        _wait(lambda: local.status().ready)
        with local.lease(ModelSpec(model)) as servable:
            size = servable.signatures["serving_default"].image
        if size is None:
            raise click.ClickException(f"{model} is not an image classifier.")
        socket = folder / "grpc.sock"
        quiet = ("--log-level=warning",)
        flags = (*quiet, "--engine=shared", f"--workers={workers}", f"--grpc_socket_path={socket}")
        shared = stack.enter_context(served(store, flags))
        [hop] = folder.glob("signpost-*/hop.sock")
        callers_ways = {
            "local engine": _threads(local, model, size),
            "hop": _threads(stack.enter_context(_remote(f"unix:{socket}", hop)), model, size),
            "gRPC, Unix socket": _threads(stack.enter_context(_remote(f"unix:{socket}")), model, size),
            "gRPC, TCP": _threads(stack.enter_context(_remote(shared.grpc_address)), model, size),
        }
        _report("threads of one process", _measure(callers_ways, callers, seconds, rounds), callers)
        over_grpc = stack.enter_context(served(store, (*quiet, f"--engine=unix:{socket}", f"--workers={workers}")))
        own = stack.enter_context(served(store, (*quiet, "--engine=local")))
        clients_ways = {
            "local engines": _clients(own.port, model, size),
            f"shared, hop, {workers} gateways": _clients(shared.port, model, size),
            f"shared, gRPC, {workers} gateways": _clients(over_grpc.port, model, size),
        }
        _report("clients of HTTP", _measure(clients_ways, callers, seconds, rounds), callers)


def _runtime(folder: Path) -> Runtime:
    (folder / "agreement").mkdir()
    return Runtime(folder, 1, None, 0)


@contextmanager
def _remote(address: str, hop: Path | None = None) -> Iterator[Engine]:
    """A remote engine as gateways have it."""
    parameters = replace(BatchingParameters(), num_batch_threads=_CALLS)
    engine = RemoteEngine([address], parameters, link=Link(hop=hop))
    engine.start()
    try:
        _wait(lambda: engine.status().ready)
        yield engine
    finally:
        engine.close()


def _measure(ways: Mapping[str, Way], callers: int, seconds: float, rounds: int) -> dict[str, _Found]:
    found = {name: _Found() for name in ways}
    for way in ways.values():
        way(callers, seconds / 4)
    for _ in range(rounds):
        for name, way in ways.items():
            taken_s, _ = way(1, seconds)
            found[name].alone_s.append(statistics.median(taken_s))
            found[name].slowest_s.append(statistics.quantiles(taken_s, n=100)[98])
        for name, way in ways.items():
            found[name].rates.append(way(callers, seconds)[1])
    return found


def _threads(engine: Engine, model: str, size: ImageSize) -> Way:
    """Threads of this process ask an engine."""
    shape_of_one = (1, size.height, size.width, size.channels)
    pixels = np.random.default_rng(0).integers(0, 256, shape_of_one, dtype=np.uint8)

    def ask() -> None:
        with engine.lease(ModelSpec(model)) as servable:
            servable.predict({"image": pixels}, Call(time.monotonic() + _PATIENCE_S, outputs=("scores",)))

    def run(callers: int, seconds: float) -> tuple[list[float], float]:
        taken: list[list[float]] = [[] for _ in range(callers)]
        begin = threading.Barrier(callers + 1)

        def ask_on(mine: list[float]) -> None:
            ask()
            begin.wait(_PATIENCE_S)
            until = time.perf_counter() + seconds
            while (started := time.perf_counter()) < until:
                ask()
                mine.append(time.perf_counter() - started)

        threads = [threading.Thread(target=ask_on, args=(mine,)) for mine in taken]
        for thread in threads:
            thread.start()
        begin.wait(_PATIENCE_S)
        started = time.perf_counter()
        for thread in threads:
            thread.join()
        return [each for mine in taken for each in mine], sum(map(len, taken)) / (time.perf_counter() - started)

    return run


def _clients(port: int, model: str, size: ImageSize) -> Way:
    """Clients post images to a service."""
    kind, images = pictures.for_model(_DIFFERENT_IMAGES, size.width, size.height, size.channels)
    requests = [client.request(f"/v1/models/{model}:predict", kind, image) for image in images]

    def run(callers: int, seconds: float) -> tuple[list[float], float]:
        done = client.run(port, requests, callers, seconds)
        return done.latencies_s, done.rate

    return run


def _wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > until:
            raise click.ClickException("The engine did not become ready.")
        time.sleep(0.02)


def _report(who: str, found: Mapping[str, _Found], callers: int) -> None:
    """Print a table; the first way is what the others are held against."""
    first = next(iter(found.values()))
    click.echo(f"\n| {who} | lone caller, p50 | over the first | p99 | {callers} callers | share of the first |")
    click.echo("| --- | --- | --- | --- | --- | --- |")
    for name, each in found.items():
        over_ms = statistics.median(_differences(each.alone_s, first.alone_s)) * 1e3
        share = statistics.median(rate / base for rate, base in zip(each.rates, first.rates, strict=True))
        alone_ms, slowest_ms = (statistics.median(column) * 1e3 for column in (each.alone_s, each.slowest_s))
        rate = statistics.median(each.rates)
        click.echo(
            f"| {name} | {alone_ms:.2f} ms | {over_ms:+.2f} ms | {slowest_ms:.2f} ms | {rate:,.0f}/s | {share:.0%} |"
        )


def _differences(values: list[float], bases: list[float]) -> Iterator[float]:
    return (value - base for value, base in zip(values, bases, strict=True))


if __name__ == "__main__":
    main()
