"""TF Serving's gRPC PredictionService over an engine."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from service import errors, examples, protocol, signature_messages
from service.admission import FrontQueue, too_many
from service.interface import DEFAULT_SIGNATURE, Answer, Call, Engine, Servable
from service.rpc.errors import Context, ending, has_left
from service.rpc.exchange import Exchange, Watch, exchange
from service.telemetry.serving_metrics import ServingMetrics

ROUTE: Final = "/tensorflow.serving.PredictionService/"
_NOBODY: Final = Watch()


class PredictionService(protocol.prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]
    """Answers Predict, Classify, Regress, MultiInference and GetModelMetadata.

    Args:
        engine: what answers.
        default_deadline_s: seconds in which a call without a deadline must be answered.
        metrics: counts the calls.
        as_content: answer Predict with `tensor_content` rather than fields such as `float_val`.
        watch: who else is told of each call.
        queue: where the calls wait for a thread.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        default_deadline_s: float,
        metrics: ServingMetrics,
        as_content: bool,
        queue: FrontQueue,
        watch: Watch = _NOBODY,
    ) -> None:
        """Keep what the calls need."""
        self._queue = queue
        self._as_content = as_content
        self._engine = engine
        self._default_deadline_s = default_deadline_s
        self._metrics = metrics
        self._watch = watch

    def Predict(self, request: Any, context: Context) -> Any:  # noqa: N802 - the protocol's name
        """Run a signature on tensors."""
        response = protocol.predict_pb2.PredictResponse()
        with self._served(request, request.model_spec, "Predict", context, response) as (servable, current):
            metadata = [tuple(each) for each in context.invocation_metadata()]
            call = self._call(request.model_spec, context, current, tuple(request.output_filter))
            call = replace(call, joined=protocol.JOINED in metadata)
            check_signature(servable, call)
            started_s = time.monotonic()
            inputs = {name: protocol.from_tensor_proto(tensor) for name, tensor in request.inputs.items()}
            current.timings.add("decode", time.monotonic() - started_s)
            answer = servable.predict(inputs, call)
            self._count(servable, "Predict", answer, current)
            started_s = time.monotonic()
            as_content = self._as_content or protocol.PREFERS_CONTENT in metadata
            _name(response.model_spec, servable, call.signature_name)
            for name, array in answer.outputs.items():
                response.outputs[name].CopyFrom(protocol.to_tensor_proto(array, as_content))
            current.timings.add("encode", time.monotonic() - started_s)
            return response

    def Classify(self, request: Any, context: Context) -> Any:  # noqa: N802 - the protocol's name
        """Run a classification signature on examples."""
        response = protocol.classification_pb2.ClassificationResponse()
        with self._served(request, request.model_spec, "Classify", context, response) as (servable, current):
            call = self._call(request.model_spec, context, current)
            self._classify(servable, request.input, call, response.result, current)
            _name(response.model_spec, servable, call.signature_name)
            return response

    def Regress(self, request: Any, context: Context) -> Any:  # noqa: N802 - the protocol's name
        """Run a regression signature on examples."""
        response = protocol.regression_pb2.RegressionResponse()
        with self._served(request, request.model_spec, "Regress", context, response) as (servable, current):
            call = self._call(request.model_spec, context, current)
            self._regress(servable, request.input, call, response.result, current)
            _name(response.model_spec, servable, call.signature_name)
            return response

    def MultiInference(self, request: Any, context: Context) -> Any:  # noqa: N802 - the protocol's name
        """Run several classification and regression signatures of one model on the same examples."""
        first = request.tasks[0].model_spec if request.tasks else None
        response = protocol.inference_pb2.MultiInferenceResponse()
        with self._served(request, first, "MultiInference", context, response) as (servable, current):
            check_tasks(request.tasks)
            for task in request.tasks:
                call = self._call(task.model_spec, context, current)
                result = response.results.add()
                _name(result.model_spec, servable, call.signature_name)
                if task.method_name == examples.CLASSIFY:
                    self._classify(servable, request.input, call, result.classification_result, current)
                else:
                    self._regress(servable, request.input, call, result.regression_result, current)
            return response

    def GetModelMetadata(self, request: Any, context: Context) -> Any:  # noqa: N802 - the protocol's name
        """Tell a model's signatures."""
        response = protocol.get_model_metadata_pb2.GetModelMetadataResponse()
        with exchange(self._watch, context, ROUTE + "GetModelMetadata", request, response):
            fields = request.metadata_field
            if not fields:
                raise errors.InvalidRequest("GetModelMetadataRequest must specify at least one metadata_field")
            if unknown := [
                field
                for field in fields
                if field not in ("signature_def", signature_messages.JOINING_FIELD, signature_messages.RUNTIME_FIELD)
            ]:
                raise errors.InvalidRequest(f"Metadata field {unknown[0]} is not supported; signature_def is.")
            with self._engine.lease(protocol.read_spec(request.model_spec)) as servable:
                response.model_spec.name = servable.name
                response.model_spec.version.value = servable.version
                if "signature_def" in fields:
                    signatures = protocol.get_model_metadata_pb2.SignatureDefMap()
                    for name, signature in servable.signatures.items():
                        signatures.signature_def[name].CopyFrom(signature_messages.write_signature(signature))
                    response.metadata["signature_def"].Pack(signatures)
                if signature_messages.JOINING_FIELD in fields:
                    response.metadata[signature_messages.JOINING_FIELD].Pack(
                        signature_messages.write_unjoined(servable.unjoined)
                    )
                if signature_messages.RUNTIME_FIELD in fields:
                    response.metadata[signature_messages.RUNTIME_FIELD].Pack(
                        signature_messages.write_run_by(servable.run_by)
                    )
                return response

    def _classify(self, servable: Servable, proto: Any, call: Call, result: Any, current: Exchange) -> None:
        inputs = examples.read_input(proto)
        rows, answer = examples.classify(servable, inputs, call)
        self._count(servable, "Classify", answer, current, len(inputs))
        for row in rows:
            classifications = result.classifications.add()
            for label, score in row:
                classifications.classes.add(label=_text(label), score=score)

    def _regress(self, servable: Servable, proto: Any, call: Call, result: Any, current: Exchange) -> None:
        inputs = examples.read_input(proto)
        values, answer = examples.regress(servable, inputs, call)
        self._count(servable, "Regress", answer, current, len(inputs))
        for value in values:
            result.regressions.add(value=value)

    @contextmanager
    def _served(
        self, request: Any, model_spec: Any, api: str, context: Context, response: Any
    ) -> Iterator[tuple[Servable, Exchange]]:
        """Lease what the call asks for, end it with an error's code, and count it."""
        started_s = time.monotonic()
        arrival = self._queue.arrival()
        arrived_s = None if arrival is None else arrival.at_s
        with exchange(self._watch, context, ROUTE + api, request, response, arrived_s=arrived_s) as current:

            def count(status: str) -> None:
                name = model_spec.name if model_spec is not None else ""
                # What is not a model must not become a label of a metric.
                if not current.is_own and (status == "OK" or name in self._engine.status().models):
                    self._metrics.count_request(name, api, "GRPC", status, time.monotonic() - started_s)

            with ending(count):
                if arrival is not None and arrival.refused:
                    wait_s = started_s - arrival.at_s
                    raise errors.Overloaded(too_many(wait_s), wait_s)
                spec = replace(protocol.read_spec(model_spec), request_id=current.request_id)
                with self._engine.lease(spec) as servable:
                    current.served_by(servable)
                    yield servable, current
                if arrival is not None:
                    arrival.taken_s = time.monotonic() - started_s

    def _call(self, model_spec: Any, context: Context, current: Exchange, outputs: tuple[str, ...] = ()) -> Call:
        deadline, limit = current.patience(self._default_deadline_s)
        trace = current.trace.carried if current.trace is not None else ()
        name = model_spec.signature_name or DEFAULT_SIGNATURE
        return Call(deadline, name, outputs, has_left(context), current.request_id, trace, limit)

    def _count(self, servable: Servable, api: str, answer: Answer, current: Exchange, count: int | None = None) -> None:
        current.served_by(servable)  # a remote engine may have had to move on to the next version
        current.ran(answer)
        if current.is_own:  # counted by the gateway
            return
        self._metrics.count_run(servable.name, api, answer.infer_s)
        if count is not None:
            self._metrics.count_examples(servable.name, count)


