"""The `data` of a tensor in JSON: values in one list, or nested as its shape says."""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Final

import numpy as np

from service.errors import InvalidRequest
from service.interface import Array
from service.oip.tensors import BYTES, dtype_of, objects

# Turns the text of a {"b64": …} into bytes.
DecodeB64 = Callable[[Any], bytes]

_TAKES: Final = {"b": "true or false", "i": "whole numbers", "u": "whole numbers", "f": "numbers"}
_TYPES: Final[dict[str, set[type]]] = {"b": {bool}, "i": {int}, "u": {int}, "f": {int, float}}


def read(
    name: str, datatype: str, shape: tuple[int, ...], data: Any, decode_b64: DecodeB64, is_base64: bool = False
) -> Array:
    """Make the array of a tensor.

    Args:
        name: of the input.
        datatype: the protocol's name of its type.
        shape: checked.
        data: what stood in the JSON.
        decode_b64: for elements of BYTES that are `{"b64": "…"}`.
        is_base64: whether plain strings are base64 too, as the tensor's `content_type` says.

    Raises:
        InvalidRequest: the values do not fit the datatype or the shape.
    """
    values = _flat(name, shape, data)
    if datatype == BYTES:
        return objects([_element(name, each, decode_b64, is_base64) for each in values], shape)
    dtype = dtype_of(datatype)
    kind = dtype.kind if dtype.kind in _TAKES else "f"  # to NumPy bfloat16 is of no kind
    if not _TYPES[kind].issuperset(map(type, values)):
        raise InvalidRequest(f"Input {name!r} of datatype {datatype} takes {_TAKES[kind]} only.")
    try:
        array = np.array(values, dtype=np.float64 if kind == "f" else dtype)
        with np.errstate(over="ignore"):
            converted = array.astype(dtype, copy=False)
    except OverflowError as error:
        raise InvalidRequest(f"Input {name!r} of datatype {datatype} has a value beyond that type.") from error
    if kind == "f" and (np.isinf(converted) & np.isfinite(array)).any():
        raise InvalidRequest(f"Input {name!r} of datatype {datatype} has a value beyond that type.")
    return converted.reshape(shape)


def write(name: str, array: Array) -> Array | list[Any]:
    """The values of an output as one list for JSON.

    Returns:
        A flat array where JSON's writer takes it as it is, else a list.

    Raises:
        InvalidRequest: BYTES that are not text.
    """
    flat = array.ravel()  # in C's order, copied where it is not
    if array.dtype.kind != "O":
        return flat if flat.dtype.kind in "biu" or flat.dtype.itemsize > 2 else flat.astype(np.float32)
    try:
        return [each.decode() for each in flat.tolist()]
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"Output {name!r} contains bytes that are not UTF-8, which JSON can't carry; request it with the "
            "parameter binary_data: true."
        ) from error


def _flat(name: str, shape: tuple[int, ...], data: Any) -> Sequence[Any]:
    """The values in one list; their number fits the shape."""
    if not isinstance(data, list):
        if shape:
            raise InvalidRequest(f"The data of input {name!r} must be a list of values.")
        return [data]
    count = int(np.prod(shape, dtype=np.int64))
    values = data
    if any(isinstance(each, list) for each in data[:1]):
        level: list[Any] = [data]
        for size in shape:
            if any(not isinstance(each, list) or len(each) != size for each in level):
                raise InvalidRequest(
                    f"The data of input {name!r} is not nested according to its shape {list(shape)}; nest it that "
                    "way, or send the values in one flat list."
                )
            level = list(chain.from_iterable(level))
        values = level
    if len(values) != count:
        raise InvalidRequest(f"Input {name!r} of shape {list(shape)} needs {count} values, not {len(values)}.")
    return values


def _element(name: str, value: Any, decode_b64: DecodeB64, is_base64: bool) -> bytes:
    if isinstance(value, dict) and value.keys() == {"b64"}:
        return _in_words_of(name, decode_b64, value["b64"])
    if not isinstance(value, str):
        raise InvalidRequest(f'Input {name!r} of datatype BYTES takes strings or {{"b64": "…"}} only.')
    if is_base64:
        return _in_words_of(name, decode_b64, value)
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            f"Input {name!r} has a string with half a surrogate pair, which is not text; send it as base64."
        ) from error


def _in_words_of(name: str, decode_b64: DecodeB64, text: Any) -> bytes:
    try:
        return decode_b64(text)
    except InvalidRequest as error:
        raise InvalidRequest(f"Input {name!r}: {error}") from error
