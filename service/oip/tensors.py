"""Tensors of the protocol: datatypes, shapes, and their bytes, which HTTP's binary extension and gRPC share.

Bytes are little-endian and in row-major order without padding: a byte for each BOOL, and before each element of BYTES
its length in four bytes.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import ml_dtypes
import numpy as np

from service.errors import InvalidRequest
from service.interface import Array, TensorSpec

# The protocol's name of each of TensorFlow's element types that it has a name for.
DATATYPES: Final[Mapping[str, str]] = {
    "DT_BOOL": "BOOL",
    "DT_UINT8": "UINT8",
    "DT_UINT16": "UINT16",
    "DT_UINT32": "UINT32",
    "DT_UINT64": "UINT64",
    "DT_INT8": "INT8",
    "DT_INT16": "INT16",
    "DT_INT32": "INT32",
    "DT_INT64": "INT64",
    "DT_HALF": "FP16",
    "DT_FLOAT": "FP32",
    "DT_DOUBLE": "FP64",
    "DT_BFLOAT16": "BF16",
    "DT_STRING": "BYTES",
}
BYTES: Final = "BYTES"

_DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "BOOL": np.dtype(np.bool_),
    **{name: np.dtype(name.lower()) for name in DATATYPES.values() if "INT" in name},
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    BYTES: np.dtype(np.object_),
}
# What NumPy can hold; and elements that no body can have, so that no product of sizes goes beyond 64 bits.
_MOST_DIMENSIONS: Final = 32
_MOST_ELEMENTS: Final = 2**31 - 1
_PREFIX_BYTES: Final = 4


@dataclass(frozen=True)
class Tensor:
    """A tensor of a request.

    Attributes:
        name: of the input.
        datatype: the protocol's name of its type.
        array: its values; of BYTES an object array of bytes.
    """

    name: str
    datatype: str
    array: Array


def datatype_of(spec: TensorSpec) -> str:
    """The protocol's name of the type of an input or output.

    Raises:
        InvalidRequest: it has none.
    """
    if spec.dtype_name not in DATATYPES:
        raise InvalidRequest(
            f"{spec.name!r} is of type {spec.dtype_name}, which the Open Inference Protocol has no name "
            "for; use TensorFlow Serving's gRPC."
        )
    return DATATYPES[spec.dtype_name]


def dtype_of(datatype: str) -> np.dtype[Any]:
    """NumPy's type of a datatype; object for BYTES."""
    return _DTYPES[datatype]


def check_datatype(name: str, datatype: Any) -> str:
    """Make sure that a datatype is one.

    Raises:
        InvalidRequest: it is none; the message names the input.
    """
    if not isinstance(datatype, str) or datatype not in _DTYPES:
        raise InvalidRequest(f"invalid datatype for input {name!r}: it must be one of {', '.join(_DTYPES)}.")
    return datatype


def check_shape(name: str, shape: Any) -> tuple[int, ...]:
    """Make sure that the shape of an input is one.

    Args:
        name: of the input.
        shape: a sequence of sizes.

    Raises:
        InvalidRequest: it is not a list of whole numbers from 0, or has more dimensions or elements than any tensor.
    """
    if not isinstance(shape, Sequence) or isinstance(shape, str | bytes):
        raise InvalidRequest(f"Input {name!r} needs a shape: a list of sizes such as [1, 2].")
    if not {int}.issuperset(map(type, shape)) or min(shape, default=0) < 0:
        raise InvalidRequest(
            f"The shape of input {name!r} must consist of whole numbers, 0 or more: the sizes that are sent."
        )
    if len(shape) > _MOST_DIMENSIONS:
        raise InvalidRequest(f"Input {name!r} has {len(shape)} dimensions; at most {_MOST_DIMENSIONS} are allowed.")
    if math.prod(filter(None, shape)) > _MOST_ELEMENTS:  # those of an empty tensor too
        raise InvalidRequest(f"Input {name!r} has more elements than the {_MOST_ELEMENTS} that are allowed.")
    return tuple(shape)


def size_of(datatype: str, shape: Sequence[int]) -> int | None:
    """Bytes of a tensor; None for BYTES, whose elements have lengths of their own."""
    return None if datatype == BYTES else math.prod(shape) * _DTYPES[datatype].itemsize


def from_bytes(name: str, datatype: str, shape: tuple[int, ...], data: "bytes | memoryview[int]") -> Array:
    """Read the bytes of a tensor; numbers are not copied.

    Args:
        name: of the input.
        datatype: the protocol's name of its type.
        shape: checked.
        data: all of its bytes and nothing else.

    Raises:
        InvalidRequest: too many or too few bytes, or lengths of elements that do not fit them.
    """
    if datatype == BYTES:
        return _elements(name, shape, bytes(data))
    needed = size_of(datatype, shape)
    if len(data) != needed:
        raise InvalidRequest(
            f"Input {name!r} of datatype {datatype} and shape {list(shape)} needs {needed} bytes, not {len(data)}."
        )
    if datatype == "BOOL":
        booleans: Array = np.frombuffer(data, np.uint8) != 0
        return booleans.reshape(shape)
    array: Array = np.frombuffer(data, _DTYPES[datatype].newbyteorder("<")).reshape(shape)
    array = array if sys.byteorder == "little" else array.astype(_DTYPES[datatype])
    return array if array.flags.aligned else array.copy()


def to_bytes(array: Array) -> bytes:
    """Write the bytes of a tensor; of an object array those of BYTES."""
    if array.dtype.kind == "O":
        elements = array.ravel().tolist()
        return b"".join(part for each in elements for part in (len(each).to_bytes(_PREFIX_BYTES, "little"), each))
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def objects(elements: Sequence[Any], shape: tuple[int, ...]) -> Array:
    """An object array of these elements, which may be sequences themselves."""
    array = np.empty(len(elements), dtype=np.object_)
    array[:] = elements
    return array.reshape(shape)


def _elements(name: str, shape: tuple[int, ...], data: bytes) -> Array:
    count = math.prod(shape)
    if _PREFIX_BYTES * count > len(data):
        raise InvalidRequest(
            f"Input {name!r} of datatype BYTES and shape {list(shape)} needs {count} elements with a length of 4 bytes "
            f"before each; {len(data)} bytes hold no more than {len(data) // _PREFIX_BYTES}."
        )
    elements: list[bytes] = []
    at = 0
    for number in range(count):
        begin = at + _PREFIX_BYTES
        at = begin + int.from_bytes(data[begin - _PREFIX_BYTES : begin], "little")
        if at > len(data):
            raise InvalidRequest(
                f"Element {number} of input {name!r} should end after {at} bytes; the tensor has {len(data)}."
            )
        elements.append(data[begin:at])
    if at != len(data):
        raise InvalidRequest(
            f"Input {name!r} of shape {list(shape)} has {len(data) - at} bytes beyond its {count} elements."
        )
    return objects(elements, shape)
