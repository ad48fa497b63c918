"""TF Serving's JSON of tensors: its forms, and what any other JSON is answered."""

import base64
import json
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.errors import InvalidRequest, NotFound
from service.gateway.bodies import tensor_json
from service.interface import Array, Signature
from tests.fakes import classifier_signature, signature, spec

ONE = signature([spec("x", "DT_FLOAT", -1, 2)], [spec("y", "DT_FLOAT", -1, 2)])
TWO = signature([spec("a", "DT_FLOAT", -1), spec("b", "DT_STRING", -1)], [spec("y", "DT_FLOAT", -1)])


def arrays(document: Any, wanted: Signature = ONE, body: bytes | None = None) -> dict[str, Array]:
    request = tensor_json.parse(json.dumps(document).encode() if body is None else body)
    return tensor_json.to_arrays(request, wanted, None)


def taking(dtype: str, *shape: int) -> Signature:
    return signature([spec("x", dtype, *shape)], [spec("y", "DT_FLOAT", -1)])


@pytest.mark.parametrize(
    ("document", "wanted", "expected"),
    [
        ({"instances": [[1, 2], [3.5, 4]]}, ONE, {"x": [[1, 2], [3.5, 4]]}),
        ({"instances": [{"x": [1, 2]}]}, ONE, {"x": [[1, 2]]}),
        ({"inputs": [[1, 2]]}, ONE, {"x": [[1, 2]]}),
        ({"inputs": {"x": [[1, 2]]}}, ONE, {"x": [[1, 2]]}),
        ({"instances": [{"a": 1, "b": "s"}, {"b": "t", "a": 2}]}, TWO, {"a": [1, 2], "b": [b"s", b"t"]}),
        ({"inputs": {"a": [1, 2], "b": ["s", "t"]}}, TWO, {"a": [1, 2], "b": [b"s", b"t"]}),
        ({"inputs": 3}, taking("DT_INT32"), {"x": 3}),
        ({"inputs": "s"}, taking("DT_STRING"), {"x": b"s"}),
        ({"instances": [{"b64": "AP8="}]}, taking("DT_STRING", -1), {"x": [b"\x00\xff"]}),
        ({"instances": [{"x": {"b64": "AP8="}}]}, taking("DT_STRING", -1), {"x": [b"\x00\xff"]}),
        ({"inputs": {"x": [{"b64": "AP8"}]}}, taking("DT_STRING", -1), {"x": [b"\x00\xff"]}),
        ({"inputs": [[["ä", "b"]]]}, taking("DT_STRING", -1, 1, 2), {"x": [[["ä".encode(), b"b"]]]}),
        ({"instances": [True, False]}, taking("DT_BOOL", -1), {"x": [True, False]}),
        ({"instances": [255, 0]}, taking("DT_UINT8", -1), {"x": [255, 0]}),
        ({"instances": [2**64 - 1, 0]}, taking("DT_UINT64", -1), {"x": [2**64 - 1, 0]}),
        ({"instances": [2**64 - 1, 1]}, taking("DT_FLOAT", -1), {"x": [2.0**64, 1]}),
        ({"instances": [2**70, 1.5]}, taking("DT_DOUBLE", -1), {"x": [2.0**70, 1.5]}),
        ({"instances": [-(2**63)]}, taking("DT_INT64", -1), {"x": [-(2**63)]}),
        ({"inputs": {"x": [[1, 2]], "z": 1}}, ONE, {"x": [[1, 2]]}),
    ],
)
def test_rows_columns_names_and_bare_values_are_read(
    document: Any, wanted: Signature, expected: dict[str, Any]
) -> None:
    found = arrays(document, wanted)
    assert {name: array.tolist() for name, array in found.items()} == expected
    assert all(array.dtype == wanted.inputs[name].dtype for name, array in found.items())