def check_signature(servable: Servable, call: Call) -> None:
    """Make sure that a servable has a call's signature, and joins rows of several requests in it where the call does.

    Raises:
        UnfitSignature: it does not.
    """
    if call.signature_name not in servable.signatures:
        raise errors.UnfitSignature(
            f'Serving signature key "{call.signature_name}" not found; the model has {", ".join(servable.signatures)}.'
        )
    if call.joined and call.signature_name in servable.unjoined:
        why = servable.unjoined[call.signature_name]
        raise errors.UnfitSignature(f"Requests of {call.signature_name!r}{protocol.NOT_JOINED}{why}.")


def check_tasks(tasks: Any) -> None:
    """Make sure that the tasks of a MultiInference request fit each other.

    Raises:
        InvalidRequest: they ask for different models, for one signature twice, or for another method than classify
            and regress.
    """
    seen: set[str] = set()
    for task in tasks:
        name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if not task.model_spec.name:
            raise errors.InvalidRequest("Found ModelSpec with an empty model name.")
        if task.model_spec.name != tasks[0].model_spec.name:
            raise errors.InvalidRequest("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        if name in seen:
            raise errors.InvalidRequest(f"Duplicate evaluation of signature: {name}")
        if task.method_name not in (examples.CLASSIFY, examples.REGRESS):
            raise errors.InvalidRequest(
                f"Unsupported signature method_name: {task.method_name}; it is {examples.CLASSIFY} or "
                f"{examples.REGRESS}."
            )
        seen.add(name)


def _text(label: bytes) -> str:
    try:
        return label.decode()
    except UnicodeDecodeError as error:
        raise errors.UnfitSignature(
            f"The class label {label[:40]!r} is not UTF-8, which is all that a Classify answer can "
            "carry; call Predict, whose tensors carry any bytes."
        ) from error


def _name(model_spec: Any, servable: Servable, signature_name: str) -> None:
    model_spec.name = servable.name
    model_spec.version.value = servable.version
    model_spec.signature_name = signature_name
