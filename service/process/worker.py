"""The parts of one worker process, put together: engine, gateway, gRPC server, announcement."""

import json
import logging
import os
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Final

import prometheus_client
from flask import Flask

from service import gateway
from service.engine.local.engine import LocalEngine
from service.engine.tf import device
from service.errors import SignpostError
from service.gateway.middleware.unrouted import Unrouted
from service.interface import Engine, ModelSpec
from service.objects.mirror.metrics import NUMBERS, MirrorMetrics
from service.parts import engines
from service.parts.plan import Plan
from service.parts.runtime import Roster, Runtime
from service.process.memory import AfterLoad, limit_arenas
from service.rpc.server import GrpcServer
from service.telemetry import shared_metrics, tracing
from service.telemetry.metrics import Metrics
from service.telemetry.serving_metrics import ServingMetrics

log = logging.getLogger(__name__)

# Seconds between checks of whether this worker's models are ready: before they were, and after.
_LOOK_S: Final = 0.05
_LATER_S: Final = 0.25


class Worker:
    """What a worker process holds; `start` begins to load, `stop` ends everything within a bounded time.

    Args:
        plan: of the service.
        runtime: of the service; made after the fork, this belongs to one of its workers.
    """

    def __init__(self, plan: Plan, runtime: Runtime) -> None:
        """Put the parts together; nothing runs yet."""
        settings = plan.settings
        limit_arenas()
        # Odd but readable metadata of an image is nobody's concern here.
        warnings.filterwarnings("ignore", module="PIL")
        # The time of each series' birth would double the page and helps nobody.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        if settings.has_many_processes:
            shared_metrics.share(runtime.metrics)
        self._tracing = tracing.from_environment(os.environ)
        self._plan = plan
        self._runtime = runtime
        self._roster = Roster(runtime.folder, runtime.workers)
        self._stopping = threading.Event()
        serving_metrics = ServingMetrics()
        local = self._local = (
            engines.local_engine(
                plan,
                runtime,
                serving_metrics,
                stopped=lambda *about: self._metrics.count_stopped(*about),
                given_up=lambda *about: self._metrics.count_given_up(*about),
            )
            if settings.engine == "local"
            else None
        )
        engine: Engine = local or engines.remote_engine(plan, runtime)
        metrics = self._metrics = Metrics(engine, serving_metrics, self._pids)
        metrics.show(MirrorMetrics(runtime.folder / NUMBERS))
        self.engine = engines.canary_engine(plan, engine, metrics.count_comparison)
        self._grpc: GrpcServer | None = None  # where another process holds the models, it is that one's
        reload = engines.reload(plan, runtime, local)
        repository = engines.repository(plan, runtime, self.engine, local)
        if local is not None:
            loading = _Loading(local, self._roster)
            self._grpc = engines.grpc_server(
                plan,
                runtime,
                self.engine,
                metrics,
                reload=reload,
                repository=repository,
                traces=self._tracing,
                loading=loading,
            )
        self.app: Flask = gateway.create_app(
            settings,
            self.engine,
            metrics,
            admits=plan.keys.access(),
            why_not_ready=self._why_not_ready,
            config_override=runtime.config_override,
            reload=reload,
            tracing=self._tracing,
            repository=repository,
            monitoring_path=plan.monitoring_path,
        )
        self.front_queue = engines.front_queue(plan, settings.threads, runtime.refusals)
        self.unrouted = Unrouted(metrics, settings.access_log)
        self._watcher = threading.Thread(target=self._watch, name="announcer", daemon=True)

    def start(self, goes_on: Callable[[], bool]) -> None:
        """Start the engine and the gRPC server, and a thread that tells the others when all is ready.

        While other workers serve, this one loads first what they serve and returns only then, so that no request meets
        it early.

        Args:
            goes_on: called often while it waits; False ends the wait.
        """
        self.engine.start()
        while self._others_serve() and not self._join(alone=False):
            if not goes_on() or self._stopping.wait(_LOOK_S):
                break
        self._join(alone=True)
        if self._grpc is not None:
            address = engines.grpc_address(self._plan, self._runtime)
            self._grpc.start(address, self._plan.settings.grpc_socket_path)
            log.info("gRPC listens on %s.", address, extra={"once": True})
        self._roster.note(self.engine.status().ready)
        self._watcher.start()

    def refuse(self) -> None:
        """Take no further calls by gRPC; those that run may end."""
        if self._grpc is not None:
            self._grpc.refuse(self._plan.settings.rest_api_timeout_in_ms / 1e3)

    def _join(self, alone: bool) -> bool:
        return self.engine.status().ready if self._local is None else self._local.join(alone)

    def _others_serve(self) -> bool:
        return self._roster.others_ready() or self._runtime.succeeds

    def stop(self) -> None:
        """Stop the thread, the gRPC server and the engine."""
        self._stopping.set()
        if self._grpc is not None:
            self._grpc.close()
        self.engine.close()
        if self._tracing is not None:
            self._tracing.close()

    def _pids(self) -> list[int]:
        return self._roster.pids() + shared_metrics.engine(self._runtime.metrics)

    def _why_not_ready(self) -> str:
        if self._runtime.draining:
            return "the service stops"
        return "" if self._roster.ready() else "other workers are still loading"

    def _watch(self) -> None:
        """Note whether this worker is ready and what waits in it, and announce the service; ends with `stop`."""
        noted = None
        announced = False
        after_load = AfterLoad(device.give_memory_back)
        while not self._stopping.wait(_LATER_S if announced else _LOOK_S):
            try:
                self._metrics.note_queues(self.engine.queued(), self.front_queue.wait_s)
                self._metrics.note_gpu_memory(device.gpu_memory())
                after_load.look()
                ready = self.engine.status().ready
                if ready != noted:
                    self._roster.note(ready)
                    noted = ready
                if not announced and self._roster.ready():
                    announced = True
                    if self._roster.announce():
                        _announce(self.engine, self._runtime, self._plan.settings.ready_file)
            except OSError as error:  # a full disk must not end the thread
                log.warning("The readiness of this worker can't be recorded: %s.", error.strerror)
            except Exception:  # without this thread the service would never say that it is ready, or no longer is
                log.exception("The state of this worker can't be recorded.")


class _Loading:
    """Whether any worker still loads what lay in the store at the start: they share gRPC's port.

    Called often, at least by the health service.
    """

    def __init__(self, engine: LocalEngine, roster: Roster) -> None:
        self._engine = engine
        self._roster = roster
        self._is_over = False

    def __call__(self) -> bool:
        if not self._is_over and not self._engine.is_loading:
            self._roster.note_loaded()
            self._is_over = self._roster.ready() or self._roster.loaded()
        return not self._is_over


def _announce(engine: Engine, runtime: Runtime, ready_file: Path | None) -> None:
    """Log that the service is ready and write the ports to the file."""
    models = ", ".join(f"{name} version {_default(engine, name)}" for name in engine.status().models)
    log.info("Ready: %s.", models, extra={"once": "ready"})
    if ready_file is not None:
        # By rename, so that nobody reads half of it.
        temporary = ready_file.with_name(f".{ready_file.name}.{os.getpid()}")
        temporary.write_text(json.dumps({"port": runtime.port, "rest_api_port": runtime.rest_api_port}) + "\n")
        temporary.replace(ready_file)


def _default(engine: Engine, name: str) -> str:
    """The version that answers requests that name none."""
    try:
        with engine.lease(ModelSpec(name)) as servable:
            return str(servable.version)
    except SignpostError:  # it was there a moment ago
        return "unknown"