@pytest.mark.parametrize(
    ("document", "shape", "expected"),
    [
        ({"inputs": []}, (-1,), (0,)),
        ({"inputs": {"x": []}}, (-1,), (0,)),
        ({"inputs": []}, (-1, 28, 28), (0, 28, 28)),
        ({"inputs": {"x": []}}, (-1, -1, 3), (0, 0, 3)),
        ({"inputs": []}, (2, 3), (0,)),  # does not fit what is declared, and goes on as it came
        ({"inputs": []}, (), (0,)),
        ({"inputs": [[], []]}, (-1, -1), (2, 0)),
        ({"inputs": [[], []]}, (-1, 4, 2), (2, 0)),
        ({"inputs": [[[]]]}, (-1,), (1, 1, 0)),
        ({"instances": [[]]}, (-1, -1), (1, 0)),
        ({"instances": [[], []]}, (-1, -1, 5), (2, 0, 5)),
        ({"instances": [{"x": []}, {"x": []}]}, (-1, -1), (2, 0)),
        ({"instances": [[[]], [[]]]}, (-1, 1, -1), (2, 1, 0)),
    ],
)
@pytest.mark.parametrize("dtype", ["DT_FLOAT", "DT_INT32", "DT_UINT8", "DT_BOOL", "DT_STRING", "DT_COMPLEX64"])
def test_empty_lists_are_tensors_of_the_inputs_type(
    document: Any, shape: tuple[int, ...], expected: tuple[int, ...], dtype: str
) -> None:
    wanted = taking(dtype, *shape)
    found = arrays(document, wanted)["x"]
    assert found.shape == expected
    assert found.dtype == wanted.inputs["x"].dtype


def test_a_row_with_an_empty_history_is_fed() -> None:
    wanted = signature([spec("user", "DT_INT32", -1), spec("history", "DT_INT32", -1, -1)], [])
    found = arrays({"instances": [{"user": 1, "history": []}]}, wanted)
    assert found["user"].tolist() == [1]
    assert found["history"].shape == (1, 0)


THREE = replace(
    signature([spec("x", "DT_FLOAT", -1), spec("k", "DT_FLOAT"), spec("s", "DT_STRING")], []),
    defaults={"k": np.float32(3), "s": np.array(b"?", dtype=np.object_)},
)
ALL_OPTIONAL = replace(THREE, defaults={**THREE.defaults, "x": np.zeros(1, np.float32)})


@pytest.mark.parametrize(
    ("document", "wanted", "expected"),
    [
        ({"instances": [1, 2]}, THREE, {"x": [1, 2]}),
        ({"inputs": [1, 2]}, THREE, {"x": [1, 2]}),
        ({"instances": [{"x": 1}, {"x": 2}]}, THREE, {"x": [1, 2]}),
        ({"instances": [{"x": 1, "k": 5}, {"x": 2, "k": 6}]}, THREE, {"x": [1, 2], "k": [5, 6]}),
        ({"inputs": {"x": [1, 2]}}, THREE, {"x": [1, 2]}),
        ({"inputs": {"x": [1], "s": "a"}}, THREE, {"x": [1], "s": b"a"}),
        ({"inputs": {"k": 5}}, ALL_OPTIONAL, {"k": 5}),
        ({"inputs": {}}, ALL_OPTIONAL, {}),
        ({"instances": [{}]}, ALL_OPTIONAL, {}),
        ({"instances": [1]}, replace(taking("DT_FLOAT", -1), defaults={"x": np.zeros(1, np.float32)}), {"x": [1]}),
    ],
)
def test_an_input_with_a_default_may_be_left_out(document: Any, wanted: Signature, expected: dict[str, Any]) -> None:
    assert {name: array.tolist() for name, array in arrays(document, wanted).items()} == expected


