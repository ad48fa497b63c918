"""The parts of one worker process, put together: engine, gateway, gRPC server, announcement."""

import json
import logging
import os
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import prometheus_client
from flask import Flask

from service import config_source, gateway
from service.engine.batching import BatchingParameters
from service.engine.canary import CanaryEngine, parse_shares
from service.engine.grpc_server import GrpcServer
from service.engine.interface import Engine
from service.engine.local import ClosableServable, LocalEngine
from service.gateway.metrics import Metrics
from service.settings import Settings

log = logging.getLogger(__name__)


class Worker:
    """What a worker process holds; `start` begins to load, `stop` ends everything within a bounded time."""

    def __init__(self, settings: Settings) -> None:
        """Put the parts together; nothing runs yet."""
        # Odd but readable metadata of an image is nobody's concern here.
        warnings.filterwarnings("ignore", module="PIL")
        # The time of each series' birth would double the page and helps nobody.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._settings = settings
        self._stopping = threading.Event()
        source = config_source.from_settings(settings)
        local = LocalEngine(source.read, _loader(settings), settings.file_system_poll_wait_seconds)
        metrics = Metrics(local)
        self.engine = CanaryEngine(
            local, parse_shares(settings.canary_share), settings.canary_mode, metrics.count_comparison
        )
        self.app: Flask = gateway.create_app(settings, self.engine, metrics)
        self._grpc = GrpcServer(
            self.engine, settings.threads, settings.rest_api_timeout_in_ms / 1e3, settings.max_body_bytes
        )

    def start(self, rest_api_port: int) -> None:
        """Start the engine and the gRPC server, and announce when all is ready.

        Args:
            rest_api_port: the port on which the gateway is reached, for the announcement.
        """
        self.engine.start()
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        port = self._grpc.start(f"{host}:{self._settings.port}")
        log.info("gRPC listens on %s:%d.", host, port)
        ports = {"port": port, "rest_api_port": rest_api_port}
        announcer = threading.Thread(
            target=_announce, args=(self.engine, ports, self._settings.ready_file, self._stopping), daemon=True
        )
        announcer.start()

    def stop(self) -> None:
        """Stop the announcer, the gRPC server and the engine."""
        self._stopping.set()
        self._grpc.close()
        self.engine.close()


def _loader(settings: Settings) -> Callable[[Path, str, int], ClosableServable]:
    parameters = BatchingParameters(
        max_batch_size=settings.max_batch_size,
        batch_timeout_micros=settings.batch_timeout_micros,
        max_enqueued_batches=settings.max_enqueued_batches,
        num_batch_threads=settings.num_batch_threads,
    )

    def load(folder: Path, name: str, version: int) -> ClosableServable:
        from service.engine import servable  # TensorFlow: only in the process that runs it

        return servable.load(folder, name, version, parameters, servable.DeviceSettings(settings.tensorflow_threads))

    return load


def _announce(engine: Engine, ports: dict[str, int], ready_file: Path | None, stopping: threading.Event) -> None:
    """Wait until the engine is ready, log it and write the ports to the file; ends with `stopping`."""
    while not engine.status().ready:
        if stopping.wait(0.05):
            return
    models = ", ".join(f"{name} version {v[0].version}" for name, v in engine.status().models.items())
    log.info("Ready: %s.", models)
    if ready_file is not None:
        # By rename, so that nobody reads half of it.
        temporary = ready_file.with_name(f".{ready_file.name}.{os.getpid()}")
        temporary.write_text(json.dumps(ports) + "\n")
        temporary.replace(ready_file)
