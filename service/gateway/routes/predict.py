"""`POST /v1/models/…:predict`: images as they are, or TF Serving's JSON.

Errors leave as exceptions; `http_errors.py` turns them into answers.
"""

import itertools
from dataclasses import replace
from typing import Any, Final

from flask import Blueprint, Response, request

from service.config.settings import Settings
from service.errors import InvalidRequest, UnsupportedMedia, one_line
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


# Bytes; a body of fewer may have been typed, and an image of more without a single zero byte is a rare one.
_MORE_THAN_TYPED: Final = 256


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
        query=("top_k", "all_or_nothing"),
        errors=RUNNING,
    )
    def predict(name: str, version: int | None = None, label: str | None = None) -> Response:
        """Run a model on images or tensors.

        An image as the body, or any number of them as the files of a form, are answered with classes and scores;
        TensorFlow Serving's JSON is answered as TensorFlow Serving does. Of several images, one that can't be decoded
        has an error in its place, and the others their answers.
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
        broken = _broken()
        try:
            pixels = images_api.decode(files, images_api.size_of(servable, DEFAULT_SIGNATURE), limits, pool, broken)
        except InvalidRequest as error:
            raise type(error)(f"{error}{_hint(files)}") from error
        metrics.count_images(servable.name, servable.version, len(pixels))
        answered(images=len(pixels))
        answer = _run(servable, {"image": pixels}, images_api.for_images(call, servable))
        return images_api.with_errors(images_api.to_json(servable, answer.outputs, top_k), broken or {})

    def _predict_json(servable: Servable, wanted: tensor_json.JsonRequest, call: Call) -> dict[str, Any]:
        if "top_k" in request.args:
            raise InvalidRequest(
                "top_k is for images posted as they are; JSON requests always get everything that the model returns."
            )
        signature = tensor_json.find_signature(servable.signatures, wanted.signature_name)
        size = signature.image
        decode = None if size is None else _decoder(servable, size)
        broken = _broken() if wanted.rows else None
        inputs = tensor_json.to_arrays(wanted, signature, decode, broken)
        answer = _run(servable, inputs, replace(call, signature_name=wanted.signature_name))
        told = tensor_json.to_json(answer.outputs, wanted.rows)
        for row, error in (broken or {}).items():
            told["predictions"][row] = {"error": one_line(str(error))}
        return told

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
            f"Content-Type {kind} is not supported; send image/*, multipart/form-data with files, or application/json."
        )
    body = request.get_data()
    if kind in _VAGUE and body.lstrip(b" \t\r\n").startswith((b"{", b"[")):
        return None
    return [body]


def _broken() -> dict[int, InvalidRequest] | None:
    """Where to note images that can't be decoded; None where one of them is to fail the request."""
    text = request.args.get("all_or_nothing", "false").lower()
    if text not in ("true", "false"):
        raise InvalidRequest(f"all_or_nothing must be true or false, not {text[:40]!r}.")
    return None if text == "true" else {}


def _hint(files: list[bytes]) -> str:
    """What to do about an image that `curl -d @FILE` has sent, which strips line breaks and zeros of the file."""
    if request.mimetype != "application/x-www-form-urlencoded" or len(files) != 1:
        return ""
    [body] = files
    stripped = len(body) > _MORE_THAN_TYPED and not any(byte in body for byte in (b"\r", b"\n", b"\0"))
    return " It looks like `curl -d` sent it, which alters files; use curl --data-binary @FILE." if stripped else ""


def _top_k() -> int | None:
    text = request.args.get("top_k")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) <= 10**6):
        raise InvalidRequest(f"top_k must be a whole number of at least 1, not {text[:40]!r}.")
    return int(text)
