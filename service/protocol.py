"""TensorFlow Serving's messages, and the only importer of `tensorflow_serving`.

The messages live inside the TensorFlow package, whose import costs seconds and hundreds of megabytes. Here they are
imported without it, so that a process which only speaks the protocol stays small: while they are imported, an empty
module named `tensorflow`, whose `__path__` is the real package, stands in `sys.modules`.
"""

import importlib.util
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import ml_dtypes
import numpy as np

from service.errors import InvalidRequest
from service.interface import Array, ModelSpec


@contextmanager
def _tensorflow_stays_unloaded() -> Iterator[None]:
    if "tensorflow" in sys.modules:
        yield
        return
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError("TensorFlow is not installed; its package contains the messages of the serving protocol.")
    stand_in = types.ModuleType("tensorflow")
    stand_in.__path__ = list(spec.submodule_search_locations)
    sys.modules["tensorflow"] = stand_in
    try:
        yield
    finally:
        # A later `import tensorflow` must find the real one; the message modules stay and are shared with it.
        if sys.modules.get("tensorflow") is stand_in:
            del sys.modules["tensorflow"]


with _tensorflow_stays_unloaded():
    from tensorflow.core.example import example_pb2
    from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2
    from tensorflow.core.protobuf import error_codes_pb2, meta_graph_pb2, saved_model_pb2
    from tensorflow_serving.apis import (
        classification_pb2,
        get_model_metadata_pb2,
        get_model_status_pb2,
        inference_pb2,
        input_pb2,
        model_management_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_log_pb2,
        prediction_service_pb2_grpc,
        regression_pb2,
    )
    from tensorflow_serving.config import model_server_config_pb2

__all__ = [
    "classification_pb2",
    "error_codes_pb2",
    "example_pb2",
    "from_tensor_proto",
    "get_model_metadata_pb2",
    "get_model_status_pb2",
    "inference_pb2",
    "input_pb2",
    "meta_graph_pb2",
    "model_management_pb2",
    "model_server_config_pb2",
    "model_service_pb2_grpc",
    "predict_log",
    "predict_pb2",
    "prediction_log_pb2",
    "prediction_service_pb2_grpc",
    "read_spec",
    "regression_pb2",
    "saved_model_pb2",
    "tensor_pb2",
    "to_tensor_proto",
    "types_pb2",
]

# What a gateway's calls to an engine carry in their metadata: they would rather have tensors as `tensor_content`.
PREFERS_CONTENT: Final = ("signpost-tensor-content", "1")
# How an engine refuses a call that holds the rows of several requests; the reason follows.
NOT_JOINED: Final = " are not joined: "
# What a call carries whose rows are those of several requests.
JOINED: Final = ("signpost-joined", "1")

# What every call is told until the first models are loaded. TF Serving does not listen until then.
STILL_LOADING: Final = "The models are still loading; try again."

# TensorFlow's name of each element type that signatures can carry: the NumPy type, and the field of TensorProto
# that holds its values when they are not packed into tensor_content.
TYPES: Final[dict[str, tuple[Any, str]]] = {
    "DT_FLOAT": (np.float32, "float_val"),
    "DT_DOUBLE": (np.float64, "double_val"),
    "DT_INT8": (np.int8, "int_val"),
    "DT_INT16": (np.int16, "int_val"),
    "DT_INT32": (np.int32, "int_val"),
    "DT_INT64": (np.int64, "int64_val"),
    "DT_UINT8": (np.uint8, "int_val"),
    "DT_UINT16": (np.uint16, "int_val"),
    "DT_UINT32": (np.uint32, "uint32_val"),
    "DT_UINT64": (np.uint64, "uint64_val"),
    "DT_BOOL": (np.bool_, "bool_val"),
    "DT_COMPLEX64": (np.complex64, "scomplex_val"),
    "DT_COMPLEX128": (np.complex128, "dcomplex_val"),
    "DT_HALF": (np.float16, "half_val"),
    "DT_BFLOAT16": (ml_dtypes.bfloat16, "half_val"),
    "DT_STRING": (np.object_, "string_val"),
}
_NAMES: Final = {np.dtype(dtype): name for name, (dtype, _) in TYPES.items()}
_FIELDS: Final = {name: field for name, (_, field) in TYPES.items()}


def dtype_name(dtype: np.dtype[Any]) -> str:
    """TensorFlow's name of a NumPy element type, e.g. `DT_UINT8`; strings of any NumPy kind are `DT_STRING`."""
    return "DT_STRING" if dtype.kind in "SUO" else _NAMES[dtype]


def dtype_of(name: str) -> np.dtype[Any]:
    """NumPy's element type of TensorFlow's; object for those that no tensor here can have."""
    return np.dtype(TYPES[name][0]) if name in TYPES else np.dtype(np.object_)


def to_tensor_proto(array: Array, as_content: bool = True) -> tensor_pb2.TensorProto:
    """Put an array of any shape and supported element type into a TensorProto.

    Args:
        array: the values.
        as_content: True packs them into `tensor_content`, which is quick; False puts them into the field of their type
            (`float_val`), which clients of TF Serving read directly.
    """
    name = dtype_name(array.dtype)
    proto = tensor_pb2.TensorProto(
        dtype=types_pb2.DataType.Value(name),
        tensor_shape=tensor_shape_pb2.TensorShapeProto(
            dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=size) for size in array.shape]
        ),
    )
    if name == "DT_STRING":
        proto.string_val.extend(v.encode() if isinstance(v, str) else bytes(v) for v in array.ravel().tolist())
    elif as_content:
        proto.tensor_content = np.ascontiguousarray(array).tobytes()
    else:
        getattr(proto, _FIELDS[name]).extend(_as_field(array.ravel(), name).tolist())
    return proto


