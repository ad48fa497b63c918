"""TF Serving's gRPC services over an engine: PredictionService, ModelService and the standard health service.

The server's threads are gRPC's own; `close` ends them within a bounded time.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, Protocol

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from service import errors, protocol
from service.engine.interface import DEFAULT_SIGNATURE, Call, Engine, ModelSpec, VersionStatus

log = logging.getLogger(__name__)

# From the most special class to the least: the first that fits counts.
CODES: Final[tuple[tuple[type[errors.SignpostError], grpc.StatusCode], ...]] = (
    (errors.InvalidRequest, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.NotFound, grpc.StatusCode.NOT_FOUND),
    (errors.Overloaded, grpc.StatusCode.UNAVAILABLE),
    (errors.Unavailable, grpc.StatusCode.UNAVAILABLE),
    (errors.DeadlineExceeded, grpc.StatusCode.DEADLINE_EXCEEDED),
    (errors.Abandoned, grpc.StatusCode.CANCELLED),
    (errors.SignpostError, grpc.StatusCode.INTERNAL),
)


class Context(Protocol):
    """The part of gRPC's ServicerContext that is used here."""

    def abort(self, code: grpc.StatusCode, details: str) -> Any:
        """End the call with an error; always raises."""
        ...

    def time_remaining(self) -> float | None:
        """Seconds until the client's deadline, if it set one."""
        ...

    def is_active(self) -> bool:
        """Whether the client still waits."""
        ...


class GrpcServer:
    """A gRPC server over an engine.

    Args:
        engine: what answers.
        threads: calls that are handled at the same time.
        default_deadline_s: seconds in which a call without a deadline must be answered.
        max_message_bytes: size of a request at most.
    """

    def __init__(self, engine: Engine, threads: int, default_deadline_s: float, max_message_bytes: int) -> None:
        """Make the server; nothing listens yet."""
        self._engine = engine
        self._stopping = threading.Event()
        self._health = health.HealthServicer()
        self._server = grpc.server(
            ThreadPoolExecutor(threads, thread_name_prefix="grpc"),
            options=[
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),  # a port in use must be an error, not a share of its traffic
            ],
        )
        protocol.prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            _PredictionService(engine, default_deadline_s), self._server
        )
        protocol.model_service_pb2_grpc.add_ModelServiceServicer_to_server(_ModelService(engine), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)

    def start(self, address: str) -> int:
        """Listen and answer.

        Args:
            address: `host:port`, where port 0 picks a free one, or `unix:/path`.

        Returns:
            The port.

        Raises:
            SettingsError: the address can't be listened on.
        """
        try:
            port: int = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise errors.SettingsError(f"{address} can't be listened on for gRPC; choose another --port.") from error
        self._server.start()
        threading.Thread(target=self._watch_readiness, name="grpc-health", daemon=True).start()
        return port

    def close(self, grace_s: float = 5.0) -> None:
        """Refuse new calls and give those that run `grace_s` seconds to end."""
        self._stopping.set()
        self._health.enter_graceful_shutdown()
        self._server.stop(grace_s).wait(grace_s + 1.0)

    def _watch_readiness(self) -> None:
        """Keep the health service in step with the engine; ends with `close`."""
        while not self._stopping.wait(0.2):
            ready = self._engine.status().ready
            serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
            self._health.set("", serving if ready else not_serving)


class _PredictionService(protocol.prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]
    def __init__(self, engine: Engine, default_deadline_s: float) -> None:
        self._engine = engine
        self._default_deadline_s = default_deadline_s

    def Predict(self, request: Any, context: Context) -> Any:  # noqa: N802 - the protocol's name
        with _errors_to(context), self._engine.lease(read_spec(request.model_spec)) as servable:
            signature_name = request.model_spec.signature_name or DEFAULT_SIGNATURE
            inputs = {name: protocol.from_tensor_proto(tensor) for name, tensor in request.inputs.items()}
            call = Call(self._deadline(context), signature_name, tuple(request.output_filter), _has_left(context))
            answer = servable.predict(inputs, call)
            response = protocol.predict_pb2.PredictResponse()
            response.model_spec.name = servable.name
            response.model_spec.version.value = servable.version
            response.model_spec.signature_name = signature_name
            for name, array in answer.outputs.items():
                response.outputs[name].CopyFrom(protocol.to_tensor_proto(array))
            return response

    def GetModelMetadata(self, request: Any, context: Context) -> Any:  # noqa: N802 - the protocol's name
        with _errors_to(context), self._engine.lease(read_spec(request.model_spec)) as servable:
            if list(request.metadata_field) != ["signature_def"]:
                raise errors.InvalidRequest("metadata_field must be ['signature_def']; there is no other metadata.")
            response = protocol.get_model_metadata_pb2.GetModelMetadataResponse()
            response.model_spec.name = servable.name
            response.model_spec.version.value = servable.version
            signatures = protocol.get_model_metadata_pb2.SignatureDefMap()
            for name, signature in servable.signatures.items():
                signatures.signature_def[name].CopyFrom(protocol.write_signature(signature))
            response.metadata["signature_def"].Pack(signatures)
            return response

    def _deadline(self, context: Context) -> float:
        remaining_s = context.time_remaining()
        return time.monotonic() + (self._default_deadline_s if remaining_s is None else remaining_s)


class _ModelService(protocol.model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def GetModelStatus(self, request: Any, context: Context) -> Any:  # noqa: N802 - the protocol's name
        with _errors_to(context):
            spec = read_spec(request.model_spec)
            version = spec.version
            if spec.label is not None:
                with self._engine.lease(spec) as servable:
                    version = servable.version
            found = [v for v in self._engine.status().models.get(spec.name, ()) if version in (None, v.version)]
            if not found:
                raise errors.NotFound(f"Could not find any versions of model {spec.name}")
            response = protocol.get_model_status_pb2.GetModelStatusResponse()
            for status in found:
                _add_status(response, status)
            return response


def read_spec(proto: Any) -> ModelSpec:
    """Read a ModelSpec message."""
    choice = proto.WhichOneof("version_choice")
    return ModelSpec(
        proto.name,
        version=proto.version.value if choice == "version" else None,
        label=proto.version_label if choice == "version_label" else None,
    )


def _add_status(response: Any, status: VersionStatus) -> None:
    added = response.model_version_status.add(version=status.version, state=int(status.state))
    added.status.error_message = status.error
    if status.error:
        added.status.error_code = protocol.error_codes_pb2.Code.UNKNOWN


@contextmanager
def _errors_to(context: Context) -> Iterator[None]:
    """End the call with the code of an error of ours; no other error's text leaves the process."""
    try:
        yield
    except errors.SignpostError as error:
        code = next(code for kind, code in CODES if isinstance(error, kind))
        context.abort(code, str(error))
    except Exception:
        if not context.is_active():  # abort() itself raises, and a client may leave at any moment
            raise
        log.exception("A gRPC call failed in an unforeseen way.")
        context.abort(grpc.StatusCode.INTERNAL, "Signpost failed on this call; its log says why.")


def _has_left(context: Context) -> Callable[[], bool]:
    return lambda: not context.is_active()
