"""Classification and regression of examples, over servables without TensorFlow."""

import base64
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service import examples, protocol
from service.errors import InvalidRequest, UnfitSignature
from service.gateway.bodies.b64 import decode_b64
from service.interface import Array, Call, Signature
from tests.fakes import FakeServable, signature, spec

STRINGS = spec("inputs", "DT_STRING", -1)
CLASSES = spec("classes", "DT_STRING", -1, 2)
SCORES = spec("scores", "DT_FLOAT", -1, 2)
VALUES = spec("outputs", "DT_FLOAT", -1, 1)


def example(**features: float) -> Any:
    made = protocol.example_pb2.Example()
    for name, value in features.items():
        made.features.feature[name].float_list.value.append(value)
    return made


def servable(wanted: Signature, outputs: Mapping[str, Array]) -> FakeServable:
    return FakeServable(lambda _, call: {name: outputs[name] for name in call.outputs}, {"s": wanted})


def call(name: str = "s") -> Call:
    return Call(time.monotonic() + 60, name)


def strings(*rows: list[bytes]) -> Array:
    return np.array(rows, dtype=np.object_)


def test_examples_are_serialised_one_by_one() -> None:
    proto = protocol.input_pb2.Input()
    proto.example_list.examples.extend([example(x=1), example(x=2)])
    found = examples.read_input(proto)
    assert [protocol.example_pb2.Example.FromString(each) for each in found] == [example(x=1), example(x=2)]


def test_a_context_stands_behind_every_example() -> None:
    proto = protocol.input_pb2.Input()
    proto.example_list_with_context.context.CopyFrom(example(c=7, x=0))
    proto.example_list_with_context.examples.extend([example(x=1), example(y=2)])
    found = [protocol.example_pb2.Example.FromString(each) for each in examples.read_input(proto)]
    assert found == [example(c=7, x=1), example(c=7, x=0, y=2)]


@pytest.mark.parametrize("kind", [None, "example_list", "example_list_with_context"])
def test_an_input_without_examples_is_refused(kind: str | None) -> None:
    proto = protocol.input_pb2.Input()
    if kind is not None:
        getattr(proto, kind).SetInParent()
    with pytest.raises(InvalidRequest, match=r"Input is empty\."):
        examples.read_input(proto)


def test_classes_and_scores_are_paired() -> None:
    outputs = {"classes": strings([b"a", b"b"]), "scores": np.array([[0.25, 0.75]], np.float32)}
    rows, answer = examples.classify(
        servable(signature([STRINGS], [CLASSES, SCORES]), outputs), np.array([b"e"], np.object_), call()
    )
    assert rows == [[(b"a", 0.25), (b"b", 0.75)]]
    assert answer.batch_rows == 4


@pytest.mark.parametrize(
    ("output", "value", "expected"),
    [
        (CLASSES, strings([b"a", b"b"]), [[(b"a", 0.0), (b"b", 0.0)]]),
        (SCORES, np.array([[1, 2]], np.float32), [[(b"", 1.0), (b"", 2.0)]]),
    ],
)
def test_one_of_classes_and_scores_is_enough(output: Any, value: Array, expected: Any) -> None:
    found = servable(signature([STRINGS], [output]), {output.name: value})
    assert examples.classify(found, np.array([b"e"], np.object_), call())[0] == expected


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_a_regression_is_a_number_for_each_example(shape: tuple[int, ...]) -> None:
    found = servable(signature([STRINGS], [VALUES]), {"outputs": np.array([1, 2], np.float32).reshape(shape)})
    assert examples.regress(found, np.array([b"e", b"f"], np.object_), call())[0] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (signature([STRINGS, spec("more", "DT_STRING", -1)], [SCORES]), "Expected one input Tensor"),
        (signature([spec("x", "DT_STRING", -1)], [SCORES]), "No classification inputs found"),
        (signature([STRINGS], [CLASSES, SCORES, VALUES]), "Expected one or two output Tensors, found 3"),
        (signature([STRINGS], [VALUES]), 'at least one of "classes" or "scores"'),
    ],
)
def test_a_signature_that_does_not_classify_is_told(wanted: Signature, says: str) -> None:
    with pytest.raises(UnfitSignature, match=says):
        examples.classify(servable(wanted, {}), np.array([b"e"], np.object_), call())


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (signature([STRINGS], [CLASSES, SCORES]), "Expected one output Tensor"),
        (signature([STRINGS], [SCORES]), "No regression outputs found"),
        (signature([spec("x", "DT_STRING", -1)], [VALUES]), "No regression inputs found"),
    ],
)
def test_a_signature_that_does_not_regress_is_told(wanted: Signature, says: str) -> None:
    with pytest.raises(UnfitSignature, match=says):
        examples.regress(servable(wanted, {}), np.array([b"e"], np.object_), call())


