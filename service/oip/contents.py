"""`InferTensorContents`: the values of a tensor over gRPC in a field of their type, instead of raw bytes."""

from typing import Any, Final

import numpy as np

from service.engine.interface import Array
from service.errors import InvalidRequest
from service.oip.tensors import BYTES, dtype_of, objects

_FIELDS: Final = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}


def read(name: str, datatype: str, shape: tuple[int, ...], contents: Any) -> Array:
    """Make the array of a tensor.

    Args:
        name: of the input.
        datatype: the protocol's name of its type.
        shape: checked.
        contents: an InferTensorContents message.

    Raises:
        InvalidRequest: values in another field than the datatype's, too many or too few, or beyond the type.
    """
    field = _FIELDS.get(datatype)
    if field is None:
        raise InvalidRequest(f"Input {name!r} of datatype {datatype} can only be sent in raw_input_contents.")
    if others := [other.name for other, _ in contents.ListFields() if other.name != field]:
        raise InvalidRequest(f"Input {name!r} of datatype {datatype} belongs into {field}, not {others[0]}.")
    values = getattr(contents, field)
    count = int(np.prod(shape, dtype=np.int64))
    if len(values) != count:
        raise InvalidRequest(f"Input {name!r} of shape {list(shape)} needs {count} values, not {len(values)}.")
    if datatype == BYTES:
        return objects(list(values), shape)
    try:
        # Of a list NumPy checks each number; of protobuf's own sequence it would take the lowest bits.
        return np.array(list(values), dtype=dtype_of(datatype)).reshape(shape)
    except OverflowError as error:
        raise InvalidRequest(f"Input {name!r} of datatype {datatype} has a value beyond that type.") from error


def write(datatype: str, array: Array, contents: Any) -> bool:
    """Fill an InferTensorContents message.

    Returns:
        Whether the datatype can be written so; False leaves the message empty.
    """
    field = _FIELDS.get(datatype)
    if field is not None:
        getattr(contents, field).extend(array.ravel().tolist())
    return field is not None
