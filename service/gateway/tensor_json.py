"""TF Serving's JSON of tensors: requests in row (`instances`) or column (`inputs`) form, and their answers.

The format is that of TensorFlow Serving's RESTful API (https://www.tensorflow.org/tfx/serving/api_rest). Beyond it,
an image classifier takes `{"b64": "…"}` for an encoded image wherever it takes pixels.
"""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from service.engine.interface import DEFAULT_SIGNATURE, Array, Signature, TensorSpec
from service.errors import InvalidRequest, NotFound
from service.gateway import json_body
from service.gateway.json_numbers import shorten

# Turns one encoded image into pixels (H, W, C).
DecodeImage = Callable[[bytes], Array]

_KINDS: Final = {"f": "numbers", "i": "whole numbers", "u": "whole numbers", "b": "true or false", "O": "strings"}

# Of strings; what NumPy can walk through.
_MOST_DIMENSIONS: Final = 32


@dataclass(frozen=True)
class JsonRequest:
    """The body of a `:predict` request, parsed but not yet fitted to a signature.

    Attributes:
        signature_name: the signature wanted.
        rows: True for `instances`, False for `inputs`.
        values: what stood under that name.
    """

    signature_name: str
    rows: bool
    values: Any


def parse_object(body: bytes, max_depth: int = 64) -> dict[str, Any]:
    """Parse a body that must be a JSON object, nested no deeper than `max_depth`.

    Raises:
        InvalidRequest: it is none.
    """
    document = json_body.parse(body, max_depth)
    if not isinstance(document, dict):
        raise InvalidRequest('The body must be a JSON object such as {"instances": […]}.')
    return document


def signature_name(document: Mapping[str, Any]) -> str:
    """The signature that a body asks for.

    Raises:
        InvalidRequest: its name is no text.
    """
    name = document.get("signature_name", DEFAULT_SIGNATURE) or DEFAULT_SIGNATURE
    if not isinstance(name, str):
        raise InvalidRequest('"signature_name" must be a string.')
    return name.encode("utf-8", "replace").decode()  # half a surrogate could not be told in an error


def parse(body: bytes, max_depth: int = 64) -> JsonRequest:
    """Parse the body of a `:predict` request, nested no deeper than `max_depth`.

    Raises:
        InvalidRequest: it is no JSON object with exactly one of `instances` and `inputs`.
    """
    document = parse_object(body, max_depth)
    if ("instances" in document) == ("inputs" in document):
        raise InvalidRequest('The body must have either "instances" (one value each) or "inputs" (one tensor each).')
    rows = "instances" in document
    return JsonRequest(signature_name(document), rows, document["instances" if rows else "inputs"])


def find_signature(signatures: Mapping[str, Signature], name: str) -> Signature:
    """The signature of that name.

    Raises:
        NotFound: there is none.
    """
    if name not in signatures:
        raise NotFound(
            f'Serving signature name: "{name}" not found in signature def; the model has {", ".join(signatures)}.'
        )
    return signatures[name]


def to_arrays(request: JsonRequest, signature: Signature, decode_image: DecodeImage | None) -> dict[str, Array]:
    """Make the arrays of a signature's inputs.

    Args:
        request: the parsed body.
        signature: what is to be fed.
        decode_image: for an image classifier, turns an encoded image into pixels.

    Raises:
        InvalidRequest: the values do not fit the signature.
    """
    columns = _columns_of_rows(request.values, signature) if request.rows else _columns(request.values, signature)
    return {name: _to_array(values, signature.inputs[name], decode_image) for name, values in columns.items()}


def to_json(outputs: Mapping[str, Array], rows: bool) -> dict[str, Any]:
    """Make the JSON answer in the form of the request: `predictions` for rows, `outputs` for columns.

    A signature with one output answers its bare values, one with several answers objects by name.

    Raises:
        InvalidRequest: rows were asked for, but the outputs have no common first dimension.
    """
    lists = {name: _to_lists(array, as_b64=name.endswith("_bytes")) for name, array in outputs.items()}
    if not rows:
        return {"outputs": next(iter(lists.values())) if len(lists) == 1 else lists}
    if len({array.shape[0] if array.ndim else -1 for array in outputs.values()} - {-1}) != 1 or any(
        array.ndim == 0 for array in outputs.values()
    ):
        raise InvalidRequest('The outputs have no common first dimension; ask in column form ("inputs").')
    if len(lists) == 1:
        return {"predictions": next(iter(lists.values()))}
    return {"predictions": [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]}


def _columns_of_rows(instances: Any, signature: Signature) -> dict[str, list[Any]]:
    if not isinstance(instances, list) or not instances:
        raise InvalidRequest('"instances" must be a list with at least one value.')
    named = _is_named(instances[0])
    if any(_is_named(instance) != named for instance in instances):
        raise InvalidRequest('"instances" must be either all objects with named inputs or all bare values.')
    if not named:
        return {_only_input(signature): instances}
    _check_names(instances[0], signature)
    for number, instance in enumerate(instances):
        if instance.keys() != instances[0].keys():
            raise InvalidRequest(f"Instance {number} has the inputs {sorted(instance)}, the first has others.")
    return {name: [instance[name] for instance in instances] for name in instances[0]}


