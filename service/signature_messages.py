"""Signatures, which of them are joined, and what runs them, to and from TensorFlow's messages."""

import itertools
from collections.abc import Container, Mapping
from typing import Any

from google.protobuf import struct_pb2

from service import protocol
from service.interface import RunBy, Signature, TensorSpec

# The field of a model's metadata that says which signatures' requests may be joined; TF Serving has no such field.
JOINING_FIELD = "signpost_joining"
# And the one that says what runs it.
RUNTIME_FIELD = "signpost_runtime"


def read_signature(proto: protocol.meta_graph_pb2.SignatureDef) -> Signature:
    """Turn a SignatureDef into a Signature; a ragged or sparse tensor is told by its parts (see `part_names`).

    Raises:
        InvalidRequest: a default that is not a tensor.
    """
    return Signature(
        inputs=_read_tensor_infos(proto.inputs),
        outputs=_read_tensor_infos(proto.outputs),
        method_name=proto.method_name,
        defaults={name: protocol.from_tensor_proto(tensor) for name, tensor in sorted(proto.defaults.items())},
    )


def part_names(name: str, count: int, taken: Container[str]) -> list[str]:
    """What the parts of a ragged or sparse tensor are called: x, x_1, x_2, as TensorFlow calls those of inputs.

    Args:
        name: of the tensor.
        count: how many parts it has.
        taken: names that others have.
    """
    numbers = itertools.count(1)
    further = (each for each in (f"{name}_{number}" for number in numbers) if each not in taken)
    return [name, *itertools.islice(further, count - 1)]


def _read_tensor_infos(infos: Mapping[str, protocol.meta_graph_pb2.TensorInfo]) -> dict[str, TensorSpec]:
    specs: dict[str, TensorSpec] = {}
    for name, info in sorted(infos.items()):
        parts = _parts(info)
        names = part_names(name, len(parts), infos.keys() | specs.keys())
        specs.update((each, _read_tensor_info(each, part)) for each, part in zip(names, parts, strict=True))
    return specs


def _parts(info: protocol.meta_graph_pb2.TensorInfo) -> list[protocol.meta_graph_pb2.TensorInfo]:
    """The tensors that hold a value: its own, or those of a ragged or sparse one."""
    encoding = info.WhichOneof("encoding")
    if encoding == "composite_tensor":
        return list(info.composite_tensor.components)
    if encoding != "coo_sparse":
        return [info]
    sparse, integers = info.coo_sparse, protocol.types_pb2.DataType.DT_INT64
    parts = [
        protocol.meta_graph_pb2.TensorInfo(name=sparse.indices_tensor_name, dtype=integers),
        protocol.meta_graph_pb2.TensorInfo(name=sparse.values_tensor_name, dtype=info.dtype),
        protocol.meta_graph_pb2.TensorInfo(name=sparse.dense_shape_tensor_name, dtype=integers),
    ]
    for part in parts:
        part.tensor_shape.unknown_rank = True
    return parts


def _read_tensor_info(name: str, info: protocol.meta_graph_pb2.TensorInfo) -> TensorSpec:
    dtype = protocol.types_pb2.DataType.Name(info.dtype)
    return TensorSpec(
        name=name,
        tensor=info.name,
        dtype_name=dtype,
        dtype=protocol.dtype_of(dtype),
        shape=None if info.tensor_shape.unknown_rank else tuple(dim.size for dim in info.tensor_shape.dim),
    )


def write_signature(signature: Signature) -> protocol.meta_graph_pb2.SignatureDef:
    """Turn a Signature into a SignatureDef."""
    proto = protocol.meta_graph_pb2.SignatureDef(method_name=signature.method_name)
    for specs, infos in ((signature.inputs, proto.inputs), (signature.outputs, proto.outputs)):
        for name, spec in specs.items():
            infos[name].name = spec.tensor
            infos[name].dtype = protocol.types_pb2.DataType.Value(spec.dtype_name)
            infos[name].tensor_shape.unknown_rank = spec.shape is None
            for size in spec.shape or ():
                infos[name].tensor_shape.dim.add(size=size)
    for name, array in signature.defaults.items():
        proto.defaults[name].CopyFrom(protocol.to_tensor_proto(array, as_content=False))
    return proto


def write_unjoined(unjoined: Mapping[str, str]) -> struct_pb2.Struct:
    """Turn the reasons why requests of signatures are not joined into a message."""
    message = struct_pb2.Struct()
    message.update(dict(unjoined))
    return message


def write_run_by(by: RunBy) -> struct_pb2.Struct:
    """Turn what runs a version into a message."""
    message = struct_pb2.Struct()
    message.update({"runtime": by.runtime, "gain": by.gain, "why": by.why})
    return message


def read_run_by(packed: Any) -> RunBy:
    """Read what `write_run_by` wrote, packed as metadata are."""
    message = struct_pb2.Struct()
    packed.Unpack(message)
    return RunBy(str(message["runtime"]), float(str(message["gain"])), str(message["why"]))


def read_unjoined(packed: Any) -> dict[str, str]:
    """Read what `write_unjoined` wrote, packed as metadata are."""
    message = struct_pb2.Struct()
    packed.Unpack(message)
    return {name: str(value) for name, value in message.items()}
