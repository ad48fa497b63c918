"""The body of a request over HTTP: JSON, and behind it the bytes of tensors where there are any."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from service.errors import InvalidRequest
from service.interface import Signature
from service.oip import json_data
from service.oip.json_data import DecodeB64
from service.oip.requests import (
    InferRequest,
    Options,
    check_no_shared_memory,
    check_once,
    read_options,
    read_wanted,
)
from service.oip.tensors import BYTES, Tensor, check_datatype, check_shape, datatype_of, dtype_of, from_bytes, objects

_SIZE: Final = "binary_data_size"
_EXAMPLE: Final = '{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}'


@dataclass(slots=True)
class _Described:
    """An input as JSON describes it, with its bytes where they stand behind the JSON."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    size: int | None
    entry: Mapping[str, Any]

    @property
    def is_binary(self) -> bool:
        return self.size is not None or "data" not in self.entry


def header_length(text: str | None, body: bytes) -> int:
    """Where the JSON of a body ends.

    Args:
        text: the header Inference-Header-Content-Length; None where there is none.
        body: the whole body.

    Raises:
        InvalidRequest: it is not a number, or more than the body has.
    """
    if text is None:
        return len(body)
    if not (text.isascii() and text.isdigit() and len(text) <= 18) or int(text) > len(body):
        raise InvalidRequest(
            f"Inference-Header-Content-Length must be the length in bytes of the JSON at the start of the body, "
            f"0 to {len(body)}, not {text[:40]!r}."
        )
    return int(text)


def read(document: Any, binary: "memoryview[int] | None", decode_b64: DecodeB64) -> InferRequest:
    """Read a request.

    Args:
        document: the JSON, parsed.
        binary: what stands behind it; None where the request has no such part.
        decode_b64: for elements of BYTES that are `{"b64": "…"}`.

    Raises:
        InvalidRequest: it is malformed; the message names the input and what would be right.
    """
    if not isinstance(document, dict):
        raise InvalidRequest(f"The body must be a JSON object such as {_EXAMPLE}.")
    options = read_options(_parameters("the request", document))
    described = [_describe(entry) for entry in _entries(document, "inputs")]
    check_once("input", (each.name for each in described))
    wanted = tuple(
        read_wanted(_name(entry, "output"), _parameters("an output", entry), options.binary)
        for entry in (_entries(document, "outputs") if document.get("outputs") is not None else ())
    )
    return InferRequest(_id(document), _tensors(described, binary, decode_b64), wanted, options)


def read_raw(body: bytes, signature: Signature, binary: bool = True) -> InferRequest:
    """Read a request without JSON (Inference-Header-Content-Length is 0): the whole body is the only input.

    Args:
        body: an encoded image where the model is an image classifier; an element of BYTES; or the bytes of a tensor of
            which no more than one size is open.
        signature: of the model.
        binary: whether the outputs are answered as bytes, as the protocol says.

    Raises:
        InvalidRequest: the model has several inputs, or the size of the input does not follow from the body's.
    """
    if len(signature.inputs) != 1:
        raise InvalidRequest(
            f"A body without JSON (Inference-Header-Content-Length: 0) is for models with one input; this one has "
            f"{', '.join(signature.inputs) or 'none'}."
        )
    [(name, spec)] = signature.inputs.items()
    options = Options(binary=binary)
    datatype = datatype_of(spec)
    if signature.image is not None or datatype == BYTES:
        shape = (1,) if signature.image is not None else (1,) * len(spec.shape or (1,))
        return InferRequest("", (Tensor(name, BYTES, objects([body], shape)),), (), options)
    sizes = spec.shape
    known = dtype_of(datatype).itemsize
    for size in sizes or ():
        known *= max(size, 1)
    if sizes is None or sizes.count(-1) > 1 or (sizes.count(-1) == 1 and len(body) % known):
        raise InvalidRequest(
            f"The shape of input {name!r} ({'unknown' if sizes is None else list(sizes)}, {datatype}) can't be derived "
            f"from {len(body)} bytes; send JSON that gives it."
        )
    shape = tuple(len(body) // known if size == -1 else size for size in sizes)
    return InferRequest("", (Tensor(name, datatype, from_bytes(name, datatype, shape, body)),), (), options)


def _tensors(
    described: list[_Described], binary: "memoryview[int] | None", decode_b64: DecodeB64
) -> tuple[Tensor, ...]:
    apart = [each for each in described if each.is_binary]
    if binary is None and apart:
        raise InvalidRequest(
            f"Input {apart[0].name!r} has no data; bytes after the JSON need the header "
            "Inference-Header-Content-Length."
        )
    rest = memoryview(b"") if binary is None else binary
    unsized = [each for each in apart if each.size is None]
    if len(unsized) > 1 or (unsized and len(apart) > 1):
        raise InvalidRequest(f"Input {unsized[0].name!r} has neither data nor the parameter {_SIZE}.")
    tensors = []
    for each in described:
        if each.is_binary:
            size = len(rest) if each.size is None else each.size
            if size > len(rest):
                raise InvalidRequest(
                    f"Input {each.name!r} should have {size} bytes after the JSON; only {len(rest)} are left."
                )
            array = from_bytes(each.name, each.datatype, each.shape, rest[:size])
            rest = rest[size:]
        else:
            array = json_data.read(
                each.name, each.datatype, each.shape, each.entry["data"], decode_b64, _is_base64(each)
            )
        tensors.append(Tensor(each.name, each.datatype, array))
    if len(rest):
        raise InvalidRequest(
            f"unexpected additional input data: {len(rest)} bytes after the JSON belong to no input; each input "
            f"must give its number of bytes in the parameter {_SIZE}."
        )
    return tuple(tensors)


def _describe(entry: Mapping[str, Any]) -> _Described:
    name = _name(entry, "input")
    parameters = _parameters("an input", entry)
    check_no_shared_memory(name, parameters)
    if "datatype" not in entry:
        raise InvalidRequest(f"Input {name!r} needs a datatype, such as FP32.")
    datatype = check_datatype(name, entry["datatype"])
    if "shape" not in entry:
        raise InvalidRequest(f"Input {name!r} needs a shape: a list of sizes such as [1, 2].")
    size = parameters.get(_SIZE)
    if size is not None and (type(size) is not int or size < 0):
        raise InvalidRequest(f"The parameter {_SIZE} of input {name!r} must be a whole number, 0 or more.")
    if size is not None and "data" in entry:
        raise InvalidRequest(f"Input {name!r} has both data and {_SIZE}; send it once.")
    return _Described(name, datatype, check_shape(name, entry["shape"]), size, entry)


def _is_base64(each: _Described) -> bool:
    """Whether strings are base64, as MLServer's clients say it."""
    kind = (each.entry.get("parameters") or {}).get("content_type")
    return each.datatype == BYTES and kind == "base64"


def _entries(document: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    found = document.get(key)
    if not isinstance(found, list) or any(not isinstance(entry, dict) for entry in found):
        raise InvalidRequest(f"Unable to parse {key!r}: it must be a list of objects, as in {_EXAMPLE}.")
    return found


def _name(entry: Mapping[str, Any], kind: str) -> str:
    name = entry.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidRequest(f"Each {kind} needs a name.")
    return name


def _parameters(of: str, entry: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters = entry.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise InvalidRequest(f"The parameters of {of} must be a JSON object.")
    return parameters


def _id(document: Mapping[str, Any]) -> str:
    found = document.get("id") or ""
    if not isinstance(found, str) or not _is_text(found):
        raise InvalidRequest("The request's id must be a string.")
    return found


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return True
