"""The Open Inference Protocol on the express lane: requests for the scores of one image, read and answered."""

from typing import Final

import orjson

from service.errors import InvalidRequest
from service.gateway.bodies import b64, images_api
from service.gateway.express.posts import Post
from service.gateway.oip import answers
from service.images import ImageLimits
from service.interface import DEFAULT_SIGNATURE, Array, ImageSize, Servable
from service.oip import json_request
from service.oip.inference import scores_of
from service.oip.requests import InferRequest, Wanted
from service.oip.tensors import BYTES
from service.telemetry.timings import Timings

_SCORES: Final = "scores"


def read(post: Post, max_depth: int) -> InferRequest:
    """Read a request for the scores of one image.

    Raises:
        InvalidRequest: it asks for anything else, or is malformed; Flask finds out what.
    """
    head = post.body[: post.json_length]
    if head.count(b"[") + head.count(b"{") > max_depth:
        raise InvalidRequest("It may be nested too deep.")
    try:
        document = orjson.loads(head)
    except ValueError as error:
        raise InvalidRequest("It is not JSON, or it has numbers that JSON does not know.") from error
    wanted = json_request.read(document, memoryview(post.body)[post.json_length :], b64.decode_b64)
    options, names = wanted.options, [tensor.name for tensor in wanted.inputs]
    is_usual = names == ["image"] and options.signature_name in ("", DEFAULT_SIGNATURE)
    if not is_usual or len(wanted.outputs) > 1 or any(output.name != _SCORES for output in wanted.outputs):
        raise InvalidRequest("It asks for something else.")
    [tensor] = wanted.inputs
    if (
        tensor.datatype not in (BYTES, "UINT8")
        or tensor.array.shape[:1] != (1,)
        or (tensor.datatype == BYTES and tensor.array.size != 1)
    ):
        raise InvalidRequest("It is not an image.")
    return wanted


def pixels(wanted: InferRequest, size: ImageSize, limits: ImageLimits, timings: Timings) -> Array:
    """The pixels that a request brings, or those of its encoded image; timed as the stage "decode".

    Returns:
        uint8 array (1, H, W, C).

    Raises:
        InvalidImage, TooLarge: the image can't be decoded within the limits.
        InvalidRequest: the pixels are of another size, which the model may take all the same.
    """
    [tensor] = wanted.inputs
    if tensor.datatype == BYTES:
        return images_api.decode_one(tensor.array.item(), size, limits, timings)
    if tensor.array.shape != (1, size.height, size.width, size.channels):
        raise InvalidRequest("These pixels are of another size.")
    timings.add("decode", 0.0)
    return tensor.array


def write(servable: Servable, wanted: InferRequest, scores: Array) -> tuple[bytes, dict[str, str]]:
    """The body that answers a request, and the headers that say what it is; `scores` is float32 (1, K)."""
    [output] = wanted.outputs or (Wanted(_SCORES, wanted.options.binary),)
    return answers.write(servable, wanted.id, [scores_of(servable, output, scores)])
