"""The engine process of `--engine shared`: the local engine, the hop for the service's gateways, and gRPC for all.

It is a child of the supervisor and runs until the pipe that they share is closed: on purpose, or because the
supervisor died. Signals that are sent to the whole group of processes (Ctrl-C, a service manager) do not stop it, as
the gateways must be drained first.
"""

import logging
import os
import select
import signal
import threading
import time
from typing import Final

from service.engine.tf import device
from service.errors import SettingsError
from service.parts.plan import Plan
from service.parts.runtime import Runtime
from service.process.memory import AfterLoad, limit_arenas

log = logging.getLogger(__name__)

# Seconds after which a stop that hangs is ended.
STOP_S: Final = 20.0
# Seconds for the first look at the store; until then models would be unknown instead of not ready.
_FIRST_LOOK_S: Final = 5.0
# Seconds between checks of what waits, and at the memory of GPUs.
_LOOK_S: Final = 0.25


def run(plan: Plan, runtime: Runtime, lifeline: int) -> None:
    """Serve until the lifeline is closed.

    Args:
        plan: of the service.
        runtime: of the service.
        lifeline: the reading end of the pipe whose other end the supervisor holds.

    Raises:
        SettingsError: the port can't be listened on, or the runtime that was asked for can't run a model.
    """
    from service.parts import engines
    from service.telemetry import logs, shared_metrics, tracing
    from service.telemetry.metrics import Metrics
    from service.telemetry.serving_metrics import ServingMetrics

    limit_arenas()
    logs.name_process(f"engine {os.getpid()}", runtime.folder)
    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    shared_metrics.share(runtime.metrics)  # the gateways show them
    shared_metrics.take_over(runtime.metrics)
    serving_metrics = ServingMetrics()
    local = engines.local_engine(
        plan,
        runtime,
        serving_metrics,
        stopped=lambda *about: metrics.count_stopped(*about),
        given_up=lambda *about: metrics.count_given_up(*about),
    )
    metrics = Metrics(local, serving_metrics)
    # The gateways choose between versions themselves and ask for one by its number; this is for clients of gRPC.
    engine = engines.canary_engine(plan, local, metrics.count_comparison)
    traces = tracing.from_environment(os.environ)
    reload, repository = engines.reload(plan, runtime, local), engines.repository(plan, runtime, engine, local)
    server = engines.grpc_server(
        plan,
        runtime,
        engine,
        metrics,
        reload=reload,
        repository=repository,
        traces=traces,
        loading=lambda: local.is_loading,
    )
    hop = engines.hop_server(plan, runtime, engine, metrics, traces)
    engine.start()
    local.join(alone=True)
    until = time.monotonic() + _FIRST_LOOK_S
    while not engine.status().models and time.monotonic() < until and not _closed(lifeline, 0.01):
        pass
    address = engines.grpc_address(plan, runtime)
    hop.start()
    server.start(address, plan.settings.grpc_socket_path, runtime.engine_socket)
    log.info("gRPC listens on %s (engine process %d).", address, os.getpid())
    while not engine.status().ready and not _closed(lifeline, 0.05):
        if why := runtime.start_refused:
            raise SettingsError(why)
    runtime.engine_ready.touch()
    after_load = AfterLoad(device.give_memory_back)
    while not _closed(lifeline, _LOOK_S):
        metrics.note_queues(engine.queued())
        metrics.note_gpu_memory(device.gpu_memory())
        after_load.look()
    # Whatever hangs in there, the supervisor's end is the end of this process too.
    last = threading.Timer(STOP_S, os._exit, args=(1,))
    last.daemon = True
    last.start()
    server.close()
    hop.close()
    engine.close()
    if traces is not None:
        traces.close()


def _closed(lifeline: int, wait_s: float) -> bool:
    readable, _, _ = select.select([lifeline], [], [], wait_s)
    return bool(readable)
