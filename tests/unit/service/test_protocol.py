"""TF Serving's messages: arrays go through them unharmed, and nobody's message does harm."""

import subprocess
import sys
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from service import protocol, signature_messages
from service.errors import InvalidRequest
from service.interface import Array, TensorSpec
from service.protocol import dtype_name, from_tensor_proto, tensor_pb2, to_tensor_proto

NUMBERS = {
    "DT_FLOAT": np.float32,
    "DT_DOUBLE": np.float64,
    "DT_INT8": np.int8,
    "DT_INT16": np.int16,
    "DT_INT32": np.int32,
    "DT_INT64": np.int64,
    "DT_UINT8": np.uint8,
    "DT_UINT16": np.uint16,
    "DT_UINT32": np.uint32,
    "DT_UINT64": np.uint64,
    "DT_BOOL": np.bool_,
    "DT_COMPLEX64": np.complex64,
    "DT_COMPLEX128": np.complex128,
    "DT_HALF": np.float16,
}
SHAPES = nps.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


def message(dtype: str, shape: list[int], **values: Any) -> tensor_pb2.TensorProto:
    proto = tensor_pb2.TensorProto(dtype=dtype, **values)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


def sent(array: Array, as_content: bool = True) -> Array:
    """The array as it arrives at the other end of a wire."""
    return from_tensor_proto(tensor_pb2.TensorProto.FromString(to_tensor_proto(array, as_content).SerializeToString()))


@given(
    array=st.sampled_from(sorted(NUMBERS)).flatmap(lambda name: nps.arrays(NUMBERS[name], SHAPES)),
    as_content=st.booleans(),
)
def test_numbers_of_every_type_and_shape_arrive_as_they_were_sent(array: Array, as_content: bool) -> None:
    arrived = sent(array, as_content)
    assert arrived.dtype == array.dtype
    np.testing.assert_array_equal(arrived, array)


@given(array=nps.arrays(np.object_, SHAPES, elements=st.binary(max_size=5), fill=st.nothing()))
def test_strings_arrive_as_the_bytes_that_were_sent(array: Array) -> None:
    arrived = sent(array)
    assert arrived.dtype == np.object_
    assert arrived.shape == array.shape
    assert arrived.tolist() == array.tolist()


@pytest.mark.parametrize("as_content", [False, True])
def test_bfloat16_arrives(as_content: bool) -> None:
    array = np.array([[1.5, -2.0]], dtype=ml_dtypes.bfloat16)
    arrived = sent(array, as_content)
    assert arrived.dtype == array.dtype
    np.testing.assert_array_equal(arrived, array)
    bits = message("DT_BFLOAT16", [2], half_val=[0x3FC0, 0xC000])
    np.testing.assert_array_equal(from_tensor_proto(bits), array[0])


@pytest.mark.parametrize("array", [np.array(["ä", "b"]), np.array([b"a\x00b"]), np.array(["é"], dtype=np.object_)])
def test_text_of_any_numpy_kind_is_sent_as_utf_8(array: Array) -> None:
    assert dtype_name(array.dtype) == "DT_STRING"
    assert sent(array).tolist() == [v.encode() if isinstance(v, str) else v for v in array.tolist()]


def test_an_array_that_is_not_contiguous_arrives() -> None:
    array = np.arange(12, dtype=np.int32).reshape(3, 4).T[::2]
    np.testing.assert_array_equal(sent(array), array)


@pytest.mark.parametrize(
    ("proto", "expected"),
    [
        (message("DT_FLOAT", [2], float_val=[1.5, 2.5]), np.float32([1.5, 2.5])),
        (message("DT_DOUBLE", [2], double_val=[1.5, 2.5]), np.float64([1.5, 2.5])),
        (message("DT_INT8", [2], int_val=[-128, 127]), np.int8([-128, 127])),
        (message("DT_INT16", [1], int_val=[-3]), np.int16([-3])),
        (message("DT_INT32", [1], int_val=[-3]), np.int32([-3])),
        (message("DT_INT64", [1], int64_val=[-(2**63)]), np.int64([-(2**63)])),
        (message("DT_UINT8", [1, 2], int_val=[0, 255]), np.uint8([[0, 255]])),
        (message("DT_UINT16", [1], int_val=[65535]), np.uint16([65535])),
        (message("DT_UINT32", [1], uint32_val=[2**32 - 1]), np.uint32([2**32 - 1])),
        (message("DT_UINT64", [1], uint64_val=[2**64 - 1]), np.uint64([2**64 - 1])),
        (message("DT_BOOL", [2], bool_val=[True, False]), np.array([True, False])),
        (message("DT_HALF", [1], half_val=[0x3C00]), np.float16([1.0])),
        (message("DT_COMPLEX64", [1], scomplex_val=[1.0, -2.0]), np.complex64([1 - 2j])),
        (message("DT_COMPLEX64", [1], scomplex_val=[1.0, np.inf]), np.array([complex(1, np.inf)], np.complex64)),
        (message("DT_COMPLEX128", [2], dcomplex_val=[1, 2, 3, 4]), np.complex128([1 + 2j, 3 + 4j])),
        (message("DT_FLOAT", [], float_val=[7.0]), np.float32(7.0)),
        (message("DT_FLOAT", [0, 3]), np.zeros((0, 3), np.float32)),
        (message("DT_FLOAT", [2, 2], float_val=[1.0]), np.ones((2, 2), np.float32)),
        (message("DT_INT32", [4], int_val=[1, 2]), np.int32([1, 2, 2, 2])),
        (message("DT_COMPLEX64", [2], scomplex_val=[1.0, 2.0]), np.complex64([1 + 2j, 1 + 2j])),
    ],
)
def test_values_in_a_field_of_their_type_are_read_and_the_last_repeats(
    proto: tensor_pb2.TensorProto, expected: Array
) -> None:
    array = from_tensor_proto(proto)
    assert array.dtype == expected.dtype
    assert array.shape == expected.shape
    np.testing.assert_array_equal(array, expected)