@pytest.mark.parametrize(
    ("document", "wanted", "says"),
    [
        ({"instances": [{"k": 1}]}, THREE, r"takes the inputs \['x'\] and, where wanted, \['k', 's'\], not \['k'\]"),
        ({"inputs": {"k": 1}}, THREE, "Missing named input: x; .* where wanted"),
        ({"instances": [{"x": 1, "z": 1}]}, THREE, "not \\['x', 'z'\\]"),
        ({"instances": [{"x": 1}, {"x": 1, "k": 1}]}, THREE, "Instance 1 has the inputs .* the first has"),
        ({"instances": [1]}, ALL_OPTIONAL, "several inputs; name them: k, s, x"),
    ],
)
def test_what_has_no_default_is_needed(document: Any, wanted: Signature, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        arrays(document, wanted)


@pytest.mark.parametrize(
    ("document", "wanted", "says"),
    [
        ([1], ONE, "must be a JSON object"),
        (None, ONE, "must be a JSON object"),
        ({}, ONE, 'either "instances"'),
        ({"instances": [[1, 2]], "inputs": [[1, 2]]}, ONE, 'either "instances"'),
        ({"instances": []}, ONE, "at least one value"),
        ({"instances": 3}, ONE, "must be a list"),
        ({"instances": {"x": [1]}}, ONE, "must be a list"),
        ({"instances": [[1, 2]], "signature_name": 3}, ONE, '"signature_name" must be a string'),
        ({"instances": [[1, 2], [1]]}, ONE, "'x' is ragged"),
        ({"instances": [[1, 2], 1]}, ONE, "'x' is ragged"),
        ({"instances": [["a", "b"]]}, ONE, r"'x' takes numbers \(DT_FLOAT\) only"),
        ({"instances": [[None, 1]]}, ONE, "takes numbers"),
        ({"instances": [[True, False]]}, ONE, "takes numbers"),
        ({"instances": [[[1, 2], []]]}, taking("DT_FLOAT", -1, -1, -1), "'x' is ragged"),
        ({"instances": [["a"], []]}, taking("DT_STRING", -1, -1), "'x' is ragged"),
        ({"instances": [[], None]}, ONE, "'x' is ragged"),
        ({"instances": [{"z": 1}]}, ONE, r"takes the inputs \['x'\], not \['z'\]"),
        ({"instances": [{}]}, ONE, "takes the inputs"),
        ({"instances": [{"x": [1, 2]}, [1, 2]]}, ONE, "either all objects"),
        ({"inputs": {"z": 1}}, ONE, "Missing named input: x"),
        ({"instances": [1e300, 1]}, taking("DT_FLOAT", -1), "too large"),
        ({"instances": [70000]}, taking("DT_HALF", -1), "too large"),
        ({"instances": [1, 2]}, TWO, "several inputs; name them: a, b"),
        ({"inputs": [1, 2]}, TWO, "several inputs"),
        ({"instances": [{"a": 1}]}, TWO, "takes the inputs"),
        ({"instances": [{"a": 1, "b": "s"}, {"a": 1}]}, TWO, "Instance 1 has the inputs"),
        ({"instances": [1.5]}, taking("DT_INT32", -1), "takes whole numbers"),
        ({"instances": [2**31]}, taking("DT_INT32", -1), "-2147483648 to 2147483647, not 2147483648"),
        ({"instances": [256]}, taking("DT_UINT8", -1), "0 to 255, not 256"),
        ({"instances": [-1]}, taking("DT_UINT64", -1), "not -1"),
        ({"instances": [2**70, 1]}, taking("DT_INT64", -1), "not 1 to 1180591620717411303424"),
        ({"instances": [2**63, -1]}, taking("DT_INT64", -1), "not -1 to 9223372036854775808"),
        ({"instances": [2**63, 1.5]}, taking("DT_UINT64", -1), "takes whole numbers"),
        ({"instances": [10**400]}, taking("DT_FLOAT", -1), "too large"),
        ({"instances": [1]}, taking("DT_BOOL", -1), "takes true or false"),
        ({"instances": [1]}, taking("DT_STRING", -1), "takes strings"),
        ({"instances": [["a"], "b"]}, taking("DT_STRING", -1), "ragged"),
        ({"instances": [["a"], ["b", "c"]]}, taking("DT_STRING", -1), "ragged"),
        ({"instances": [{"b64": 3}]}, taking("DT_STRING", -1), "string of base64"),
        ({"instances": [{"b64": "*"}]}, taking("DT_STRING", -1), "not base64"),
        ({"instances": [{"b64": "ä"}]}, taking("DT_STRING", -1), "not base64"),
        ({"instances": [{"b64": "AAAA"}]}, ONE, "takes numbers"),
    ],
)
def test_what_does_not_fit_is_refused_and_told(document: Any, wanted: Signature, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        arrays(document, wanted)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe\xfd", b'{"instances": [1', b'"\\', b"[" * 100_000, b'{"instances": ' + b"[" * 100_000],
)
def test_a_body_that_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="JSON"):
        arrays(None, body=body)


@pytest.mark.parametrize("depth", [65, 200, 900])
@pytest.mark.parametrize("dtype", ["DT_FLOAT", "DT_STRING"])
@pytest.mark.parametrize("leaf", ["1", '"s"'])
def test_deep_nesting_is_refused(depth: int, dtype: str, leaf: str) -> None:
    body = ('{"inputs": ' + "[" * depth + leaf + "]" * depth + "}").encode()
    with pytest.raises(InvalidRequest):
        arrays(None, taking(dtype, -1), body)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_javascripts_numbers_are_no_whole_numbers(number: str) -> None:
    body = b'{"instances": [' + number.encode() + b"]}"
    with pytest.raises(InvalidRequest, match="whole numbers"):
        arrays(None, taking("DT_INT32", -1), body)


def test_a_number_of_thousands_of_digits_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        arrays(None, taking("DT_INT32", -1), b'{"instances": [' + b"9" * 5000 + b"]}")


def test_half_a_surrogate_becomes_bytes() -> None:
    found = arrays(None, taking("DT_STRING", -1), b'{"instances": ["\\ud800"]}')
    assert found["x"].tolist() == [b"\xed\xa0\x80"]


def test_both_alphabets_of_base64_are_taken() -> None:
    data = bytes(range(248, 256)) * 3
    for text in (base64.b64encode(data), base64.urlsafe_b64encode(data), base64.b64encode(data).rstrip(b"=")):
        found = arrays({"instances": [{"b64": text.decode()}]}, taking("DT_STRING", -1))
        assert found["x"].tolist() == [data]


def test_an_encoded_image_stands_where_pixels_stand() -> None:
    pixels = np.full((2, 3, 3), 7, dtype=np.uint8)
    wanted = classifier_signature(2, 3)
    for document in (
        {"instances": [{"b64": "AAAA"}, pixels.tolist()]},
        {"instances": [{"image": {"b64": "AAAA"}}, {"image": pixels.tolist()}]},
        {"inputs": [{"b64": "AAAA"}, pixels.tolist()]},
        {"inputs": {"image": [{"b64": "AAAA"}, pixels.tolist()]}},
    ):
        request = tensor_json.parse(json.dumps(document).encode())
        found = tensor_json.to_arrays(request, wanted, lambda data: pixels + len(data))
        np.testing.assert_array_equal(found["image"], [pixels + 3, pixels])


PNG = "data:image/png;base64,AAAA"


@pytest.mark.parametrize(
    ("image", "data"),
    [
        (PNG, bytes(3)),
        ({"b64": PNG}, bytes(3)),
        ("DATA:Image/JPEG;charset=utf-8;BASE64,AP8=", b"\x00\xff"),
        ("data:image/svg+xml;base64,%41P8%3D", b"\x00\xff"),
        (" data:image/png;base64,\nAAAA\n", bytes(3)),
        ("data:;base64,AAAA", bytes(3)),  # of a file whose type the browser does not know
        ("data:application/octet-stream;base64,AAAA", bytes(3)),
    ],
)
def test_an_image_may_be_a_data_url(image: Any, data: bytes) -> None:
    seen: list[bytes] = []

    def decode(encoded: bytes) -> Array:
        seen.append(encoded)
        return np.zeros((2, 3, 3), np.uint8)

    for document in ({"instances": [image]}, {"instances": [{"image": image}]}, {"inputs": {"image": [image]}}):
        request = tensor_json.parse(json.dumps(document).encode())
        found = tensor_json.to_arrays(request, classifier_signature(2, 3), decode)
        assert found["image"].shape == (1, 2, 3, 3)
    assert seen == [data] * 3


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ("data:text/html;base64,AAAA", "Image 0: The data: URL contains text/html; send an image"),
        ("data:video/mp4;base64,AAAA", "contains video/mp4"),
        ({"b64": "data:text/plain;base64,AAAA"}, "contains text/plain"),
        ("data:image/png,%89PNG", "is not base64; send something like"),
        ("data:image/png", "is not base64"),
        ("data:image/png;base64,*", "The data: URL is not base64; encode"),
        ("data:image/png;base64,%ff", "not base64"),
        ("AAAA", r'takes whole numbers \(DT_UINT8\) only, or a list of encoded images, each {"b64"'),
        ("cat.png", "a list of encoded images"),
    ],
)
def test_a_string_that_is_no_image_is_told(image: Any, says: str) -> None:
    request = tensor_json.JsonRequest("serving_default", True, [image])
    with pytest.raises(InvalidRequest, match=says):
        tensor_json.to_arrays(request, classifier_signature(2, 3), lambda _: np.zeros((2, 3, 3), np.uint8))


