"""The Open Inference Protocol over gRPC: `inference.GRPCInferenceService` over an engine."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Final

import grpc
from google.protobuf import json_format
from google.protobuf.message import DecodeError

from service import errors, protocol
from service.admission import FrontQueue, too_many
from service.interface import Call, Engine, ModelSpec
from service.oip import about, inference, repository, rpc, statistics
from service.oip.messages import SERVICE, message
from service.oip.repository import Repository
from service.oip.requests import Rules, spec_of
from service.rpc.errors import Context, code_of, ending, errors_to, has_left
from service.rpc.exchange import Exchange, Watch, begin, exchange
from service.rpc.streams import Streams
from service.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

# Seconds in which a model must be loaded where the client sets no deadline; large models load for minutes.
_LOAD_S: Final = 600.0
_MOST_STREAMS: Final = 64
_STREAM: Final = "ModelStreamInfer"
# Answered while the first models load: what tells of that, and what changes it.
_WHILE_LOADING: Final = frozenset(
    ("ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "RepositoryModelLoad", "RepositoryModelUnload")
)
_NOBODY: Final = Watch()


class InferenceService:
    """Answers the RPCs of the protocol and of Triton's extensions to it.

    Args:
        engine: what answers.
        default_deadline_s: seconds in which a call without a deadline must be answered.
        metrics: counts the calls, and tells the statistics.
        rules: what a request may cost.
        queue: where the calls wait for a thread.
        repository: loads and unloads models; None where this process can't.
        draining: whether the service is to stop soon; it is then not ready.
        watch: who else is told of each call.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        default_deadline_s: float,
        metrics: Metrics,
        rules: Rules,
        queue: FrontQueue,
        repository: Repository | None = None,
        draining: Callable[[], bool] = lambda: False,
        watch: Watch = _NOBODY,
    ) -> None:
        """Keep what the calls need; no thread runs before there is a stream."""
        self._engine = engine
        self._default_deadline_s = default_deadline_s
        self._metrics = metrics
        self._rules = rules
        self._queue = queue
        self._repository = repository
        self._draining = draining
        self._watch = watch
        self._streams = Streams(_MOST_STREAMS)

    def handler(self) -> grpc.GenericRpcHandler:
        """What a server needs to answer the calls."""
        calls = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelConfig": self._model_config,
            "ModelStatistics": self._model_statistics,
            "RepositoryIndex": self._index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
        }
        handlers = {name: _unary(name, self._told(name, fill)) for name, fill in calls.items()}
        handlers["ModelInfer"] = _unary("ModelInfer", self._model_infer)

        def stream(messages: Iterator[bytes], context: Context) -> Iterator[Any]:
            return self._model_stream_infer(messages, context)

        # gRPC's way to say which threads run it.
        stream.experimental_thread_pool = self._streams.threads  # type: ignore[attr-defined]
        # Messages are read below: one that can't be must not end the stream.
        handlers[_STREAM] = grpc.stream_stream_rpc_method_handler(stream, None, _serializer("ModelStreamInferResponse"))
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def close(self) -> None:
        """End the streams, which might never end by themselves."""
        self._streams.close()

    def _told(self, name: str, fill: Callable[[Any, Any, Exchange], None]) -> Callable[[Any, Context], Any]:
        def answer(request: Any, context: Context) -> Any:
            response = message(f"{name}Response")()
            route = f"/{SERVICE}/{name}"
            with exchange(
                self._watch, context, route, request, response, while_loading=name in _WHILE_LOADING
            ) as current:
                fill(request, response, current)
                return response

        return answer

    def _server_live(self, _request: Any, response: Any, _current: Exchange) -> None:
        response.live = True

    def _server_ready(self, _request: Any, response: Any, _current: Exchange) -> None:
        response.ready = self._engine.status().ready and not self._draining() and not self._watch.loading()

    def _model_ready(self, request: Any, response: Any, _current: Exchange) -> None:
        is_known = bool(request.name) and not self._watch.loading()
        response.ready = is_known and inference.is_ready(self._engine, spec_of(request.name, request.version))

    def _server_metadata(self, _request: Any, response: Any, _current: Exchange) -> None:
        _fill(response, about.server())

    def _model_metadata(self, request: Any, response: Any, _current: Exchange) -> None:
        with inference.leased(self._engine, _spec(request)) as servable:
            _fill(response, about.metadata(servable, self._engine.status(), every=not request.version))

    def _model_config(self, request: Any, response: Any, _current: Exchange) -> None:
        with inference.leased(self._engine, _spec(request)) as servable:
            _fill(response.config, about.config(servable, self._rules))

    def _model_statistics(self, request: Any, response: Any, _current: Exchange) -> None:
        spec = spec_of(request.name, request.version) if request.name else None
        _fill(response, {"model_stats": statistics.statistics(self._metrics, self._engine, spec)})

    def _index(self, request: Any, response: Any, _current: Exchange) -> None:
        repository.check({}, request.repository_name)
        unloaded = self._repository.unloaded() if self._repository is not None else ()
        _fill(response, {"models": about.index(self._engine.status(), request.ready, unloaded)})

    def _load(self, request: Any, response: Any, current: Exchange) -> None:
        response.model_name = _named(request)
        repository.of_this_service(self._repository).load(response.model_name, _remaining_s(current))
        response.isLoaded = True

    def _unload(self, request: Any, response: Any, current: Exchange) -> None:
        response.model_name = _named(request)
        repository.of_this_service(self._repository).unload(response.model_name, _remaining_s(current))
        response.isUnloaded = True

    def _model_infer(self, request: Any, context: Context) -> Any:
        response = message("ModelInferResponse")()
        arrival = self._queue.arrival()
        started_s = time.monotonic()
        arrived_s = None if arrival is None else arrival.at_s
        route = f"/{SERVICE}/ModelInfer"
        with exchange(self._watch, context, route, request, response, arrived_s=arrived_s) as current:
            if arrival is not None and arrival.refused:
                wait_s = started_s - arrival.at_s
                raise errors.Overloaded(too_many(wait_s), wait_s)
            with self._counted(request.model_name, current):
                self._infer(request, response, context, current)
            if arrival is not None:
                arrival.taken_s = time.monotonic() - started_s
            return response

    def _model_stream_infer(self, messages: Iterator[bytes], context: Context) -> Iterator[Any]:
        """Answer each request of a stream in its turn; what is wrong with one is told, and the stream goes on."""
        opened_s = time.monotonic()
        with errors_to(context):
            for sent in self._streams.messages(messages, context):
                yield self._answer_in_stream(sent, context, opened_s)

    def _answer_in_stream(self, sent: bytes, context: Context, opened_s: float) -> Any:
        answer = message("ModelStreamInferResponse")()
        response = answer.infer_response
        # As gRPC's own, a deadline in the metadata is the stream's.
        current = begin(self._watch, context, f"/{SERVICE}/{_STREAM}", opened_s)
        status = "INTERNAL"
        try:
            if self._watch.loading():
                raise errors.Unavailable(protocol.STILL_LOADING)
            request = _read(sent)
            response.id = request.id
            with self._counted(request.model_name, current):
                options = self._infer(request, response, context, current)
            if options.wants_final:
                response.parameters["triton_final_response"].bool_param = True
            status = "OK"
        except errors.SignpostError as error:
            status = code_of(error).name
            request_id = response.id
            response.Clear()
            response.id = request_id
            answer.error_message = errors.one_line(str(error))
        except Exception:
            log.exception("A request in a gRPC stream failed unexpectedly.")
            response.Clear()
            answer.error_message = "Signpost failed on this request; its log says why."
        finally:
            current.end(status, len(sent), answer.ByteSize() if self._watch.access_log else None)
        return answer

    def _infer(self, request: Any, response: Any, context: Context, current: Exchange) -> Any:
        """Run a request and fill its response; returns the request's options."""
        spec = replace(_spec(request, request.model_name, request.model_version), request_id=current.request_id)
        with inference.leased(self._engine, spec) as servable:
            current.served_by(servable)
            started_s = time.monotonic()
            wanted = rpc.read(request)
            current.timings.add("decode", time.monotonic() - started_s)
            call = self._call(context, current, wanted.options.timeout_us)
            ran = inference.infer(servable, wanted, call, self._rules, current.timings)
            current.served_by(servable)  # a remote engine may have had to move on to the next version
            current.ran(ran.answer)
            self._metrics.serving.count_run(servable.name, "Infer", ran.answer.infer_s)
            if ran.images:
                self._metrics.count_images(servable.name, servable.version, ran.images)
            started_s = time.monotonic()
            rpc.write(response, servable, request.id, ran.outputs, as_raw=_as_raw(request))
            current.timings.add("encode", time.monotonic() - started_s)
            return wanted.options

    def _counted(self, name: str, current: Exchange) -> AbstractContextManager[None]:
        """Count a request under TF Serving's names too."""
        started_s = time.monotonic()

        def count(status: str) -> None:
            # What is not a model must not become a label of a metric.
            if current.model or name in self._engine.status().models:
                self._metrics.serving.count_request(name, "Infer", "GRPC", status, time.monotonic() - started_s)

        return ending(count)

    def _call(self, context: Context, current: Exchange, timeout_us: int) -> Call:
        deadline, limit = current.patience(self._default_deadline_s)
        if timeout_us and (by_parameter := time.monotonic() + timeout_us / 1e6) < deadline:
            deadline, limit = by_parameter, f"the {timeout_us} µs of the parameter timeout"
        trace = current.trace.carried if current.trace is not None else ()
        return Call(
            deadline,
            abandoned=has_left(context),
            request_id=current.request_id,
            trace=trace,
            limit=limit,
        )


