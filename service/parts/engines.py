"""Engines and the gRPC server as the settings want them; each process of a service takes those that it needs."""

import os
from collections.abc import Callable
from dataclasses import replace

import grpc

from service.admission import Admission, FrontQueue, held_always
from service.config import config_source
from service.engine.canary import CanaryEngine, Compared
from service.engine.local.engine import LocalEngine
from service.engine.local.shared_view import SharedView
from service.engine.rejecting import RejectingEngine
from service.engine.remote.engine import RemoteEngine
from service.engine.remote.link import Link
from service.engine.runtimes.asked import GivenUp
from service.hop.server import HopServer
from service.interface import Engine
from service.oip.repository import Repository
from service.oip.requests import rules_of
from service.parts import loading
from service.parts.hop_calls import HopPrediction
from service.parts.plan import Plan
from service.parts.reloading import Reload, forward, make_reload
from service.parts.repository import ForwardedRepository, LocalRepository
from service.parts.runtime import Runtime
from service.rpc import config
from service.rpc.exchange import Watch
from service.rpc.inference import InferenceService
from service.rpc.server import GrpcServer
from service.security import tls
from service.telemetry.metrics import Metrics
from service.telemetry.serving_metrics import ServingMetrics
from service.telemetry.tracing import Tracing

# Calls of one model that one worker has on their way to a remote engine: while one is answered, the next is sent.
_CALLS = 2
# The engine process, as a worker of the local engine.
_ENGINE = 0


def local_engine(
    plan: Plan,
    runtime: Runtime,
    metrics: ServingMetrics,
    stopped: Callable[[str, int, str], None],
    given_up: GivenUp = lambda *_: None,
) -> LocalEngine:
    """The local engine, which runs models in this process; its owner starts and closes it.

    Args:
        plan: of the service.
        runtime: of the service.
        metrics: counts what is loaded.
        stopped: told of each signature whose requests are no longer joined: model, version, signature.
        given_up: told of each version whose runtime is given up while it serves: model, version, runtime.
    """
    source = config_source.from_settings(plan.settings, runtime.config_override)
    load = loading.make_loader(plan, metrics, stopped, runtime.folder, given_up, runtime.refuse_start)
    # The engine process is the only one of its service that has models; the one that follows it takes its place.
    view = shared_view(runtime, _ENGINE if plan.settings.engine == "shared" else None)
    return LocalEngine(
        source.read,
        load,
        poll_s=plan.settings.file_system_poll_wait_seconds,
        load_threads=len(os.sched_getaffinity(0)),
        view=view,
    )


def shared_view(runtime: Runtime, worker: int | None = None) -> SharedView:
    """What the workers of the service agree on; one for each process."""
    return SharedView(runtime.agreement, runtime.generation, worker)


def remote_engine(plan: Plan, runtime: Runtime) -> RemoteEngine:
    """The engine behind the addresses of `--engine`, or the engine process of this service."""
    addresses = plan.settings.engine_addresses or (_socket(runtime),)
    parameters = plan.batching
    if parameters is not None:  # the engine itself waits and pads, where that is wanted
        parameters = replace(parameters, batch_timeout_micros=0, allowed_batch_sizes=(), num_batch_threads=_CALLS)
    # Only this service's own engine process tells all gateways at once which version answers.
    pinned = shared_view(runtime).version_of if not plan.settings.engine_addresses else lambda _spec: None
    return RemoteEngine(addresses, parameters, models=plan.engine_models, link=link(plan, runtime), pinned=pinned)


def link(plan: Plan, runtime: Runtime) -> Link:
    """How calls reach the engines behind `--engine`, or the engine process of this service."""
    if not plan.settings.engine_addresses:
        return Link(runtime.link_secret, hop=runtime.hop_socket)
    return plan.engine_link


def _socket(runtime: Runtime) -> str:
    return f"unix:{runtime.engine_socket}"


def front_queue(plan: Plan, threads: int, refusals: "memoryview[float] | None" = None) -> FrontQueue:
    """Where requests wait for one of a worker's threads; `refusals` are those that its workers share."""
    always = max(threads + 1, held_always(plan.settings.max_batch_size, plan.settings.workers))
    return FrontQueue(threads, Admission(always, plan.settings.max_queue_ms / 1e3, refusals=refusals))