@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        ({"classes": np.array([b"a"], np.object_)}, r"\[batch_size num_classes\] but got \[1\]"),
        ({"classes": np.array([[1.0]], np.float32)}, "classes Tensor of DT_STRING. Got: DT_FLOAT"),
        ({"classes": strings([b"a"], [b"b"])}, "output batch size of 1. Got: 2"),
        ({"scores": np.array([[1.0]])}, "scores Tensor of DT_FLOAT. Got: DT_DOUBLE"),
        ({"classes": strings([b"a"]), "scores": np.array([[1, 2]], np.float32)}, "Got 1 vs. 2"),
    ],
)
def test_classes_of_another_form_are_told(outputs: dict[str, Array], says: str) -> None:
    wanted = signature([STRINGS], [each for each in (CLASSES, SCORES) if each.name in outputs])
    with pytest.raises(UnfitSignature, match=says):
        examples.classify(servable(wanted, outputs), np.array([b"e"], np.object_), call())


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (np.array([[1, 2]], np.float32), r"either \[batch_size\] or \[batch_size, 1\] but got \[1,2\]"),
        (np.array(1, np.float32), "either"),
        (np.array([1, 2], np.float32), "1 vs. 2"),
        (np.array([1.0]), "DT_FLOAT.  Got: DT_DOUBLE"),
    ],
)
def test_values_of_another_form_are_told(value: Array, says: str) -> None:
    with pytest.raises(UnfitSignature, match=says):
        examples.regress(
            servable(signature([STRINGS], [VALUES]), {"outputs": value}), np.array([b"e"], np.object_), call()
        )


def test_a_missing_signature_is_told() -> None:
    with pytest.raises(InvalidRequest, match="No signature was found with the name: other; the model has s"):
        examples.regress(servable(signature([STRINGS], [VALUES]), {}), np.array([b"e"], np.object_), call("other"))


def read(document: Mapping[str, Any]) -> list[Any]:
    return [protocol.example_pb2.Example.FromString(each) for each in examples.from_json(document, decode_b64)]


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (1, "int64_list", [1]),
        ([1, 2], "int64_list", [1, 2]),
        ([True, False], "int64_list", [1, 0]),
        (1.5, "float_list", [1.5]),
        ([1, 2.5], "float_list", [1.0, 2.5]),
        ("ä", "bytes_list", ["ä".encode()]),
        (["a", {"b64": base64.b64encode(b"\xff").decode()}], "bytes_list", [b"a", b"\xff"]),
        ([-(2**63), 2**63 - 1], "int64_list", [-(2**63), 2**63 - 1]),
    ],
)
def test_json_values_become_features(values: Any, kind: str, expected: list[Any]) -> None:
    [made] = read({"examples": [{"f": values}]})
    assert made.features.feature["f"].WhichOneof("kind") == kind
    assert list(getattr(made.features.feature["f"], kind).value) == expected


def test_a_json_context_stands_behind_every_example() -> None:
    made = read({"context": {"c": 7.0, "x": 0.0}, "examples": [{"x": 1.0}, {"y": 2.0}]})
    assert made == [example(c=7, x=1), example(c=7, x=0, y=2)]


def test_an_empty_feature_has_no_kind() -> None:
    [made] = read({"examples": [{"f": []}]})
    assert made.features.feature["f"].WhichOneof("kind") is None


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({}, '"examples"'),
        ({"examples": {}}, '"examples"'),
        ({"examples": []}, '"examples"'),
        ({"examples": [3]}, "must be a JSON object of features, not Number"),
        ({"examples": [{}], "context": None}, "not Null"),
        ({"examples": [{"f": None}]}, "Feature: f has element with unexpected JSON type: Null"),
        ({"examples": [{"f": [[1]]}]}, "unexpected JSON type: Array"),
        ({"examples": [{"f": {"x": 1}}]}, "unexpected JSON type: Object"),
        ({"examples": [{"f": [1, "a"]}]}, "bytes and int64"),
        ({"examples": [{"f": 2**63}]}, "Only int64"),
        ({"examples": [{"f": 1e300}]}, "no 32-bit float"),
        ({"examples": [{"f": {"b64": "*"}}]}, "not base64"),
        ({"examples": [{"\ud800": 1}]}, "not Unicode text"),
    ],
)
def test_json_of_another_form_is_told(document: Any, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        read(document)


leaves = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=4)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["f", "b64", "\ud800"]), inner),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.fixed_dictionaries({}, optional={"examples": st.lists(values, max_size=2) | values, "context": values}))
def test_any_json_gives_examples_or_is_refused(document: Any) -> None:
    try:
        found = read(document)
    except InvalidRequest as error:
        assert str(error).encode()  # noqa: PT017 - either outcome is right; and the message can be sent
    else:
        assert len(found) == len(document["examples"])
