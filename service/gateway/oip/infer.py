"""`POST /v2/models/…/infer`: the Open Inference Protocol's tensors, in JSON and in bytes behind it."""

import time
import zlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from flask import Blueprint, Response, request

from service.config.settings import Settings
from service.errors import InvalidRequest
from service.gateway.bodies import b64, images_api, json_body
from service.gateway.middleware import calls, overload
from service.gateway.middleware.exchange import answered, request_id, served_by, timings
from service.gateway.oip import answers
from service.gateway.oip.answers import JSON, LENGTH_HEADER
from service.gateway.openapi import oip
from service.gateway.openapi.document import described
from service.gateway.openapi.schemas import RUNNING
from service.interface import Engine, Servable
from service.oip import inference, json_request
from service.oip.inference import Output
from service.oip.requests import InferRequest, rules_of, spec_of
from service.telemetry.metrics import Metrics

# How zlib is told which of the two formats to write. Clients that take several name several, and would rather have the
# answer at once; those that name exactly one have been asked for it by their user.
_WINDOWS: Final = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
# Images of fewer bytes together are decoded sooner than threads have begun.
_WORTH_THREADS_BYTES: Final = 32 * 1024


def blueprint(settings: Settings, engine: Engine, metrics: Metrics) -> Blueprint:
    """The `/infer` routes of a model, and of a version or label."""
    routes = Blueprint("oip_infer", __name__)
    rules = rules_of(settings)
    pool = images_api.make_pool()

    @routes.post("/v2/models/<name:name>/infer")
    @routes.post("/v2/models/<name:name>/versions/<name:version_or_label>/infer")
    @described(oip.TAG, oip.INFER_ANSWER, body=oip.INFER_BODY, errors=RUNNING)
    def infer(name: str, version_or_label: str = "") -> Response:
        """Run a model on tensors, as the Open Inference Protocol has them.

        The bytes of tensors may stand behind the JSON; `Inference-Header-Content-Length` then tells where it ends. An
        image classifier also takes encoded images as BYTES.
        """
        body = request.get_data(cache=False)
        call = calls.new_call(settings)
        with inference.leased(engine, spec_of(name, version_or_label, request_id())) as servable:
            served_by(servable.name, servable.version)
            calls.raise_failure(servable, metrics)
            started_s = time.monotonic()
            wanted = _read(servable, body, settings.max_json_depth)
            timings().add("decode", time.monotonic() - started_s)
            deadline, limit = earlier(call.deadline, call.limit, wanted.options.timeout_us, overload.arrived_s())
            call = replace(call, deadline=deadline, limit=limit)
            apart = pool is not None and len(body) >= _WORTH_THREADS_BYTES
            each = pool.map if pool is not None and apart else map
            ran = inference.infer(servable, wanted, call, rules, timings(), each)
            calls.note(servable, ran.answer, metrics, "Infer")
            if ran.images:
                metrics.count_images(servable.name, servable.version, ran.images)
                answered(images=ran.images)
            return _respond(servable, wanted.id, ran.outputs)

    return routes


def _read(servable: Servable, body: bytes, max_depth: int) -> InferRequest:
    stated = request.headers.get(LENGTH_HEADER)
    length = json_request.header_length(stated, body)
    if stated is not None and length == 0:
        _, signature = inference.signature_of(servable)
        return json_request.read_raw(body, signature, binary=request.accept_mimetypes.best != JSON)
    if not body:
        raise InvalidRequest("The body is empty; send JSON with the inputs.")
    document = json_body.parse(body[:length], max_depth)
    binary = None if stated is None else memoryview(body)[length:]
    return json_request.read(document, binary, b64.decode_b64)


def earlier(deadline: float, limit: str, timeout_us: int, since_s: float) -> tuple[float, str]:
    """The earlier of a request's deadline and its client's own, and what sets it, for people.

    Args:
        deadline: time (`time.monotonic()`) of the former.
        limit: what sets that.
        timeout_us: microseconds that the client waits; 0 sets no limit.
        since_s: time since when it waits.
    """
    own = since_s + timeout_us / 1e6
    if not timeout_us or own >= deadline:
        return deadline, limit
    return own, f"the {timeout_us} µs of the parameter timeout"


def _respond(servable: Servable, sent_id: str, outputs: Iterable[Output]) -> Response:
    started_s = time.monotonic()
    body, headers = answers.write(servable, sent_id, outputs)
    response = Response(body, headers=headers)
    _compress(response)
    timings().add("encode", time.monotonic() - started_s)
    return response


def _compress(response: Response) -> None:
    encoding = request.headers.get("Accept-Encoding", "").strip().lower()
    if encoding in _WINDOWS:
        compressor = zlib.compressobj(wbits=_WINDOWS[encoding])
        response.data = compressor.compress(response.data) + compressor.flush()
        response.headers["Content-Encoding"] = encoding
        response.headers["Vary"] = "Accept-Encoding"
