"""Requests and answers of inference as messages over gRPC."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from service.errors import InvalidRequest
from service.interface import Array, Servable
from service.oip.inference import Output
from service.oip.requests import InferRequest, check_no_shared_memory, check_once, read_options, read_wanted
from service.oip.tensors import BYTES, Tensor, check_datatype, check_shape, dtype_of, from_bytes, objects, to_bytes

# Which field of InferTensorContents has the values of a datatype; 16-bit floats have none.
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


def read(proto: Any) -> InferRequest:
    """Read a ModelInferRequest.

    Raises:
        InvalidRequest: it is malformed; the message names the input and what would be right.
    """
    raw = proto.raw_input_contents
    if raw and len(raw) != len(proto.inputs):
        raise InvalidRequest(
            f"expected {len(proto.inputs)} raw_input_contents, one for each input in their order, not {len(raw)}."
        )
    check_once("input", (tensor.name for tensor in proto.inputs))
    tensors = tuple(_tensor(tensor, raw[number] if raw else None) for number, tensor in enumerate(proto.inputs))
    wanted = tuple(read_wanted(output.name, parameters(output.parameters)) for output in proto.outputs)
    return InferRequest(proto.id, tensors, wanted, read_options(parameters(proto.parameters)))


def write(proto: Any, servable: Servable, request_id: str, outputs: Iterable[Output], as_raw: bool) -> None:
    """Fill a ModelInferResponse.

    Args:
        proto: the message.
        servable: what answered.
        request_id: the client's `id`.
        outputs: what is answered.
        as_raw: with raw bytes, rather than in fields of their types; 16-bit floats make all of them raw.
    """
    proto.model_name, proto.model_version, proto.id = servable.name, str(servable.version), request_id
    answered = list(outputs)
    as_raw = as_raw or any(output.datatype in ("FP16", "BF16") for output in answered)
    for output in answered:
        tensor = proto.outputs.add(name=output.name, datatype=output.datatype, shape=output.array.shape)
        if as_raw:
            proto.raw_output_contents.append(to_bytes(output.array))
        else:
            write_contents(output.datatype, output.array, tensor.contents)


def parameters(found: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a map of InferParameter, or of ModelRepositoryParameter, by name."""
    return {name: getattr(value, choice) for name, value in found.items() if (choice := _choice(value))}


def _choice(value: Any) -> str:
    return value.WhichOneof("parameter_choice") or ""


def read_contents(name: str, datatype: str, shape: tuple[int, ...], contents: Any) -> Array:
    """Make the array of a tensor whose values are in a field of their type, rather than raw.

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
        raise InvalidRequest(f"Input {name!r} of datatype {datatype} belongs in {field}, not {others[0]}.")
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


def write_contents(datatype: str, array: Array, contents: Any) -> bool:
    """Fill an InferTensorContents message.

    Returns:
        Whether the datatype can be written so; False leaves the message empty.
    """
    field = _FIELDS.get(datatype)
    if field is not None:
        getattr(contents, field).extend(array.ravel().tolist())
    return field is not None


def _tensor(tensor: Any, raw: bytes | None) -> Tensor:
    name = tensor.name
    check_no_shared_memory(name, tensor.parameters)
    datatype = check_datatype(name, tensor.datatype)
    shape = check_shape(name, list(tensor.shape))
    if raw is None:
        return Tensor(name, datatype, read_contents(name, datatype, shape, tensor.contents))
    if tensor.HasField("contents"):
        raise InvalidRequest(f"contents field must not be specified when using raw_input_contents for input {name!r}.")
    return Tensor(name, datatype, from_bytes(name, datatype, shape, raw))
