"""What a remote servable asks for, and gRPC's messages of it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from service import protocol
from service.errors import InvalidRequest, ModelFailed
from service.interface import Array
from service.telemetry.carried import Metadata


class Asked(NamedTuple):
    """A call of a version's signature.

    Attributes:
        model: the model's name.
        version: the version's number.
        signature_name: which signature to run.
        inputs: as the signature takes them.
        outputs: those wanted; empty means all.
        metadata: what goes along with it.
        gives_numbers: whether no output that is wanted holds strings, or anything else that the hop can't carry.
    """

    model: str
    version: int
    signature_name: str
    inputs: Mapping[str, Array]
    outputs: tuple[str, ...]
    metadata: Metadata
    gives_numbers: bool


def to_request(asked: Asked) -> Any:
    """The PredictRequest."""
    request = protocol.predict_pb2.PredictRequest()
    request.model_spec.name = asked.model
    request.model_spec.version.value = asked.version
    request.model_spec.signature_name = asked.signature_name
    request.output_filter.extend(asked.outputs)
    for name, array in asked.inputs.items():
        request.inputs[name].CopyFrom(protocol.to_tensor_proto(array))
    return request


def read_response(response: Any) -> dict[str, Array]:
    """The outputs in a PredictResponse.

    Raises:
        ModelFailed: they can't be read.
    """
    try:
        return {name: protocol.from_tensor_proto(tensor) for name, tensor in response.outputs.items()}
    except InvalidRequest as error:  # the engine's fault, not the client's
        raise ModelFailed(f"The engine's answer can't be read: {error}") from error
