"""The ways in: requests made once, so that sending one costs the generator as little as can be.

A model that takes images is sent images, or pixels that `service.images` made of them; any other model takes tensors of
numbers, as JSON or over gRPC.
"""

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import numpy as np

from loadtests.plan.plan import Kind
from loadtests.subject import pictures
from service import images, protocol
from service.errors import SettingsError
from service.interface import ImageSize, Signature, TensorSpec

_DIFFERENT: Final = 8  # requests of a kind that are sent in turn
_BOUNDARY: Final = "signpost-loadtest-1f6e0a"
_SUFFIXES: Final = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
_FROM_FOLDER: Final = 256


@dataclass(frozen=True)
class Request:
    """What is sent: a POST to a path, or the bytes of a PredictRequest."""

    path: str
    content_type: str
    body: bytes


def requests(kind: Kind, signature: Signature, folder: str = "") -> Iterator[Request]:
    """Different requests of a kind, one after the other: some take a while to make.

    Args:
        kind: what to ask.
        signature: of its model.
        folder: of images to send; otherwise they are drawn.

    Raises:
        SettingsError: the model takes no images and the way carries nothing else, or the folder holds none.
    """
    path = f"/v1/models/{quote(kind.model, safe='')}:predict"
    size = signature.image
    if size is None:
        for seed in range(_DIFFERENT):
            yield _tensors(kind, signature, path, seed)
        return
    media, encoded = _from_folder(Path(folder)) if folder else _drawn(size)
    for number in range(max(_DIFFERENT, len(encoded)) if kind.images == 1 else _DIFFERENT):
        group = [encoded[(number * kind.images + image) % len(encoded)] for image in range(kind.images)]
        if kind.way == "image":
            yield Request(path, media, group[0])
        elif kind.way == "multipart":
            yield Request(path, f"multipart/form-data; boundary={_BOUNDARY}", _form(group, media))
        elif kind.way == "b64":
            texts = [{"b64": base64.b64encode(image).decode("ascii")} for image in group]
            yield _json_request(path, {"instances": texts})
        else:
            yield _pixels(kind, signature, size, path, group)


def _pixels(kind: Kind, signature: Signature, size: ImageSize, path: str, group: Sequence[bytes]) -> Request:
    pixels = np.stack([images.decode(image, size.height, size.width, size.channels) for image in group])
    if kind.way == "arrays":
        return _json_request(path, {"instances": pixels.tolist()})
    return _grpc_request(kind.model, {next(iter(signature.inputs)): pixels})


def _tensors(kind: Kind, signature: Signature, path: str, seed: int) -> Request:
    """Numbers for a model that takes no images."""
    if kind.way not in ("arrays", "grpc"):
        raise SettingsError(f"{kind.model} takes no images; --way arrays and --way grpc send it tensors.")
    random = np.random.default_rng(seed)
    values = {name: _numbers(spec, kind.images, random) for name, spec in signature.inputs.items()}
    if kind.way == "grpc":
        return _grpc_request(kind.model, values)
    return _json_request(path, {"inputs": {name: value.tolist() for name, value in values.items()}})


def _numbers(spec: TensorSpec, count: int, random: np.random.Generator) -> "np.ndarray[Any, Any]":
    if spec.dtype.kind not in "fiu" or spec.shape is None:
        raise SettingsError(f"Input {spec.name} has the type {spec.dtype_name}; load tests send only numbers.")
    shape = tuple((count if at == 0 else 1) if size == -1 else size for at, size in enumerate(spec.shape))
    return random.random(shape).astype(spec.dtype)


def _json_request(path: str, document: Any) -> Request:
    return Request(path, "application/json", json.dumps(document, separators=(",", ":")).encode())


def _grpc_request(model: str, inputs: "dict[str, np.ndarray[Any, Any]]") -> Request:
    request = protocol.predict_pb2.PredictRequest()
    request.model_spec.name = model
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(protocol.to_tensor_proto(value))
    return Request("", "", request.SerializeToString())


def _form(group: Sequence[bytes], media: str) -> bytes:
    parts = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="{number}"\r\n'
        f"Content-Type: {media}\r\n\r\n".encode()
        + image
        + b"\r\n"
        for number, image in enumerate(group)
    )
    return b"".join(parts) + f"--{_BOUNDARY}--\r\n".encode()


def _drawn(size: ImageSize) -> tuple[str, list[bytes]]:
    return pictures.for_model(_DIFFERENT, size.width, size.height, size.channels)


def _from_folder(folder: Path) -> tuple[str, list[bytes]]:
    paths = [folder] if folder.is_file() else sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES)
    if not paths:
        raise SettingsError(f"{folder} contains no images; --images takes a folder with {', '.join(_SUFFIXES)} files.")
    kinds = {_SUFFIXES.get(path.suffix.lower(), "image/*") for path in paths}
    return kinds.pop() if len(kinds) == 1 else "image/*", [path.read_bytes() for path in paths[:_FROM_FOLDER]]
