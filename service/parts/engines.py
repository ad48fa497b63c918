"""Engines and the gRPC server as the settings want them; each process of a service takes those that it needs."""

import os
from collections.abc import Callable
from dataclasses import replace

import grpc

from service.admission import Admission, FrontQueue, held_always
from service.config import config_source
from service.config.settings import Settings
from service.engine.canary import CanaryEngine, Compared, parse_shares
from service.engine.local.engine import LocalEngine
from service.engine.local.shared_view import SharedView
from service.engine.rejecting import RejectingEngine
from service.engine.remote import link as engine_link
from service.engine.remote.engine import RemoteEngine
from service.engine.remote.link import Link
from service.interface import Engine
from service.oip.repository import Repository
from service.oip.requests import rules_of
from service.parts import batching_config, loading
from service.parts.reloading import Reload, forward, make_reload
from service.parts.repository import ForwardedRepository, LocalRepository
from service.parts.runtime import Runtime
from service.rpc import config
from service.rpc.exchange import Watch
from service.rpc.inference import InferenceService
from service.rpc.server import GrpcServer
from service.security import access, tls
from service.telemetry.metrics import Metrics
from service.telemetry.serving_metrics import ServingMetrics
from service.telemetry.tracing import Tracing

# Calls of one model that one worker has on their way to a remote engine: while one is answered, the next is sent.
_CALLS = 2
# The engine process, as a worker of the local engine.
_ENGINE = 0


def local_engine(
    settings: Settings, runtime: Runtime, metrics: ServingMetrics, stopped: Callable[[str, int, str], None]
) -> LocalEngine:
    """The local engine, which runs models in this process; its owner starts and closes it.

    Args:
        settings: of the service.
        runtime: of the service.
        metrics: counts what is loaded.
        stopped: told of each signature whose requests are not joined any more: model, version, signature.
    """
    source = config_source.from_settings(settings, runtime.config_override)
    load = loading.make_loader(settings, metrics, stopped)
    # The engine process is the only one of its service that has models; the one that follows it takes its place.
    view = shared_view(runtime, _ENGINE if settings.engine == "shared" else None)
    return LocalEngine(source.read, load, settings.file_system_poll_wait_seconds, len(os.sched_getaffinity(0)), view)


def shared_view(runtime: Runtime, worker: int | None = None) -> SharedView:
    """What the workers of the service agree on; one for each process."""
    return SharedView(runtime.agreement, runtime.generation, worker)


def remote_engine(settings: Settings, runtime: Runtime) -> RemoteEngine:
    """The engine behind the addresses of `--engine`, or the engine process of this service."""
    addresses = settings.engine_addresses or (_socket(runtime),)
    parameters = batching_config.from_settings(settings)
    if parameters is not None:  # the engine itself waits and pads, where that is wanted
        parameters = replace(parameters, batch_timeout_micros=0, allowed_batch_sizes=(), num_batch_threads=_CALLS)
    models = tuple(name.strip() for name in settings.engine_models.split(",") if name.strip())
    # Only this service's own engine process tells all gateways at once which version answers.
    pinned = shared_view(runtime).version_of if not settings.engine_addresses else lambda _spec: None
    return RemoteEngine(addresses, parameters, models, link=link(settings, runtime), pinned=pinned)


def link(settings: Settings, runtime: Runtime) -> Link:
    """How calls reach the engines behind `--engine`, or the engine process of this service."""
    if not settings.engine_addresses:
        return Link(runtime.link_secret)
    return engine_link.read(settings.engine_api_key_file, settings.engine_tls_ca_file)


def _socket(runtime: Runtime) -> str:
    return f"unix:{runtime.engine_socket}"


def front_queue(settings: Settings, runtime: Runtime, threads: int) -> FrontQueue:
    """Where requests wait for one of a worker's threads."""
    always = max(threads + 1, held_always(settings.max_batch_size, settings.workers))
    return FrontQueue(threads, Admission(always, settings.max_queue_ms / 1e3, refusals=runtime.refusals))


def canary_engine(settings: Settings, engine: Engine, compared: Compared) -> CanaryEngine:
    """The engine behind a canary's share of the traffic; `compared` is told what became of repeated requests.

    Where the settings say so it knows no strangers.
    """
    inner = RejectingEngine(engine) if settings.reject_unknown else engine
    return CanaryEngine(inner, parse_shares(settings.canary_share), settings.canary_mode, compared)


def reload(settings: Settings, runtime: Runtime, engine: LocalEngine | None) -> Reload | None:
    """What lets a client put another configuration in place, in every process of the service.

    A gateway asks the engine process to do it; None where the models are those of engines elsewhere.
    """
    if engine is not None:
        return make_reload(config_source.from_settings(settings, runtime.config_override), engine, settings.store)
    return None if settings.engine_addresses else forward(_socket(runtime), link(settings, runtime))


def repository(settings: Settings, runtime: Runtime, engine: Engine, local: LocalEngine | None) -> Repository | None:
    """What loads and unloads models by name.

    A gateway asks the engine process to do it; None where the models are those of engines elsewhere.
    """
    if settings.engine_addresses:
        return None
    source, base = (config_source.from_settings(settings, override) for override in (runtime.config_override, None))
    if local is not None:
        return LocalRepository(source, base, local)
    return ForwardedRepository(_socket(runtime), link(settings, runtime), engine, source, base)


def grpc_server(
    settings: Settings,
    runtime: Runtime,
    engine: Engine,
    metrics: Metrics,
    reload: Reload | None,
    repository: Repository | None,
    traces: Tracing | None,
    loading: Callable[[], bool],
) -> GrpcServer:
    """The gRPC server over an engine; its owner starts and closes it.

    While `loading` says that the first models are still being loaded, it answers this service's own gateways only.
    """
    threads = settings.grpc_max_threads or settings.threads
    queue = front_queue(settings, runtime, threads)
    watch = Watch(metrics, settings.access_log, traces, runtime.link_secret, loading)
    inference = InferenceService(
        engine,
        settings.rest_api_timeout_in_ms / 1e3,
        metrics,
        rules_of(settings),
        queue,
        repository,
        lambda: runtime.draining,
        watch,
    )
    return GrpcServer(
        engine,
        threads,
        settings.rest_api_timeout_in_ms / 1e3,
        settings.max_body_bytes,
        metrics.serving,
        # The launcher holds the port, so that only processes of this service can share it.
        (("grpc.so_reuseport", 1), *config.parse_channel_arguments(settings.grpc_channel_arguments)),
        _grpc_credentials(settings),
        settings.enable_serialization_as_tensor_content,
        reload,
        access.from_settings(settings, runtime.link_secret),
        lambda: runtime.draining,
        watch,
        queue,
        (inference.handler(),),
        inference.close,
    )


def _grpc_credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """TF Serving's file counts for gRPC where it is given, else the files that HTTP's TLS has."""
    if settings.ssl_config_file is not None:
        return config.credentials(config.read_tls(settings.ssl_config_file))
    files = tls.from_settings(settings)
    return None if files is None else tls.grpc_credentials(files)


def grpc_address(settings: Settings, runtime: Runtime) -> str:
    """Where gRPC listens."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{host}:{runtime.port}"
