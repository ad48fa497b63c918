"""Images as they are: a plain body or a form's files in, classes and scores out."""

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final

import numpy as np
import orjson

from service import images
from service.errors import InvalidRequest, TooLarge, UnsupportedMedia, one_line
from service.gateway.middleware.exchange import timings
from service.images import ImageLimits
from service.interface import DEFAULT_SIGNATURE, IN_DOMAIN, IN_DOMAIN_FROM, Array, Call, ImageSize, Servable
from service.telemetry.timings import Timings

# A float32 score has seven; the eighth and on would be noise that makes the answer twice as long.
_DIGITS: Final = 6
# Images of fewer bytes together are decoded sooner than threads have begun.
_WORTH_THREADS_BYTES: Final = 32 * 1024


class TooManyImages(TooLarge):
    """The request holds more images than are taken."""


def size_of(servable: Servable, signature_name: str) -> ImageSize:
    """The size of image that a signature takes.

    Raises:
        UnsupportedMedia: it belongs to no image classifier.
    """
    signature = servable.signatures.get(signature_name)
    size = signature.image if signature is not None else None
    if size is None:
        raise UnsupportedMedia(
            f"{servable.name} version {servable.version} is not an image classifier; send JSON with its inputs "
            f"(GET /v1/models/{servable.name}/metadata shows them)."
        )
    return size


def make_pool() -> Executor | None:
    """Threads that decode the images of one request side by side, one for each core; None where there is only one.

    They start with the first such request and end with the process.
    """
    cores = os.sched_getaffinity(0)
    if len(cores) == 1:
        return None
    # Whoever starts them may be kept on one core (`service/config/shape.py`).
    return ThreadPoolExecutor(
        len(cores), thread_name_prefix="decode", initializer=os.sched_setaffinity, initargs=(0, cores)
    )


def decode(
    encoded: Sequence[bytes],
    size: ImageSize,
    limits: ImageLimits,
    pool: Executor | None = None,
    broken: dict[int, InvalidRequest] | None = None,
) -> Array:
    """Decode the images of a request, timed as its stage "decode".

    Args:
        encoded: the images.
        size: of the pixels wanted.
        limits: what each image may cost.
        pool: threads that decode several side by side.
        broken: takes what is wrong with each image that can't be decoded, by its place; None where one such image
            fails the request.

    Returns:
        uint8 array (N, H, W, C), without the broken ones.

    Raises:
        InvalidImage, TooLarge: an image, or the first where all are broken, can't be decoded within the limits; the
            message tells which.
    """
    started_s = time.monotonic()
    pixels = np.empty((len(encoded), size.height, size.width, size.channels), dtype=np.uint8)

    def fill(number: int) -> None:
        try:
            pixels[number] = images.decode(encoded[number], size.height, size.width, size.channels, limits)
        except InvalidRequest as error:
            if broken is None or len(encoded) == 1:
                raise _of_image(number, len(encoded), error) from error
            broken[number] = error

    apart = pool is not None and len(encoded) > 1 and sum(map(len, encoded)) >= _WORTH_THREADS_BYTES
    for _ in (pool.map if pool is not None and apart else map)(fill, range(len(encoded))):
        pass
    timings().add("decode", time.monotonic() - started_s)
    if not broken:
        return pixels
    if len(broken) == len(encoded):
        raise _of_image(0, len(encoded), broken[0]) from broken[0]
    return pixels[[number for number in range(len(encoded)) if number not in broken]]


def _of_image(number: int, count: int, error: InvalidRequest) -> InvalidRequest:
    return error if count == 1 else type(error)(f"Image {number}: {error}")


def decode_one(image: bytes, size: ImageSize, limits: ImageLimits, into: Timings) -> Array:
    """Decode the one image of a request, timed as the stage "decode".

    Returns:
        uint8 array (1, H, W, C).

    Raises:
        InvalidImage, TooLarge: it can't be decoded within the limits.
    """
    started_s = time.monotonic()
    pixels: Array = images.decode(image, size.height, size.width, size.channels, limits)[np.newaxis]
    into.add("decode", time.monotonic() - started_s)
    return pixels


def check_number(count: int, max_images: int) -> None:
    """Make sure that a request holds images, and not too many.

    Raises:
        InvalidRequest: there are none.
        TooManyImages: there are more than `max_images`.
    """
    if count == 0:
        raise InvalidRequest("The request contains no image; send one as the body, or several as files in a form.")
    if count > max_images:
        raise TooManyImages(f"The request contains {count} images; at most {max_images} are allowed.")


def for_images(call: Call, servable: Servable) -> Call:
    """The call, with the outputs that say what images show: the servable knows its classes."""
    return replace(call, outputs=servable.signatures[DEFAULT_SIGNATURE].image_outputs)


def to_json(servable: Servable, outputs: Mapping[str, Array], top_k: int | None) -> dict[str, Any]:
    """Make the answer to a request of images.

    Args:
        servable: names the model, its version and its classes.
        outputs: `scores`, float32 (N, K), and where the model has it `in_domain`, float32 (N,).
        top_k: how many of the scores to tell, the highest first; None tells all in the order of the classes.
    """
    classes, scores, in_domain = servable.classes, outputs["scores"], outputs.get(IN_DOMAIN)
    best = scores.argmax(axis=1).tolist()
    predictions: list[dict[str, Any]] = []
    for row, index in zip(scores.astype(np.float64).round(_DIGITS).tolist(), best, strict=True):
        named = dict(zip(classes, row, strict=True))
        if top_k is not None:
            named = dict(sorted(named.items(), key=lambda item: -item[1])[:top_k])
        predictions.append({"class": classes[index], "score": row[index], "scores": named})
    if in_domain is not None:
        for prediction, known in zip(predictions, (in_domain >= IN_DOMAIN_FROM).tolist(), strict=True):
            prediction["in_domain"] = known
            if not known and not prediction["score"]:  # all of them are 0: the engine rejects what it does not know
                prediction["class"] = None
    return {"model": {"name": servable.name, "version": servable.version}, "predictions": predictions}


def with_errors(answer: dict[str, Any], broken: Mapping[int, InvalidRequest]) -> dict[str, Any]:
    """Put an `{"error": …}` into the answer in the place of each image that could not be decoded."""
    for number, error in sorted(broken.items()):
        answer["predictions"].insert(number, {"error": one_line(str(error))})
    return answer


def encode(answer: Mapping[str, Any]) -> bytes:
    """Write what `to_json` made, with a line break at the end for people at a terminal."""
    return orjson.dumps(answer, option=orjson.OPT_APPEND_NEWLINE)
