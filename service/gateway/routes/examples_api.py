"""`POST /v1/models/…:classify` and `…:regress`: tf.Examples written as JSON, TF Serving's forms in and out."""

import time
from typing import Any

import numpy as np
from flask import Blueprint, Response, request

from service import examples
from service.config.settings import Settings
from service.gateway.bodies import tensor_json
from service.gateway.bodies.b64 import decode_b64, text_or_b64
from service.gateway.bodies.json_numbers import shorten
from service.gateway.middleware import calls
from service.gateway.middleware.exchange import request_id, served_by, timings
from service.gateway.openapi import examples as openapi_examples
from service.gateway.openapi.document import described
from service.gateway.openapi.schemas import RUNNING
from service.interface import Array, Call, Engine, ModelSpec, Servable
from service.telemetry.metrics import Metrics


def blueprint(settings: Settings, engine: Engine, metrics: Metrics) -> Blueprint:
    """The `:classify` and `:regress` routes of a model, of a version and of a label."""
    routes = Blueprint("examples", __name__)

    @routes.post("/v1/models/<name:name>:classify")
    @routes.post("/v1/models/<name:name>/versions/<int:version>:classify")
    @routes.post("/v1/models/<name:name>/labels/<name:label>:classify")
    @described(
        "Predict",
        openapi_examples.CLASSIFY_ANSWER,
        body=openapi_examples.CLASSIFY_BODY,
        errors=RUNNING,
        example_model="half_plus_two",
    )
    def classify(name: str, version: int | None = None, label: str | None = None) -> Response:
        """Classify examples, in TensorFlow Serving's form."""
        call, inputs = _read()
        with engine.lease(ModelSpec(name, version, label, request_id())) as servable:
            served_by(servable.name, servable.version)
            return calls.to_response({"results": _classify(servable, inputs, call)})

    @routes.post("/v1/models/<name:name>:regress")
    @routes.post("/v1/models/<name:name>/versions/<int:version>:regress")
    @routes.post("/v1/models/<name:name>/labels/<name:label>:regress")
    @described(
        "Predict",
        openapi_examples.REGRESS_ANSWER,
        body=openapi_examples.REGRESS_BODY,
        errors=RUNNING,
        example_model="half_plus_two",
    )
    def regress(name: str, version: int | None = None, label: str | None = None) -> Response:
        """Run a regression on examples, in TensorFlow Serving's form."""
        call, inputs = _read()
        with engine.lease(ModelSpec(name, version, label, request_id())) as servable:
            served_by(servable.name, servable.version)
            return calls.to_response({"results": _regress(servable, inputs, call)})

    def _read() -> tuple[Call, Array]:
        started_s = time.monotonic()
        document = tensor_json.parse_object(request.get_data(cache=False), settings.max_json_depth)
        call = calls.new_call(settings, tensor_json.signature_name(document))
        inputs = examples.from_json(document, decode_b64)
        timings().add("decode", time.monotonic() - started_s)
        return call, inputs

    def _classify(servable: Servable, inputs: Array, call: Call) -> list[list[list[Any]]]:
        rows, answer = examples.classify(servable, inputs, call)
        calls.note(servable, answer, metrics, "Classify")
        metrics.serving.count_examples(servable.name, len(inputs))
        scores = _shorten([score for row in rows for _, score in row])
        labels = (text_or_b64(label) for row in rows for label, _ in row)
        pairs = map(list, zip(labels, scores, strict=True))
        return [[next(pairs) for _ in row] for row in rows]

    def _regress(servable: Servable, inputs: Array, call: Call) -> list[float]:
        values, answer = examples.regress(servable, inputs, call)
        calls.note(servable, answer, metrics, "Regress")
        metrics.serving.count_examples(servable.name, len(inputs))
        return _shorten(values)

    return routes


def _shorten(numbers: list[float]) -> list[float]:
    shortened: list[float] = shorten(np.array(numbers, dtype=np.float32)).tolist()
    return shortened