def canary_engine(plan: Plan, engine: Engine, compared: Compared) -> CanaryEngine:
    """The engine behind a canary's share of the traffic; `compared` is told what became of repeated requests.

    Where the settings say so it gives no class to strangers.
    """
    inner = RejectingEngine(engine) if plan.settings.reject_unknown else engine
    return CanaryEngine(inner, plan.canary_shares, plan.settings.canary_mode, compared)


def reload(plan: Plan, runtime: Runtime, engine: LocalEngine | None) -> Reload | None:
    """What lets a client put another configuration in place, in every process of the service.

    A gateway asks the engine process to do it; None where the models are those of engines elsewhere.
    """
    if engine is not None:
        return make_reload(
            config_source.from_settings(plan.settings, runtime.config_override), engine, plan.settings.store
        )
    return None if plan.settings.engine_addresses else forward(_socket(runtime), link(plan, runtime))


def repository(plan: Plan, runtime: Runtime, engine: Engine, local: LocalEngine | None) -> Repository | None:
    """What loads and unloads models by name.

    A gateway asks the engine process to do it; None where the models are those of engines elsewhere.
    """
    if plan.settings.engine_addresses:
        return None
    source, base = (
        config_source.from_settings(plan.settings, override) for override in (runtime.config_override, None)
    )
    if local is not None:
        return LocalRepository(source, base, local)
    return ForwardedRepository(_socket(runtime), link(plan, runtime), engine=engine, source=source, base=base)


def grpc_server(
    plan: Plan,
    runtime: Runtime,
    engine: Engine,
    metrics: Metrics,
    *,
    reload: Reload | None,
    repository: Repository | None,
    traces: Tracing | None,
    loading: Callable[[], bool],
) -> GrpcServer:
    """The gRPC server over an engine; its owner starts and closes it.

    While `loading` says that the first models are still being loaded, it answers this service's own gateways only.
    """
    threads = plan.settings.grpc_max_threads or plan.settings.threads
    queue = front_queue(plan, threads, runtime.refusals)
    watch = _watch(plan, runtime, metrics, traces, loading)
    inference = InferenceService(
        engine,
        default_deadline_s=plan.settings.rest_api_timeout_in_ms / 1e3,
        metrics=metrics,
        rules=rules_of(plan.settings),
        queue=queue,
        repository=repository,
        draining=lambda: runtime.draining,
        watch=watch,
    )
    return GrpcServer(
        engine,
        threads=threads,
        default_deadline_s=plan.settings.rest_api_timeout_in_ms / 1e3,
        max_message_bytes=plan.settings.max_body_bytes,
        metrics=metrics.serving,
        # The launcher holds the port, so that only processes of this service can share it.
        channel_arguments=(("grpc.so_reuseport", 1), *plan.grpc_arguments),
        credentials=_grpc_credentials(plan),
        as_content=plan.settings.enable_serialization_as_tensor_content,
        reload=reload,
        access=plan.keys.access(runtime.link_secret),
        draining=lambda: runtime.draining,
        watch=watch,
        queue=queue,
        handlers=(inference.handler(),),
        on_refusal=inference.close,
    )


def hop_server(plan: Plan, runtime: Runtime, engine: Engine, metrics: Metrics, traces: Tracing | None) -> HopServer:
    """What takes the calls of this service's gateways that go through shared memory; its owner starts and closes it."""
    return HopServer(runtime.hop_socket, HopPrediction(engine, _watch(plan, runtime, metrics, traces)))


def _watch(
    plan: Plan,
    runtime: Runtime,
    metrics: Metrics,
    traces: Tracing | None,
    loading: Callable[[], bool] = lambda: False,
) -> Watch:
    return Watch(metrics, plan.settings.access_log, traces, runtime.link_secret, loading)


def _grpc_credentials(plan: Plan) -> grpc.ServerCredentials | None:
    """TF Serving's file counts for gRPC where it is given, else the files that HTTP's TLS has."""
    if plan.grpc_tls is not None:
        return config.credentials(plan.grpc_tls)
    return None if plan.tls is None else tls.grpc_credentials(plan.tls)


def grpc_address(plan: Plan, runtime: Runtime) -> str:
    """Where gRPC listens."""
    host = f"[{plan.settings.host}]" if ":" in plan.settings.host else plan.settings.host
    return f"{host}:{runtime.port}"