def _as_field(values: Array, name: str) -> Array:
    """The numbers that a TensorProto's field holds for these values: parts of complex ones, bits of 16-bit floats."""
    if name in ("DT_HALF", "DT_BFLOAT16"):
        return values.view(np.uint16)
    if name in ("DT_COMPLEX64", "DT_COMPLEX128"):
        return values.view(np.float32 if name == "DT_COMPLEX64" else np.float64)
    return values


def from_tensor_proto(proto: tensor_pb2.TensorProto) -> Array:
    """Read a TensorProto into an array; strings become an object array of bytes.

    As in TensorFlow, fewer values than elements means that the last value repeats, and none at all that each is 0 or
    empty. Values in the field of another type, and more than there are elements, are mistakes here.

    Raises:
        InvalidRequest: an element type that is not taken, or values that do not fit the shape.
    """
    # An open enum: a client may send a number that names no type.
    name = types_pb2.DataType.Name(proto.dtype) if proto.dtype in types_pb2.DataType.values() else str(proto.dtype)
    if name not in TYPES:
        raise InvalidRequest(f"Tensors of type {name} are not supported; send one of {', '.join(TYPES)}.")
    dtype = np.dtype(TYPES[name][0])
    if proto.tensor_shape.unknown_rank or any(dim.size < 0 for dim in proto.tensor_shape.dim):
        raise InvalidRequest("A tensor has an unknown dimension; give the size of each.")
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    count = int(np.prod(shape, dtype=object)) if shape else 1
    if proto.tensor_content and name != "DT_STRING":
        if len(proto.tensor_content) != count * dtype.itemsize:
            raise InvalidRequest(
                f"A tensor of shape {list(shape)} and type {name} needs {count * dtype.itemsize} bytes of content, "
                f"not {len(proto.tensor_content)}."
            )
        return _reshaped(np.frombuffer(proto.tensor_content, dtype=dtype), shape)
    array = _from_values(getattr(proto, _FIELDS[name]), name, dtype)
    missing = count - len(array)
    mistaken = not len(array) and any(getattr(proto, field) for field in set(_FIELDS.values()))
    if missing < 0 or (missing > 0 and (count > _MAX_REPEATED or mistaken)):
        raise InvalidRequest(f"A tensor of shape {list(shape)} needs {count} values, not {len(array)}.")
    if missing > 0:
        last = array[-1:] if len(array) else np.array([b""], dtype=dtype) if dtype.kind == "O" else np.zeros(1, dtype)
        array = np.concatenate([array, np.repeat(last, missing)])
    return _reshaped(array, shape)


# A few bytes must not become gigabytes: values are repeated up to this many elements.
_MAX_REPEATED: Final = 16 * 1024 * 1024


def _reshaped(array: Array, shape: tuple[int, ...]) -> Array:
    try:
        return array.reshape(shape)
    except ValueError as error:  # more dimensions than NumPy has, or empty with sizes beyond any memory
        raise InvalidRequest(f"A tensor of shape {list(shape)} is not supported: {error}.") from error


def _from_values(values: Any, name: str, dtype: np.dtype[Any]) -> Array:
    if name in ("DT_HALF", "DT_BFLOAT16"):  # stored as the 16 bits of each number
        return np.array([v & 0xFFFF for v in values], dtype=np.uint16).view(dtype)
    if name in ("DT_COMPLEX64", "DT_COMPLEX128"):  # real and imaginary parts alternate
        parts = np.array(values, dtype=np.float64)
        if len(parts) % 2:
            raise InvalidRequest(f"A tensor of type {name} has {len(parts)} parts of numbers; each needs two.")
        return parts.view(np.complex128).astype(dtype)
    if name == "DT_STRING":
        array = np.empty(len(values), dtype=np.object_)
        array[:] = list(values)
        return array
    try:
        # Of a list NumPy checks each number; of protobuf's own sequence it would take the lowest bits.
        return np.array(list(values), dtype=dtype)
    except OverflowError as error:
        raise InvalidRequest(f"A value does not fit {name}: {error}.") from error


def no_versions(model: str, reason: str = "") -> str:
    """TF Serving's words for a model without a version, and the reason where one is known; see `reason_in`."""
    return f"Could not find any versions of model {model}" + (f": {reason}" if reason else "")


def reason_in(text: str, model: str) -> str:
    """The reason in what `no_versions` made; empty where there is none, or the text is another."""
    words = f"{no_versions(model)}: "
    return text.removeprefix(words) if text.startswith(words) else ""


def read_spec(proto: Any) -> ModelSpec:
    """Turn a ModelSpec message (or the lack of one) into a ModelSpec.

    Raises:
        InvalidRequest: it names no model.
    """
    if proto is None or not proto.name:
        raise InvalidRequest("ModelSpec has no name specified.")
    choice = proto.WhichOneof("version_choice")
    return ModelSpec(
        proto.name,
        version=proto.version.value if choice == "version" else None,
        label=proto.version_label if choice == "version_label" else None,
    )


def predict_log(model: str, signature_name: str, inputs: Mapping[str, Array]) -> bytes:
    """A serialised PredictionLog of one Predict request, as TF Serving's warm-up file holds them."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature_name
    for name, array in inputs.items():
        request.inputs[name].CopyFrom(to_tensor_proto(array))
    log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
    return bytes(log.SerializeToString(deterministic=True))