def _unary(name: str, answer: Callable[[Any, Context], Any]) -> Any:
    read = message(f"{name}Request").FromString
    return grpc.unary_unary_rpc_method_handler(answer, read, _serializer(f"{name}Response"))


def _serializer(name: str) -> Callable[[Any], bytes]:
    serializer: Callable[[Any], bytes] = message(name).SerializeToString
    return serializer


def _read(sent: bytes) -> Any:
    try:
        return message("ModelInferRequest").FromString(sent)
    except DecodeError as error:
        raise errors.InvalidRequest("The message is not a ModelInferRequest.") from error


def _fill(response: Any, document: dict[str, Any]) -> None:
    json_format.ParseDict(document, response, ignore_unknown_fields=True)


def _spec(request: Any, name: str | None = None, version: str | None = None) -> ModelSpec:
    name = request.name if name is None else name
    if not name:
        raise errors.InvalidRequest("The request names no model.")
    return spec_of(name, request.version if version is None else version)


def _named(request: Any) -> str:
    """The model that a request is to load or unload; KServe's clients have it where Triton's name a repository."""
    name: str = request.model_name or request.repository_name
    if not name:
        raise errors.InvalidRequest("The request names no model.")
    repository.check(rpc.parameters(request.parameters), request.repository_name if request.model_name else "")
    return name


def _as_raw(request: Any) -> bool:
    """Whether a request is answered with raw bytes: as it came, and where it brought no values at all."""
    return bool(request.raw_input_contents) or not any(tensor.HasField("contents") for tensor in request.inputs)


def _remaining_s(current: Exchange) -> float:
    """Seconds in which a model must be loaded or unloaded."""
    deadline, _ = current.patience(_LOAD_S)
    return deadline - time.monotonic()
