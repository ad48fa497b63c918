"""A case as it is sent, over HTTP and gRPC, and what comes back."""

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from loadtests.exports.cases import Case
from service import protocol
from service.interface import Array


def http_request(model: str, case: Case, rows: bool, bare: bool) -> bytes:
    """The bytes of a POST to `:predict`.

    Args:
        model: which is asked.
        case: what is asked.
        rows: ask by instances where inputs and outputs have rows, otherwise by columns.
        bare: leave out the name of the input; for signatures that have one only.
    """
    document: dict[str, Any] = {"signature_name": case.signature}
    columns = {name: _to_json(array.tolist()) for name, array in case.inputs.items()}
    if rows and _has_any(case.inputs) and _has_rows(case.inputs) and _has_rows(case.outputs):
        named = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        document["instances"] = next(iter(columns.values())) if bare else named
    else:
        document["inputs"] = next(iter(columns.values())) if bare else columns
    body = json.dumps(document, separators=(",", ":")).encode()
    head = f"POST /v1/models/{model}:predict HTTP/1.1\r\nHost: loadtests\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def grpc_request(model: str, case: Case, wanted: Iterable[str] = ()) -> bytes:
    """The bytes of a PredictRequest; `wanted` are the outputs asked for, none means all."""
    request = protocol.predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = case.signature
    request.output_filter.extend(wanted)
    for name, array in case.inputs.items():
        request.inputs[name].CopyFrom(protocol.to_tensor_proto(array))
    return bytes(request.SerializeToString())


def http_outputs(body: bytes, names: list[str]) -> dict[str, Any]:
    """The outputs of an answer over HTTP, as nested lists by name.

    Raises:
        ValueError: it is not an answer with these outputs.
    """
    document = json.loads(body)
    if "outputs" in document:
        values = document["outputs"]
        return {names[0]: values} if len(names) == 1 else dict(values)
    values = document["predictions"]
    if len(names) == 1:
        return {names[0]: values}
    return {name: [row[name] for row in values] for name in names}


def grpc_outputs(message: bytes) -> dict[str, Array]:
    """The outputs of a PredictResponse."""
    response = protocol.predict_pb2.PredictResponse.FromString(message)
    return {name: protocol.from_tensor_proto(tensor) for name, tensor in response.outputs.items()}


def _has_rows(arrays: Mapping[str, Array]) -> bool:
    return all(array.ndim for array in arrays.values()) and len({len(array) for array in arrays.values()}) == 1


def _has_any(arrays: Mapping[str, Array]) -> bool:
    return any(array.size for array in arrays.values())


def _to_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_to_json(each) for each in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(value).decode()}
    return float(value) if isinstance(value, np.generic) else value