def test_a_string_input_takes_a_data_urls_bytes_as_b64_and_its_text_as_text() -> None:
    wanted = taking("DT_STRING", -1)
    assert arrays({"instances": [{"b64": "data:text/plain;base64,AP8="}]}, wanted)["x"].tolist() == [b"\x00\xff"]
    assert arrays({"instances": [PNG]}, wanted)["x"].tolist() == [PNG.encode()]


def test_one_image_without_a_list_is_told_to_be_one() -> None:
    request = tensor_json.JsonRequest("serving_default", False, {"image": {"b64": "AAAA"}})
    with pytest.raises(InvalidRequest, match="a list of encoded images"):
        tensor_json.to_arrays(request, classifier_signature(2, 3), lambda _: np.zeros((2, 3, 3), np.uint8))


def test_pixels_that_do_not_fit_those_of_an_encoded_image_are_refused() -> None:
    pixels = np.zeros((2, 3, 3), dtype=np.uint8)
    for other in ([[1]], 3, "s", [], None, [[[300] * 3] * 3] * 2):
        request = tensor_json.JsonRequest("serving_default", True, [{"b64": "AAAA"}, other])
        with pytest.raises(InvalidRequest):
            tensor_json.to_arrays(request, classifier_signature(2, 3), lambda _: pixels)


