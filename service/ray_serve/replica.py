"""A replica: a local engine, and the services of a gRPC server over it, whose calls Ray brings.

Its threads, and the engine's, begin with `start` and end with `close`. It knows nothing of Ray but a call's context.
"""

import logging
import os
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from grpc_health.v1 import health_pb2_grpc

from service import protocol
from service.admission import CountedPool
from service.config import config_source
from service.config.settings import Settings
from service.engine.local.engine import LocalEngine
from service.engine.local.shared_view import AnyView
from service.errors import Unavailable
from service.interface import State
from service.oip.requests import rules_of
from service.parts import engines, loading, plan
from service.ray_serve.calls import Calls, Handlers
from service.rpc.access import AccessInterceptor
from service.rpc.exchange import Watch
from service.rpc.health import HealthService
from service.rpc.inference import InferenceService
from service.rpc.messages import MessageInterceptor
from service.rpc.model import ModelService
from service.rpc.prediction import PredictionService
from service.telemetry import tracing
from service.telemetry.metrics import Metrics
from service.telemetry.serving_metrics import ServingMetrics

log = logging.getLogger(__name__)

# Threads for calls that only tell how the replica is.
_ASIDE: Final = 2
# Seconds between checks of whether the models are ready, and after which a replica gives up that has loaded all it
# can and still lacks what the others answer with.
_LOOK_S: Final = 0.05
_LACKING_S: Final = 120.0
# Seconds between checks of what the health service is to tell.
_HEALTH_S: Final = 0.2


class Replica:
    """The parts of a replica.

    Args:
        settings: with all chosen; see `options.for_replica`.
        view: by which all replicas answer.

    Raises:
        SettingsError, StoreError: the settings, the configuration or the store can't be used.
    """

    def __init__(self, settings: Settings, view: AnyView) -> None:
        """Put the parts together; nothing runs yet."""
        warnings.filterwarnings("ignore", module="PIL")
        source = config_source.from_settings(settings)
        config_source.check(source)
        planned = plan.make(settings)
        serving_metrics = ServingMetrics()
        load = loading.make_loader(planned, serving_metrics, lambda *about: metrics.count_stopped(*about))
        cores = len(os.sched_getaffinity(0))
        self._local = LocalEngine(
            source.read, load, poll_s=settings.file_system_poll_wait_seconds, load_threads=cores, view=view
        )
        metrics = Metrics(self._local, serving_metrics)
        self._engine = engines.canary_engine(planned, self._local, metrics.count_comparison)
        self._tracing = tracing.from_environment(os.environ)
        self._health = HealthService()
        threads = settings.grpc_max_threads or settings.threads
        queue = engines.front_queue(planned, threads)
        watch = Watch(metrics, settings.access_log, self._tracing)
        deadline_s = settings.rest_api_timeout_in_ms / 1e3
        handlers = Handlers()
        protocol.prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionService(
                self._engine,
                default_deadline_s=deadline_s,
                metrics=serving_metrics,
                as_content=settings.enable_serialization_as_tensor_content,
                queue=queue,
                watch=watch,
            ),
            handlers,
        )
        protocol.model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            ModelService(self._engine, None, watch), handlers
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, handlers)
        inference = InferenceService(
            self._engine,
            default_deadline_s=deadline_s,
            metrics=metrics,
            rules=rules_of(settings),
            queue=queue,
            watch=watch,
        )
        handlers.add_generic_rpc_handlers((inference.handler(),))
        self._pool = CountedPool(queue, threads, "ray-calls")
        self._aside = ThreadPoolExecutor(_ASIDE, thread_name_prefix="ray-aside")
        self.calls = Calls(
            handlers,
            interceptors=(AccessInterceptor(planned.keys.access()), MessageInterceptor()),
            pool=self._pool,
            aside=self._aside,
            most_bytes=settings.max_body_bytes,
        )
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch_health, name="ray-health", daemon=True)

    def start(self) -> None:
        """Load the models; returns when requests may come.

        Raises:
            Unavailable: no model could be loaded, or not what the other replicas answer with.
        """
        self._engine.start()
        tried_at_s = None
        while not self._local.join(alone=tried_at_s is not None and self._has_any()):
            if tried_at_s is None and not self._local.is_loading:
                tried_at_s = time.monotonic()
            elif tried_at_s is not None and time.monotonic() - tried_at_s > (_LACKING_S if self._has_any() else 0):
                raise Unavailable(f"This replica can't serve: {self._why()}.")
            time.sleep(_LOOK_S)
        self._health.follow(self._engine.status())
        self._watcher.start()
        log.info("Ready: %s.", ", ".join(self._engine.status().models))

    def check(self) -> None:
        """Make sure that this replica can go on; that a model is not ready is no reason to start it again.

        Raises:
            Unavailable: what keeps it in step has ended.
        """
        if not self._watcher.is_alive():
            raise Unavailable("This replica's health is no longer monitored.")

    def close(self) -> None:
        """Stop everything; takes as long as the engine's last requests do, a minute at most."""
        self._stopping.set()
        self._pool.shutdown(wait=False)
        self._aside.shutdown(wait=False)
        self._engine.close()
        if self._tracing is not None:
            self._tracing.close()

    def _has_any(self) -> bool:
        return any(
            each.state is State.AVAILABLE for versions in self._engine.status().models.values() for each in versions
        )

    def _why(self) -> str:
        """What keeps it from what it should serve."""
        status = self._engine.status()
        errors = {
            f"{name} version {each.version}": each.error or "not in every replica"
            for name, versions in status.models.items()
            for each in versions
            if each.state is not State.AVAILABLE
        }
        told = "; ".join(f"{what}: {why.rstrip('.')}" for what, why in {**status.reasons, **errors}.items())
        return told or "it lacks a version that the other replicas serve"

    def _watch_health(self) -> None:
        """Keep the health service in step with the engine; ends with `close`."""
        while not self._stopping.wait(_HEALTH_S):
            try:
                self._health.follow(self._engine.status())
            except Exception:  # without this thread the replica would tell for ever what was true once
                log.exception("The health of this replica can't be determined; retrying.")
