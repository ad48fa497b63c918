"""`POST /v1/models/…:predict`: images as they are, or TF Serving's JSON.

Errors leave as exceptions; `http_errors.py` turns them into answers.
"""

import itertools
from dataclasses import replace
from typing import Any, Final

from flask import Blueprint, Response, request

from service.config.settings import Settings
from service.errors import InvalidRequest, UnsupportedMedia
from service.gateway.bodies import images_api, tensor_json
from service.gateway.bodies.json_arrays import DecodeImage
from service.gateway.middleware import calls
from service.gateway.middleware.exchange import answered, request_id, served_by
from service.gateway.openapi import examples
from service.gateway.openapi.document import described
from service.gateway.openapi.schemas import RUNNING
from service.images import ImageLimits
from service.interface import DEFAULT_SIGNATURE, Answer, Array, Call, Engine, ImageSize, ModelSpec, Servable
from service.telemetry.metrics import Metrics

# Content types under which clients send both images and JSON: curl's default, requests' default, none at all.
_VAGUE: Final = (
    "",
    "application/x-www-form-urlencoded",
    "application/octet-stream",
    "text/plain",
    "binary/octet-stream",
)


def blueprint(settings: Settings, engine: Engine, metrics: Metrics) -> Blueprint:
    """The `:predict` routes of a model, of a version and of a label."""
    routes = Blueprint("predict", __name__)
    limits = ImageLimits(settings.max_image_bytes, settings.max_image_pixels)
    pool = images_api.make_pool()

    @routes.post("/v1/models/<name:name>:predict")
    @routes.post("/v1/models/<name:name>/versions/<int:version>:predict")
    @routes.post("/v1/models/<name:name>/labels/<name:label>:predict")
    @described(
        "Predict",
        examples.PREDICT_ANSWER,
        body=examples.PREDICT_BODY,
        query=("top_k",),
        errors=RUNNING,
    )
    def predict(name: str, version: int | None = None, label: str | None = None) -> Response:
        """Run a model on images or tensors.

        An image as the body, or any number of them as the files of a form, are answered with classes and scores;
        TensorFlow Serving's JSON is answered as TensorFlow Serving does.
        """
        files = _read_images(settings.max_images)
        body = b"" if files is not None else request.get_data(cache=False)
        call = calls.new_call(settings)
        with engine.lease(ModelSpec(name, version, label, request_id())) as servable:
            served_by(servable.name, servable.version)
            calls.raise_failure(servable, metrics)
            if files is not None:
                return calls.to_response(_predict_images(servable, files, call), images_api.encode)
            return calls.to_response(_predict_json(servable, tensor_json.parse(body, settings.max_json_depth), call))

    def _predict_images(servable: Servable, files: list[bytes], call: Call) -> dict[str, Any]:
        top_k = _top_k()
        servable.check_room(call)
        pixels = images_api.decode(files, images_api.size_of(servable, DEFAULT_SIGNATURE), limits, pool)
        metrics.count_images(servable.name, servable.version, len(files))
        answered(images=len(files))
        answer = _run(servable, {"image": pixels}, images_api.for_images(call, servable))
        return images_api.to_json(servable, answer.outputs, top_k)

    def _predict_json(servable: Servable, wanted: tensor_json.JsonRequest, call: Call) -> dict[str, Any]:
        if "top_k" in request.args:
            raise InvalidRequest(
                "top_k is for images posted as they are; JSON is answered with all that the model gives."
            )
        signature = tensor_json.find_signature(servable.signatures, wanted.signature_name)
        size = signature.image
        decode = None if size is None else _decoder(servable, size)
        inputs = tensor_json.to_arrays(wanted, signature, decode)
        answer = _run(servable, inputs, replace(call, signature_name=wanted.signature_name))
        return tensor_json.to_json(answer.outputs, wanted.rows)

    def _decoder(servable: Servable, size: ImageSize) -> DecodeImage:
        number = itertools.count(1)

        def decode(image: bytes) -> Array:
            images_api.check_number(next(number), settings.max_images)
            pixels: Array = images_api.decode([image], size, limits)[0]
            metrics.count_images(servable.name, servable.version, 1)
            answered(images=1)
            return pixels

        return decode

    def _run(servable: Servable, inputs: dict[str, Array], call: Call) -> Answer:
        answer = servable.predict(inputs, call)
        calls.note(servable, answer, metrics, "Predict")
        return answer

    return routes


def _read_images(max_images: int) -> list[bytes] | None:
    """The encoded images of the request, or None when its body is JSON."""
    kind = request.mimetype
    if kind == "multipart/form-data":
        files = [file for _, file in request.files.items(multi=True)]
        images_api.check_number(len(files), max_images)
        return [file.read() for file in files]
    if kind == "application/json" or kind.endswith("+json"):
        return None
    if not kind.startswith("image/") and kind not in _VAGUE:
        raise UnsupportedMedia(
            f"Content-Type {kind} is not taken; send image/*, multipart/form-data with files, or application/json."
        )
    body = request.get_data()
    if kind in _VAGUE and body.lstrip(b" \t\r\n").startswith((b"{", b"[")):
        return None
    return [body]


def _top_k() -> int | None:
    text = request.args.get("top_k")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) <= 10**6):
        raise InvalidRequest(f"top_k must be a whole number of at least 1, not {text[:40]!r}.")
    return int(text)