def test_a_missing_signature_is_not_found() -> None:
    with pytest.raises(NotFound, match='"other" not found in signature def; the model has a, b'):
        tensor_json.find_signature({"a": ONE, "b": TWO}, "other")


F32 = np.float32
STRINGS = np.array([b"a", b"\xff"], dtype=np.object_)


@pytest.mark.parametrize(
    ("outputs", "rows", "expected"),
    [
        ({"y": np.array([[1.5], [2]], F32)}, True, {"predictions": [[1.5], [2.0]]}),
        ({"y": np.array([[1.5], [2]], F32)}, False, {"outputs": [[1.5], [2.0]]}),
        ({"y": np.array(3)}, False, {"outputs": 3}),
        (
            {"p": np.array([1, 2]), "q": np.array([True, False])},
            True,
            {"predictions": [{"p": 1, "q": True}, {"p": 2, "q": False}]},
        ),
        ({"p": np.array([1, 2]), "q": np.array([5])}, False, {"outputs": {"p": [1, 2], "q": [5]}}),
        ({"y": STRINGS}, True, {"predictions": ["a", {"b64": "/w=="}]}),
        (
            {"y": STRINGS.reshape(1, 2), "z": np.array([1])},
            False,
            {"outputs": {"y": [["a", {"b64": "/w=="}]], "z": [1]}},
        ),
        ({"y_bytes": STRINGS}, True, {"predictions": [{"b64": "YQ=="}, {"b64": "/w=="}]}),
        ({"y": np.array([1.5], ml_dtypes.bfloat16)}, True, {"predictions": [1.5]}),
        ({"y": np.array([1.5], np.float16)}, True, {"predictions": [1.5]}),
        ({"y": np.array([[0.2, 1 / 3]], F32)}, True, {"predictions": [[0.2, 0.333333343]]}),
        ({"y": np.array([0.2])}, True, {"predictions": [0.2]}),
        ({"y": np.zeros((0, 3), F32)}, True, {"predictions": []}),
        ({"y": np.zeros((0, 3), F32)}, False, {"outputs": []}),
        ({"y": np.zeros((2, 0), F32)}, True, {"predictions": [[], []]}),
        ({"p": np.zeros((0, 2), np.int32), "q": np.zeros(0, np.object_)}, True, {"predictions": []}),
        ({"p": np.zeros((0, 2), np.int32), "q": np.zeros(0, np.object_)}, False, {"outputs": {"p": [], "q": []}}),
    ],
)
def test_answers_take_the_form_of_the_request(outputs: dict[str, Array], rows: bool, expected: Any) -> None:
    found = tensor_json.to_json(outputs, rows)
    assert found == expected
    json.dumps(found)


