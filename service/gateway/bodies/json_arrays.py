"""JSON values and the arrays that they stand for, by the element type and shape that a signature declares."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from service.errors import InvalidRequest
from service.gateway.bodies.b64 import decode_b64, decode_image, encode_b64, is_b64, is_data_url, text_or_b64
from service.gateway.bodies.images_api import TooManyImages
from service.gateway.bodies.json_numbers import shorten
from service.interface import Array, TensorSpec

# Turns one encoded image into pixels (H, W, C).
DecodeImage = Callable[[bytes], Array]

_KINDS: Final = {"f": "numbers", "i": "whole numbers", "u": "whole numbers", "b": "true or false", "O": "strings"}

# Of strings; what NumPy can walk through.
_MOST_DIMENSIONS: Final = 32


def to_array(
    values: Any, spec: TensorSpec, decode: DecodeImage | None = None, broken: dict[int, InvalidRequest] | None = None
) -> Array:
    """Make the array of an input.

    Args:
        values: what the request has for it: a value, or lists of values of one shape.
        spec: the input; an empty list is of its element type.
        decode: for an image classifier, turns an encoded image into pixels.
        broken: takes what is wrong with each encoded image that can't be decoded, by its place, which stays black; None
            where one such image fails the request.

    Raises:
        InvalidRequest: the values are ragged, or not of the input's type.
    """
    if spec.dtype.kind == "O":
        return _to_strings(values, spec)
    if decode is not None and isinstance(values, list) and any(map(_is_image, values)):
        return _to_pixels(values, spec, decode, broken)
    if _holds_text(values):  # of which NumPy would make strings, all as long as the longest: a body, terabytes
        raise InvalidRequest(_wrong_kind(spec, _KINDS[_wanted(spec)], takes_images=decode is not None))
    try:
        array = np.array(values)
    except (ValueError, OverflowError) as error:
        raise _ragged(spec) from error
    if array.size == 0 and array.ndim:
        return _empty(array.shape, spec)
    wanted = _wanted(spec)
    fitting = {"f": "fiu", "i": "iu", "u": "iu", "b": "b"}[wanted]
    if array.dtype.kind in "fO" and array.dtype.kind not in fitting and wanted != "b":
        array = np.array(values, dtype=np.object_)
    if array.dtype.kind not in fitting and not _are_large_integers(array, wanted):
        raise InvalidRequest(_wrong_kind(spec, _KINDS[wanted], takes_images=decode is not None))
    if wanted in "iu":
        bounds = np.iinfo(spec.dtype)
        if int(array.min()) < bounds.min or int(array.max()) > bounds.max:
            raise InvalidRequest(
                f"Input {spec.name!r} takes {spec.dtype_name}: {bounds.min} to {bounds.max}, "
                f"not {int(array.min())} to {int(array.max())}."
            )
    with np.errstate(over="ignore"):
        try:
            converted = array.astype(spec.dtype)
        except OverflowError as error:
            raise InvalidRequest(f"Input {spec.name!r} takes {spec.dtype_name}; a number is too large.") from error
    if wanted == "f" and (np.isinf(converted) & np.isfinite(array.astype(np.float64))).any():
        raise InvalidRequest(f"Input {spec.name!r} takes {spec.dtype_name}; a number is too large.")
    return converted


def _wanted(spec: TensorSpec) -> str:
    return spec.dtype.kind if spec.dtype.kind in _KINDS else "f"


def _holds_text(values: Any) -> bool:
    """Whether there is a string anywhere in lists of numbers; lists of nothing but numbers are looked at in C."""
    if not isinstance(values, list):
        return isinstance(values, str)
    kinds = set(map(type, values))
    return str in kinds or (list in kinds and any(map(_holds_text, values)))


def to_lists(name: str, array: Array) -> Any:
    """Write an output's array as JSON.

    Strings are text; bytes that are not UTF-8, and all strings of an output whose name ends in `_bytes`, are
    `{"b64": "…"}`.

    Raises:
        InvalidRequest: it has numbers that JSON does not have.
    """
    if array.dtype.kind == "O":
        return _strings_to_json(array.tolist(), encode_b64 if name.endswith("_bytes") else text_or_b64)
    if array.dtype.kind == "c":
        raise InvalidRequest("JSON has no complex numbers; use gRPC for this model.")
    if array.dtype.kind not in "iub" and array.dtype != np.float64:  # float32, float16, bfloat16
        array = shorten(array.astype(np.float32, copy=False))
    return array.tolist()


def _strings_to_json(value: Any, write: Callable[[bytes], Any]) -> Any:
    if isinstance(value, list):
        return [_strings_to_json(each, write) for each in value]
    return write(value if isinstance(value, bytes) else str(value).encode())


def _empty(shape: tuple[int, ...], spec: TensorSpec) -> Array:
    """An array without elements.

    An empty list says nothing of what would lie within it. Where the signature does, that counts: `[]` for an input
    of the shape (-1, 28, 28) is (0, 28, 28), not (0).
    """
    declared = spec.shape or ()
    if all(size in (-1, found) for size, found in zip(declared, shape, strict=False)):
        shape += tuple(max(size, 0) for size in declared[len(shape) :])
    return np.zeros(shape, dtype=spec.dtype)


def _are_large_integers(array: Array, wanted: str) -> bool:
    """Whether Python's own numbers are meant: integers that NumPy, of itself, would make floats or leave as objects."""
    if array.dtype.kind != "O":
        return False
    kinds = {type(value) for value in array.ravel().tolist()}
    return kinds == {int} or (wanted == "f" and kinds <= {int, float})