def _columns(inputs: Any, signature: Signature) -> dict[str, Any]:
    if not _is_named(inputs):
        return {_only_input(signature): inputs}
    if missing := signature.inputs.keys() - inputs.keys():
        raise InvalidRequest(
            f"Missing named input: {min(missing)}; the signature takes the inputs {sorted(signature.inputs)}."
        )
    return {name: inputs[name] for name in signature.inputs}  # others are ignored, as in TF Serving


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not _is_b64(value)


def _is_b64(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"}


def _only_input(signature: Signature) -> str:
    if len(signature.inputs) != 1:
        raise InvalidRequest(f"The signature has several inputs; name them: {', '.join(sorted(signature.inputs))}.")
    return next(iter(signature.inputs))


def _check_names(found: Mapping[str, Any], signature: Signature) -> None:
    if set(found) != set(signature.inputs):
        raise InvalidRequest(f"The signature takes the inputs {sorted(signature.inputs)}, not {sorted(found)}.")


def _to_array(values: Any, spec: TensorSpec, decode_image: DecodeImage | None) -> Array:
    if spec.dtype.kind == "O":
        return _to_strings(values, spec)
    if decode_image is not None and isinstance(values, list) and any(map(_is_b64, values)):
        return _to_pixels(values, spec, decode_image)
    try:
        array = np.array(values)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(f"Input {spec.name!r} is ragged; every instance must have the same shape.") from error
    if array.size == 0 and array.ndim:
        raise InvalidRequest(f"Input {spec.name!r} is empty; send at least one value.")
    wanted = spec.dtype.kind if spec.dtype.kind in _KINDS else "f"
    fitting = {"f": "fiu", "i": "iu", "u": "iu", "b": "b"}[wanted]
    if array.dtype.kind in "fO" and array.dtype.kind not in fitting and wanted != "b":
        array = np.array(values, dtype=np.object_)
    if array.dtype.kind not in fitting and not _are_large_integers(array, wanted):
        raise InvalidRequest(f"Input {spec.name!r} takes {_KINDS[wanted]} ({spec.dtype_name}) only.")
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


def _are_large_integers(array: Array, wanted: str) -> bool:
    """Whether Python's own numbers are meant: integers that NumPy, of itself, would make floats or leave as objects."""
    if array.dtype.kind != "O":
        return False
    kinds = {type(value) for value in array.ravel().tolist()}
    return kinds == {int} or (wanted == "f" and kinds <= {int, float})


def _to_pixels(values: Sequence[Any], spec: TensorSpec, decode_image: DecodeImage) -> Array:
    pixels = []
    for number, value in enumerate(values):
        if _is_b64(value):
            pixels.append(_decoded_image(value, number, decode_image))
        else:
            pixels.append(_to_array(value, spec, None))
    if len({each.shape for each in pixels}) != 1:
        raise InvalidRequest(f"Input {spec.name!r} is ragged; every instance must have the same shape.")
    return np.stack(pixels)  # (N, H, W, C)


def _decoded_image(value: Mapping[str, Any], number: int, decode_image: DecodeImage) -> Array:
    try:
        return decode_image(decode_b64(value["b64"]))
    except InvalidRequest as error:
        raise type(error)(f"Image {number}: {error}") from error


def _to_strings(values: Any, spec: TensorSpec) -> Array:
    try:
        array = np.array(_to_bytes(values, _MOST_DIMENSIONS), dtype=np.object_)
    except ValueError as error:
        raise InvalidRequest(f"Input {spec.name!r} is ragged; every instance must have the same shape.") from error
    if any(isinstance(value, list) for value in array.flat):
        raise InvalidRequest(f"Input {spec.name!r} is ragged; every instance must have the same shape.")
    return array


def _to_bytes(value: Any, most_dimensions: int) -> Any:
    if isinstance(value, list):
        if most_dimensions == 0:
            raise InvalidRequest(f"The strings are nested more than {_MOST_DIMENSIONS} deep.")
        return [_to_bytes(each, most_dimensions - 1) for each in value]
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if _is_b64(value):
        return decode_b64(value["b64"])
    raise InvalidRequest('A string input takes strings or {"b64": "…"} only.')


def decode_b64(text: Any) -> bytes:
    """Decode the text of a `{"b64": …}`.

    Raises:
        InvalidRequest: it is no base64.
    """
    if not isinstance(text, str):
        raise InvalidRequest('"b64" must be a string of base64.')
    try:
        # The alphabet for URLs, line breaks (the command base64 writes them) and missing padding are taken too.
        text = "".join(text.replace("-", "+").replace("_", "/").split()).rstrip("=")
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest('"b64" holds no base64; encode the bytes with the standard alphabet.') from error


def _to_lists(array: Array, as_b64: bool) -> Any:
    if array.dtype.kind == "O":
        return _strings_to_json(array.tolist(), as_b64)
    if array.dtype.kind == "c":
        raise InvalidRequest("JSON has no complex numbers; use gRPC for this model.")
    if array.dtype.kind not in "iub" and array.dtype != np.float64:  # float32, float16, bfloat16
        array = shorten(array.astype(np.float32, copy=False))
    return array.tolist()


def _strings_to_json(value: Any, as_b64: bool) -> Any:
    if isinstance(value, list):
        return [_strings_to_json(each, as_b64) for each in value]
    data = value if isinstance(value, bytes) else str(value).encode()
    if as_b64:
        return {"b64": base64.b64encode(data).decode()}
    return data.decode("utf-8", "replace")