def test_no_values_at_all_are_nothing_but_zeros_as_in_tensorflow() -> None:
    assert from_tensor_proto(message("DT_FLOAT", [1, 3])).tolist() == [[0.0, 0.0, 0.0]]
    assert from_tensor_proto(message("DT_BOOL", [2])).tolist() == [False, False]
    assert from_tensor_proto(message("DT_STRING", [2])).tolist() == [b"", b""]


def test_the_last_string_repeats_too() -> None:
    array = from_tensor_proto(message("DT_STRING", [3], string_val=[b"a", b"b"]))
    assert array.tolist() == [b"a", b"b", b"b"]


@pytest.mark.parametrize(
    ("proto", "says"),
    [
        (message("DT_FLOAT", [2], tensor_content=bytes(7)), r"\[2\] and type DT_FLOAT needs 8 bytes of content, not 7"),
        (message("DT_FLOAT", [2], tensor_content=bytes(12)), "needs 8 bytes"),
        (message("DT_FLOAT", [], tensor_content=bytes(8)), "needs 4 bytes"),
        (message("DT_FLOAT", [2], int_val=[1, 2]), "needs 2 values, not 0"),
        (message("DT_FLOAT", [1], float_val=[1, 2]), r"\[1\] needs 1 values, not 2"),
        (message("DT_FLOAT", [0], float_val=[1]), "needs 0 values, not 1"),
        (message("DT_COMPLEX64", [1], scomplex_val=[1.0]), "1 parts of numbers; each needs two"),
        (message("DT_COMPLEX64", [2], scomplex_val=[1.0, 2.0, 3.0]), "3 parts of numbers"),
        (message("DT_COMPLEX64", [1], scomplex_val=[1.0, 2.0, 3.0, 4.0]), "needs 1 values, not 2"),
        (message("DT_INT8", [1], int_val=[300]), "does not fit DT_INT8"),
        (message("DT_UINT8", [1], int_val=[-1]), "does not fit DT_UINT8"),
        (message("DT_FLOAT", [-1], float_val=[1]), "unknown dimension; give the size"),
        (message("DT_FLOAT", [2, -5], tensor_content=bytes(8)), "unknown dimension"),
        (message("DT_INVALID", [1]), "type DT_INVALID are not supported; send one of DT_FLOAT"),
        (message("DT_RESOURCE", [1]), "DT_RESOURCE"),
        (message("DT_VARIANT", [1]), "DT_VARIANT"),
        (message("DT_FLOAT_REF", [1]), "DT_FLOAT_REF"),
        (message("DT_QINT8", [1], tensor_content=b"1"), "DT_QINT8"),
        (message("DT_FLOAT", [2**62, 2**62], float_val=[1]), "values"),
        (message("DT_FLOAT", [2**40], float_val=[1]), "needs 1099511627776 values, not 1"),
        (message("DT_STRING", [2**40], string_val=[b"x"]), "needs 1099511627776 values, not 1"),
    ],
)
def test_a_message_that_does_not_fit_is_refused(proto: tensor_pb2.TensorProto, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        from_tensor_proto(proto)


def test_a_type_that_nobody_has_defined_is_refused() -> None:
    unknown = tensor_pb2.TensorProto.FromString(b"\x08\xe7\x07")  # dtype = 999
    with pytest.raises(InvalidRequest, match="999"):
        from_tensor_proto(unknown)


def test_an_unknown_rank_is_refused() -> None:
    proto = message("DT_FLOAT", [], float_val=[1])
    proto.tensor_shape.unknown_rank = True
    with pytest.raises(InvalidRequest, match="unknown dimension"):
        from_tensor_proto(proto)


def test_a_shape_of_too_many_dimensions_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        from_tensor_proto(message("DT_FLOAT", [1] * 100, float_val=[1]))
    with pytest.raises(InvalidRequest):
        from_tensor_proto(message("DT_FLOAT", [1] * 100, tensor_content=bytes(4)))


def test_an_empty_tensor_of_huge_other_sizes_is_read_or_refused() -> None:
    for shape in ([0, 2**62, 2**62], [2**62, 2**62, 0]):
        with pytest.raises(InvalidRequest):
            from_tensor_proto(message("DT_FLOAT", shape))


@settings(max_examples=300)
@given(
    dtype=st.integers(-1, 140),
    dims=st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 4), max_size=4),
    content=st.binary(max_size=16),
    ints=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=3),
    floats=st.lists(st.floats(width=32), max_size=3),
)
def test_any_message_is_read_or_refused(
    dtype: int, dims: list[int], content: bytes, ints: list[int], floats: list[float]
) -> None:
    proto = tensor_pb2.TensorProto(
        dtype=dtype, tensor_content=content, int_val=ints, float_val=floats, half_val=ints, scomplex_val=floats,
        string_val=[content], bool_val=[True],
    )  # fmt: skip
    for size in dims:
        proto.tensor_shape.dim.add(size=size)
    try:
        array = from_tensor_proto(proto)
    except InvalidRequest as error:
        assert str(error)  # noqa: PT017 - either outcome is right
    else:
        assert list(array.shape) == dims