def _ragged(spec: TensorSpec) -> InvalidRequest:
    return InvalidRequest(f"Input {spec.name!r} is ragged; every instance must have the same shape.")


def _wrong_kind(spec: TensorSpec, kind: str, takes_images: bool) -> str:
    says = f"Input {spec.name!r} takes {kind} ({spec.dtype_name}) only"
    if takes_images:
        says += ', or a list of encoded images, each {"b64": "…"} or "data:image/…;base64,…"'
    return f"{says}."


def _is_image(value: Any) -> bool:
    return is_b64(value) or is_data_url(value)


def _to_pixels(
    values: Sequence[Any], spec: TensorSpec, decode: DecodeImage, broken: dict[int, InvalidRequest] | None
) -> Array:
    found: dict[int, Array] = {}
    first: InvalidRequest | None = None
    for number, value in enumerate(values):
        if not _is_image(value):
            found[number] = to_array(value, spec)
            continue
        try:
            found[number] = decode(decode_image(value))
        except InvalidRequest as error:
            of_image = type(error)(f"Image {number}: {error}")
            if broken is None or isinstance(error, TooManyImages):
                raise of_image from error
            broken[number] = error
            first = first or of_image
    if first is not None and not found:
        raise first
    black = np.zeros_like(next(iter(found.values())))
    pixels = [found.get(number, black) for number in range(len(values))]
    if len({each.shape for each in pixels}) != 1:
        raise _ragged(spec)
    return np.stack(pixels)  # (N, H, W, C)


def _to_strings(values: Any, spec: TensorSpec) -> Array:
    try:
        array = np.array(_to_bytes(values, _MOST_DIMENSIONS), dtype=np.object_)
    except ValueError as error:
        raise _ragged(spec) from error
    if any(isinstance(value, list) for value in array.flat):
        raise _ragged(spec)
    return array if array.size else _empty(array.shape, spec)


def _to_bytes(value: Any, most_dimensions: int) -> Any:
    if isinstance(value, list):
        if most_dimensions == 0:
            raise InvalidRequest(f"The strings are nested more than {_MOST_DIMENSIONS} deep.")
        return [_to_bytes(each, most_dimensions - 1) for each in value]
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if is_b64(value):
        return decode_b64(value["b64"])
    raise InvalidRequest('A string input takes strings or {"b64": "…"} only.')
