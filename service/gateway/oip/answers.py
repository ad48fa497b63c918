"""Answers of the Open Inference Protocol over HTTP: JSON, and behind it the bytes of outputs that were asked for so."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import orjson

from service.gateway.bodies.json_numbers import shorten
from service.gateway.middleware import calls
from service.interface import Array, Servable
from service.oip import json_data
from service.oip.inference import Output
from service.oip.tensors import to_bytes

LENGTH_HEADER: Final = "Inference-Header-Content-Length"
JSON: Final = "application/json"
_BYTES: Final = "application/octet-stream"


def write(servable: Servable, sent_id: str, outputs: Iterable[Output]) -> tuple[bytes, dict[str, str]]:
    """Write an answer.

    Args:
        servable: what answered.
        sent_id: the client's `id`; empty where it sent none.
        outputs: what is answered.

    Returns:
        The body, and the headers that say what it is.

    Raises:
        InvalidRequest: bytes that are not text were asked for as JSON.
    """
    entries: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for output in outputs:
        entry: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": list(output.array.shape)}
        if output.binary:
            parts.append(to_bytes(output.array))
            entry["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            entry["data"] = json_data.write(output.name, output.array)
        entries.append(entry)
    about = {"model_name": servable.name, "model_version": str(servable.version), "outputs": entries}
    head = _encode({"id": sent_id, **about} if sent_id else about)
    if not parts:
        return head, {"Content-Type": JSON}
    return b"".join((head, *parts)), {"Content-Type": _BYTES, LENGTH_HEADER: str(len(head))}


def _encode(answer: Mapping[str, Any]) -> bytes:
    """Write JSON; numbers that JSON does not know as TF Serving and Triton write them: NaN, Infinity."""
    arrays = [entry["data"] for entry in answer["outputs"] if isinstance(entry.get("data"), np.ndarray)]
    if all(array.dtype.kind != "f" or bool(np.isfinite(array).all()) for array in arrays):
        return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    entries = [{**entry, "data": _plain(entry["data"])} if "data" in entry else entry for entry in answer["outputs"]]
    return calls.encode({**answer, "outputs": entries})


def _plain(data: Array | list[Any]) -> Any:
    if isinstance(data, np.ndarray) and data.dtype == np.float32:
        data = shorten(data)
    return data.tolist() if isinstance(data, np.ndarray) else data
