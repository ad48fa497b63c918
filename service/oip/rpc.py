"""Requests and answers of inference as messages over gRPC."""

from collections.abc import Iterable, Mapping
from typing import Any

from service.engine.interface import Servable
from service.errors import InvalidRequest
from service.oip import contents
from service.oip.inference import Output
from service.oip.requests import InferRequest, check_no_shared_memory, check_once, read_options, read_wanted
from service.oip.tensors import Tensor, check_datatype, check_shape, from_bytes, to_bytes


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
            contents.write(output.datatype, output.array, tensor.contents)


def parameters(found: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a map of InferParameter, or of ModelRepositoryParameter, by name."""
    return {name: getattr(value, choice) for name, value in found.items() if (choice := _choice(value))}


def _choice(value: Any) -> str:
    return value.WhichOneof("parameter_choice") or ""


def _tensor(tensor: Any, raw: bytes | None) -> Tensor:
    name = tensor.name
    check_no_shared_memory(name, tensor.parameters)
    datatype = check_datatype(name, tensor.datatype)
    shape = check_shape(name, list(tensor.shape))
    if raw is None:
        return Tensor(name, datatype, contents.read(name, datatype, shape, tensor.contents))
    if tensor.HasField("contents"):
        raise InvalidRequest(f"contents field must not be specified when using raw_input_contents for input {name!r}.")
    return Tensor(name, datatype, from_bytes(name, datatype, shape, raw))
