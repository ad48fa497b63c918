"""Tensors there and back in every form, and what is refused before anything is allocated."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidRequest
from service.oip import json_data, rpc
from service.oip.classification import classify
from service.oip.messages import message
from service.oip.tensors import (
    BYTES,
    DATATYPES,
    check_datatype,
    check_shape,
    datatype_of,
    dtype_of,
    from_bytes,
    objects,
    size_of,
    to_bytes,
)
from tests.fakes import spec

NUMBERS = sorted(set(DATATYPES.values()) - {BYTES})
SHAPES: list[tuple[int, ...]] = [(), (3,), (2, 2), (0, 4), (2, 1, 3)]


def no_base64(_text: Any) -> bytes:
    raise InvalidRequest("There is none.")


def of(datatype: str, shape: tuple[int, ...]) -> Any:
    """Values of a type that show both ends of it."""
    count = int(np.prod(shape))
    dtype = dtype_of(datatype)
    if datatype == BYTES:
        return objects([b"", b"a\0b", b"\xff" * 300][:count] + [b"x"] * max(0, count - 3), shape)
    if dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        ends: list[Any] = [bounds.min, bounds.max, 1]
    else:
        ends = [0, 1, 1] if dtype.kind == "b" else [-0.5, 1.5, 100.0]
    return np.array(list(itertools.islice(itertools.cycle(ends), count)), dtype).reshape(shape)


def same(one: Any, other: Any) -> bool:
    if one.dtype.kind == "O":
        return bool(one.shape == other.shape and one.tolist() == other.tolist())
    return bool(one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("datatype", [*NUMBERS, BYTES])
def test_bytes_there_and_back(datatype: str, shape: tuple[int, ...]) -> None:
    array = of(datatype, shape)
    data = to_bytes(array)
    assert size_of(datatype, shape) in (None, len(data))
    assert same(from_bytes("x", datatype, shape, data), array)
    # In a body they may begin anywhere.
    behind = memoryview(b"{" + data)[1:]
    read = from_bytes("x", datatype, shape, behind)
    assert same(read, array)
    assert read.flags.aligned


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("datatype", [*NUMBERS, BYTES])
def test_json_there_and_back(datatype: str, shape: tuple[int, ...]) -> None:
    array = of(datatype, shape)
    if datatype == BYTES:
        array = objects(["é\0".encode()] * array.size, shape)
    written = json_data.write("x", array)
    flat = written.tolist() if isinstance(written, np.ndarray) else written
    assert same(json_data.read("x", datatype, shape, flat, no_base64), array)
    nested = np.array(flat, dtype=np.object_).reshape(shape).tolist()
    assert same(json_data.read("x", datatype, shape, nested, no_base64), array)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("datatype", [*NUMBERS, BYTES])
def test_contents_there_and_back(datatype: str, shape: tuple[int, ...]) -> None:
    array = of(datatype, shape)
    filled = message("InferTensorContents")()
    if not rpc.write_contents(datatype, array, filled):
        assert datatype in ("FP16", "BF16")
        with pytest.raises(InvalidRequest, match="raw_input_contents"):
            rpc.read_contents("x", datatype, shape, filled)
        return
    assert same(rpc.read_contents("x", datatype, shape, filled), array)


def test_any_byte_but_nothing_is_true() -> None:
    assert from_bytes("x", "BOOL", (3,), b"\0\1\7").tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "says"),
    [
        ("FP32", (2,), b"\0" * 7, "needs 8 bytes, not 7"),
        ("FP32", (2,), b"\0" * 9, "needs 8 bytes, not 9"),
        ("UINT8", (), b"", "needs 1 bytes, not 0"),
        (BYTES, (2,), b"\x01\0\0\0a", "no more than 1"),
        (BYTES, (1,), b"\x02\0\0\0a", "Element 0"),
        (BYTES, (2,), b"\x05\0\0\0a\0\0\0\0", "Element 1"),
        (BYTES, (1,), b"\xff\xff\xff\xff", "Element 0"),
        (BYTES, (1,), b"\x01\0\0\0ab", "1 bytes beyond its 1 elements"),
        (BYTES, (2**31 - 1,), b"", "needs 2147483647 elements"),
    ],
)
def test_bytes_that_do_not_fit_are_refused(datatype: str, shape: tuple[int, ...], data: bytes, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as caught:
        from_bytes("x", datatype, shape, data)
    assert "'x'" in str(caught.value)


@given(st.binary(max_size=40), st.integers(0, 5))
def test_no_bytes_are_more_than_refused(data: bytes, count: int) -> None:
    try:
        found = from_bytes("x", BYTES, (count,), data)
    except InvalidRequest:
        return
    assert to_bytes(found) == data


@pytest.mark.parametrize(
    "shape",
    [None, "12", b"12", {}, 3, [1.0], [True], [-1], ["1"], [None], [2**31], [2**62, 2**62], [0, 2**62], [1] * 33],
    ids=str,
)
def test_what_is_no_shape_is_refused(shape: Any) -> None:
    with pytest.raises(InvalidRequest, match="'x'"):
        check_shape("x", shape)


def test_what_is_no_datatype_is_refused() -> None:
    for datatype in ("FP99", "", None, 1, [], {}, "fp32"):
        with pytest.raises(InvalidRequest, match="'x'"):
            check_datatype("x", datatype)
    with pytest.raises(InvalidRequest, match="DT_COMPLEX64"):
        datatype_of(spec("x", "DT_COMPLEX64", -1))


@pytest.mark.parametrize(
    ("datatype", "data", "says"),
    [
        ("FP32", [1, "2"], "numbers only"),
        ("FP32", [1, None], "numbers only"),
        ("FP32", [1, True], "numbers only"),
        ("FP32", [1, {}], "numbers only"),
        ("FP32", [1, 1e39], "beyond"),
        ("FP32", [1, 10**400], "beyond"),
        ("FP16", [1, 65520], "beyond"),
        ("FP32", [1], "needs 2 values, not 1"),
        ("FP32", [[1, 2], [3, 4]], "numbers only"),
        ("FP32", [[1, 2]], "not nested"),
        ("FP32", [1, [2]], "numbers only"),
        ("FP32", "ab", "list of values"),
        ("INT8", [1, 128], "beyond"),
        ("INT8", [1, -129], "beyond"),
        ("UINT64", [1, -1], "beyond"),
        ("UINT64", [1, 2**64], "beyond"),
        ("INT64", [1, 1.0], "whole numbers"),
        ("BOOL", [1, 0], "true or false"),
        (BYTES, ["a", 1], "strings"),
        (BYTES, ["a", "\ud800"], "surrogate"),
        (BYTES, ["a", {"b64": 1}], "There is none"),
        (BYTES, ["a", {"b64": "", "more": 1}], "strings"),
    ],
)
def test_json_that_does_not_fit_is_refused(datatype: str, data: Any, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as caught:
        json_data.read("x", datatype, (2,), data, no_base64)
    assert "'x'" in str(caught.value)


def test_numbers_that_json_does_not_know_are_numbers() -> None:
    read = json_data.read("x", "FP32", (2,), [float("nan"), float("inf")], no_base64)
    assert np.isnan(read[0])
    assert np.isinf(read[1])


def test_json_can_t_carry_what_is_no_text() -> None:
    with pytest.raises(InvalidRequest, match="binary_data: true"):
        json_data.write("y", objects([b"\xff"], (1,)))


def test_contents_that_do_not_fit_are_refused() -> None:
    filled = message("InferTensorContents")(int_contents=[1, 300])
    for datatype, shape, says in (
        ("INT8", (2,), "beyond"),
        ("INT32", (3,), "needs 3 values, not 2"),
        ("FP32", (2,), "belongs in fp32_contents, not int_contents"),
        (BYTES, (2,), "belongs in bytes_contents"),
    ):
        with pytest.raises(InvalidRequest, match=says):
            rpc.read_contents("x", datatype, shape, filled)


@pytest.mark.parametrize(
    ("array", "count", "labels", "by_row", "expected"),
    [
        (np.float32([[1, 2.5]]), 2, (), True, [[b"2.500000:1", b"1.000000:0"]]),
        (np.float32([[1, 2.5]]), 9, ("a", "b"), True, [[b"2.500000:1:b", b"1.000000:0:a"]]),
        (np.float32([[1, 2.5]]), 1, ("a",), True, [[b"2.500000:1"]]),
        (np.float32([[2, 2, 2]]), 2, (), True, [[b"2.000000:0", b"2.000000:1"]]),
        (np.float32([[np.nan, -np.inf, 0]]), 3, (), True, [[b"0.000000:2", b"nan:0", b"-inf:1"]]),
        (np.uint64([[1, 2**64 - 1]]), 1, (), True, [[b"18446744073709551615:1"]]),
        (np.int8([[[-128, 127]], [[3, 3]]]), 1, (), True, [[b"127:1"], [b"3:0"]]),
        (np.array([[True, False]]), 2, (), True, [[b"1:0", b"0:1"]]),
        (np.float32([1, 2]), 1, (), True, [[b"1.000000:0"], [b"2.000000:0"]]),
        (np.float32([[1, 2], [3, 4]]), 2, (), False, [b"4.000000:3", b"3.000000:2"]),
        (np.float32(1), 1, (), False, [b"1.000000:0"]),
        (np.zeros((0, 3), np.float32), 2, (), True, []),
    ],
)
def test_classification(array: Any, count: int, labels: tuple[str, ...], by_row: bool, expected: Any) -> None:
    found = classify(array, count, labels, by_row)
    assert found.tolist() == expected