def test_a_signature_is_read_with_its_names_types_and_shapes() -> None:
    proto = protocol.meta_graph_pb2.SignatureDef(method_name="tensorflow/serving/predict")
    proto.inputs["image"].name = "in:0"
    proto.inputs["image"].dtype = protocol.types_pb2.DT_UINT8
    for size in (-1, 2, 3, 3):
        proto.inputs["image"].tensor_shape.dim.add(size=size)
    proto.outputs["any"].dtype = protocol.types_pb2.DT_FLOAT
    proto.outputs["any"].tensor_shape.unknown_rank = True
    signature = signature_messages.read_signature(proto)
    assert signature.inputs == {
        "image": TensorSpec("image", "in:0", "DT_UINT8", np.dtype(np.uint8), (-1, 2, 3, 3)),
    }
    assert signature.outputs["any"].shape is None
    assert signature.batchable  # of an open rank
    assert signature.method_name == "tensorflow/serving/predict"


def test_a_signatures_defaults_go_along() -> None:
    proto = protocol.meta_graph_pb2.SignatureDef()
    for name, array in (("k", np.float32(3)), ("s", np.array([b"\xff"], dtype=np.object_)), ("e", np.zeros((0, 2)))):
        proto.inputs[name].dtype = protocol.types_pb2.DataType.Value(dtype_name(np.asarray(array).dtype))
        proto.defaults[name].CopyFrom(to_tensor_proto(np.asarray(array)))
    signature = signature_messages.read_signature(proto)
    assert {name: array.tolist() for name, array in signature.defaults.items()} == {"k": 3, "s": [b"\xff"], "e": []}
    again = signature_messages.read_signature(signature_messages.write_signature(signature))
    for name, array in signature.defaults.items():
        np.testing.assert_array_equal(again.defaults[name], array, strict=True)


@pytest.mark.parametrize("as_content", [False, True])
@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0), (0, 2**40)])
@pytest.mark.parametrize("dtype", [*NUMBERS.values(), ml_dtypes.bfloat16, np.object_])
def test_a_tensor_without_elements_keeps_its_type_and_shape(
    dtype: Any, shape: tuple[int, ...], as_content: bool
) -> None:
    arrived = sent(np.zeros(shape, dtype=dtype), as_content)
    assert (arrived.dtype, arrived.shape) == (np.dtype(dtype), shape)


def test_a_warm_up_record_holds_the_request() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    record = protocol.predict_log("m", "serving_default", {"image": pixels})
    request = protocol.prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
    assert (request.model_spec.name, request.model_spec.signature_name) == ("m", "serving_default")
    np.testing.assert_array_equal(from_tensor_proto(request.inputs["image"]), pixels)
    assert record == protocol.predict_log("m", "serving_default", {"image": pixels})


def python(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_speaking_the_protocol_needs_no_tensorflow_and_hides_none() -> None:
    """The trick of `service.protocol`; the real package must come when it is asked for afterwards."""
    program = """
import sys
from service import protocol
import service.gateway
assert "tensorflow" not in sys.modules
assert not any(name.startswith("tensorflow.python") for name in sys.modules)
import tensorflow as tf
assert tf.constant([1, 2]).numpy().tolist() == [1, 2]
from tensorflow.core.framework import tensor_pb2
assert tensor_pb2.TensorProto is protocol.tensor_pb2.TensorProto
assert protocol.from_tensor_proto(tf.make_tensor_proto([[1.5]])).tolist() == [[1.5]]
print("done")
"""
    assert python(program).strip() == "done"
