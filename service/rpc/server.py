"""The gRPC server over an engine: TF Serving's services, the standard health service, and those it is given.

The server's threads are gRPC's own; `close` ends them within a bounded time.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2_grpc

from service import errors, protocol
from service.admission import CountedPool, FrontQueue
from service.interface import Engine
from service.rpc.access import AccessInterceptor
from service.rpc.exchange import Watch
from service.rpc.health import HealthService
from service.rpc.messages import MessageInterceptor
from service.rpc.model import ModelService
from service.rpc.prediction import PredictionService
from service.security.access import Access
from service.telemetry.serving_metrics import ServingMetrics

_NOBODY: Final = Watch()


class GrpcServer:
    """A gRPC server over an engine.

    Args:
        engine: what answers.
        threads: calls that are handled at the same time.
        default_deadline_s: seconds in which a call without a deadline must be answered.
        max_message_bytes: size of a request at most.
        metrics: counts the calls.
        channel_arguments: further arguments for gRPC's core, e.g. `("grpc.max_connection_age_ms", 2000)`.
        credentials: what it needs to speak TLS; without it, it speaks plain text.
        as_content: answer Predict with `tensor_content` rather than fields such as `float_val`.
        reload: puts another configuration in place, see `service.parts.reloading`; None where that is not possible.
        access: lets each call in, or not; anybody may do anything by default.
        draining: whether the service is to stop soon; its health is then told as that of one that does not serve.
        watch: who else is told of each call.
        queue: where calls wait for a thread, and which are refused; none are by default.
        handlers: what answers the calls of further services.
        on_refusal: called when new calls begin to be refused, to end those that would not end by themselves.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        threads: int,
        default_deadline_s: float,
        max_message_bytes: int,
        metrics: ServingMetrics | None = None,
        channel_arguments: Sequence[tuple[str, int | str]] = (),
        credentials: grpc.ServerCredentials | None = None,
        as_content: bool = False,
        reload: Callable[[Any, float], None] | None = None,
        access: Access | None = None,
        draining: Callable[[], bool] = lambda: False,
        watch: Watch = _NOBODY,
        queue: FrontQueue | None = None,
        handlers: Sequence[grpc.GenericRpcHandler] = (),
        on_refusal: Callable[[], None] = lambda: None,
    ) -> None:
        """Make the server; nothing listens yet."""
        self._engine = engine
        self._credentials = credentials
        self._stopping = threading.Event()
        self._ended: threading.Event | None = None
        self._draining = draining
        self._on_refusal = on_refusal
        self._watch = watch
        self._health = HealthService(watch.link_secret)
        queue = queue or FrontQueue(threads)
        self._server = grpc.server(
            CountedPool(queue, threads, "grpc"),
            interceptors=[AccessInterceptor(access or Access()), MessageInterceptor()],
            options=[
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_send_message_length", -1),
                # A port in use must be an error, not a share of its traffic; of two arguments the first counts.
                *channel_arguments,
                ("grpc.so_reuseport", 0),
            ],
        )
        protocol.prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionService(
                engine,
                default_deadline_s=default_deadline_s,
                metrics=metrics or ServingMetrics(),
                as_content=as_content,
                queue=queue,
                watch=watch,
            ),
            self._server,
        )
        protocol.model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            ModelService(engine, reload, watch), self._server
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._server.add_generic_rpc_handlers(handlers)

    def start(self, address: str, socket_path: Path | None = None, private_socket: Path | None = None) -> int:
        """Listen and answer.

        Args:
            address: `host:port`, where port 0 picks a free one, or `unix:/path`.
            socket_path: a Unix socket to listen on as well.
            private_socket: another, in a folder that only this user can read; it never speaks TLS.

        Returns:
            The port.

        Raises:
            SettingsError: the address or the socket can't be listened on.
        """
        port = self._listen(address, "--port")
        if socket_path is not None:
            self._listen(f"unix:{socket_path}", "--grpc_socket_path")
        if private_socket is not None:
            self._server.add_insecure_port(f"unix:{private_socket}")
        self._server.start()
        threading.Thread(target=self._watch_readiness, name="grpc-health", daemon=True).start()
        return port

    def refuse(self, grace_s: float) -> None:
        """Refuse new calls from now on, and give those that run `grace_s` seconds to end; returns at once."""
        if self._ended is None:
            self._stopping.set()
            self._health.enter_graceful_shutdown()
            self._ended = self._server.stop(grace_s)
            self._on_refusal()

    def close(self, grace_s: float = 5.0) -> None:
        """Refuse new calls and wait until those that run have ended, `grace_s` seconds at most."""
        self.refuse(grace_s)
        assert self._ended is not None
        self._ended.wait(grace_s + 1.0)

    def _watch_readiness(self) -> None:
        """Keep the health service in step with the engine; ends with `close`."""
        while not self._stopping.wait(0.2):
            self._health.follow(self._engine.status(), self._draining(), self._watch.loading())

    def _listen(self, address: str, flag: str) -> int:
        try:
            if self._credentials is None:
                port: int = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, self._credentials)
        except RuntimeError as error:
            raise errors.SettingsError(f"{address} is not available for gRPC; choose another {flag}.") from error
        return port
