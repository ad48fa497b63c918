"""`POST /v2/models/…/infer`: the Open Inference Protocol's tensors, in JSON and in bytes behind it."""

import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import orjson
from flask import Blueprint, Response, request

from service.engine.interface import Array, Call, Engine, Servable
from service.errors import InvalidRequest
from service.gateway import calls, images_api, json_body, oip_openapi, tensor_json
from service.gateway.exchange import answered, request_id, served_by, timings
from service.gateway.json_numbers import shorten
from service.gateway.openapi import described
from service.gateway.openapi_schemas import RUNNING
from service.metrics import Metrics
from service.oip import inference, json_data, json_request
from service.oip.inference import Output
from service.oip.requests import InferRequest, rules_of, spec_of
from service.oip.tensors import to_bytes
from service.settings import Settings

LENGTH_HEADER: Final = "Inference-Header-Content-Length"
_BYTES: Final = "application/octet-stream"
_JSON: Final = "application/json"
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
    @described(oip_openapi.TAG, oip_openapi.INFER_ANSWER, body=oip_openapi.INFER_BODY, errors=(*RUNNING, 501))
    def infer(name: str, version_or_label: str = "") -> Response:
        """Run a model on tensors, as the Open Inference Protocol has them.

        The bytes of tensors may stand behind the JSON; `Inference-Header-Content-Length` then tells where it ends. An
        image classifier also takes encoded images as BYTES.
        """
        body = request.get_data(cache=False)
        call = calls.new_call(settings)
        with inference.leased(engine, spec_of(name, version_or_label, request_id())) as servable:
            served_by(servable.name, servable.version)
            started_s = time.monotonic()
            wanted = _read(servable, body, settings.max_json_depth)
            timings().add("decode", time.monotonic() - started_s)
            call = _within(call, wanted.options.timeout_us, started_s)
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
        return json_request.read_raw(body, signature, binary=request.accept_mimetypes.best != _JSON)
    if not body:
        raise InvalidRequest("The body is empty; send JSON with the inputs.")
    document = json_body.parse(body[:length], max_depth)
    binary = None if stated is None else memoryview(body)[length:]
    return json_request.read(document, binary, tensor_json.decode_b64)


def _within(call: Call, timeout_us: int, started_s: float) -> Call:
    """The call, with the client's own limit where that is the earlier one."""
    deadline = started_s + timeout_us / 1e6
    if not timeout_us or deadline >= call.deadline:
        return call
    return replace(call, deadline=deadline, limit=f"the {timeout_us} µs of the parameter timeout")


def _respond(servable: Servable, sent_id: str, outputs: Sequence[Output]) -> Response:
    started_s = time.monotonic()
    entries: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for output in outputs:
        entry: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": list(output.array.shape)}
        if output.binary:
            parts.append(to_bytes(output.array))
            entry["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            entry["data"] = json_data.write(output.name, output.array)
        entries.append(entry)
    about = {"model_name": servable.name, "model_version": str(servable.version), "outputs": entries}
    head = _encode({"id": sent_id, **about} if sent_id else about)
    response = Response(b"".join((head, *parts)), mimetype=_BYTES if parts else _JSON)
    if parts:
        response.headers[LENGTH_HEADER] = str(len(head))
    _compress(response)
    timings().add("encode", time.monotonic() - started_s)
    return response


def _encode(answer: Mapping[str, Any]) -> bytes:
    """Write JSON; numbers that JSON does not know as TF Serving and Triton write them: NaN, Infinity."""
    arrays = [entry["data"] for entry in answer["outputs"] if isinstance(entry.get("data"), np.ndarray)]
    if all(array.dtype.kind != "f" or bool(np.isfinite(array).all()) for array in arrays):
        return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    entries = [{**entry, "data": _plain(entry["data"])} if "data" in entry else entry for entry in answer["outputs"]]
    return calls.encode({**answer, "outputs": entries})


def _plain(data: Array | list[Any]) -> Any:
    if isinstance(data, np.ndarray) and data.dtype == np.float32:
        data = shorten(data)
    return data.tolist() if isinstance(data, np.ndarray) else data


def _compress(response: Response) -> None:
    encoding = request.headers.get("Accept-Encoding", "").strip().lower()
    if encoding in _WINDOWS:
        compressor = zlib.compressobj(wbits=_WINDOWS[encoding])
        response.data = compressor.compress(response.data) + compressor.flush()
        response.headers["Content-Encoding"] = encoding
        response.headers["Vary"] = "Accept-Encoding"