@pytest.mark.parametrize(
    "outputs", [{"p": np.array([1, 2]), "q": np.array([5])}, {"p": np.array(1)}, {"p": np.array([1]), "q": np.array(1)}]
)
def test_rows_need_a_common_number_of_rows(outputs: dict[str, Array]) -> None:
    with pytest.raises(InvalidRequest, match="no common first dimension"):
        tensor_json.to_json(outputs, rows=True)


def test_complex_numbers_have_no_json() -> None:
    with pytest.raises(InvalidRequest, match="complex"):
        tensor_json.to_json({"y": np.array([1j])}, rows=True)


leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["\ud800", "AAAA", "data:image/png;base64,AAAA", "data:,"])
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["x", "a", "b", "k", "b64", "image", ""]), inner, max_size=3)
    ),
    max_leaves=12,
)
documents = st.fixed_dictionaries({}, optional={"instances": values, "inputs": values, "signature_name": values})
signatures = st.sampled_from(
    [
        *(taking(dtype, -1) for dtype in ("DT_FLOAT", "DT_DOUBLE", "DT_HALF", "DT_INT8", "DT_INT32", "DT_INT64")),
        *(taking(dtype, -1, 2) for dtype in ("DT_UINT8", "DT_UINT64", "DT_BOOL", "DT_STRING", "DT_COMPLEX64")),
        TWO,
        classifier_signature(1, 1, 1),
        THREE,
    ]
)


@settings(max_examples=600, deadline=None)
@given(document=documents | values, wanted=signatures)
@example(document={"instances": [2**63, -1]}, wanted=taking("DT_INT64", -1))
@example(document={"instances": [2**63, 1.5]}, wanted=taking("DT_INT64", -1))
@example(document={"instances": [{"b64": "AAAA"}, [[["x"]]]]}, wanted=classifier_signature(1, 1, 1))
def test_any_json_gives_arrays_of_the_right_type_or_is_refused(document: Any, wanted: Signature) -> None:
    try:
        request = tensor_json.parse(json.dumps(document).encode())
        tensor_json.find_signature({"serving_default": wanted}, request.signature_name)
        decode = None if wanted.image is None else lambda _: np.zeros((1, 1, 1), np.uint8)
        found = tensor_json.to_arrays(request, wanted, decode)
    except (InvalidRequest, NotFound) as error:
        assert str(error).encode()  # noqa: PT017 - either outcome is right; and the message can be sent
    else:
        assert found.keys() | wanted.defaults.keys() == wanted.inputs.keys()
        assert all(array.dtype == wanted.inputs[name].dtype for name, array in found.items())


def test_an_input_may_be_called_b64() -> None:
    named = signature([spec("b64", "DT_STRING", -1)], [spec("y", "DT_STRING", -1)])
    for body in (b'{"inputs": {"b64": ["q"]}}', b'{"instances": [{"b64": {"b64": "cQ=="}}]}', b'{"inputs": ["q"]}'):
        assert tensor_json.to_arrays(tensor_json.parse(body), named, None)["b64"].tolist() == [b"q"]
    with pytest.raises(InvalidRequest, match="takes no inputs; send an empty object"):
        tensor_json.to_arrays(tensor_json.parse(b'{"inputs": []}'), signature([], [spec("y", "DT_FLOAT")]), None)


def test_one_long_string_among_numbers_takes_no_memory() -> None:
    """NumPy would make each of the others as long: here 40 GB."""
    values = [1.0, "a" * 100_000, *["b"] * 100_000]
    for wanted in (taking("DT_FLOAT", -1), taking("DT_INT64", -1), taking("DT_BOOL", -1)):
        with pytest.raises(InvalidRequest, match="Input 'x' takes"):
            tensor_json.to_arrays(tensor_json.JsonRequest("serving_default", False, values), wanted, None)


def test_a_number_that_no_double_holds_is_too_large_and_infinity_is_a_word() -> None:
    wanted = taking("DT_DOUBLE", -1)
    assert tensor_json.to_arrays(tensor_json.parse(b'{"inputs": [1e308, -Infinity]}'), wanted, None)["x"][1] == -np.inf
    with pytest.raises(InvalidRequest, match="'x' takes DT_DOUBLE; a number is too large"):
        tensor_json.to_arrays(tensor_json.parse(b'{"inputs": [1, 1e309]}'), wanted, None)
