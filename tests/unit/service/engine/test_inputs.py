"""Do a call's inputs fit a signature: in TF Serving's words."""

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from service.engine.inputs import check_call
from service.errors import InvalidRequest
from service.interface import Call
from tests.fakes import FakeServable, classifier, signature, spec

SERVABLE = FakeServable(
    lambda *_: {},
    {"serving_default": signature([spec("a", "DT_FLOAT", -1), spec("b", "DT_FLOAT", -1)], [spec("y", "DT_FLOAT", -1)])},
)
X = np.zeros(1, np.float32)


def call(*outputs: str) -> Call:
    return Call(time.monotonic() + 60, outputs=outputs)


@pytest.mark.parametrize(
    ("inputs", "outputs", "says"),
    [
        (
            {"a": X},
            (),
            "input size does not match signature: 1!=2 len({a}) != len({a,b}). Sent extra: {}. "
            "Missing but required: {b}.",
        ),
        (
            {"a": X, "b": X, "c": X},
            (),
            "input size does not match signature: 3!=2 len({a,b,c}) != len({a,b}). Sent extra: {c}. "
            "Missing but required: {}.",
        ),
        (
            {"a": X, "c": X},
            (),
            "input tensor alias not found in signature: c. Inputs expected to be in the set {a,b}.",
        ),
        (
            {"a": X, "b": X},
            ("z",),
            "output tensor alias not found in signature: z Outputs expected to be in the set {y}.",
        ),
        ({"a": X, "b": X}, ("y", "y"), "duplicate output tensor alias: y"),
        ({"a": X, "b": np.zeros(1)}, (), "Input 'b' is DT_DOUBLE; the signature takes DT_FLOAT."),
    ],
)
def test_what_does_not_fit_is_told(inputs: dict[str, Any], outputs: tuple[str, ...], says: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_call(SERVABLE, inputs, call(*outputs))
    assert str(caught.value).startswith(says)


def test_shapes_are_for_the_graph_to_judge_but_for_an_image_classifiers() -> None:
    check_call(SERVABLE, {"a": X, "b": np.zeros((3, 1), np.float32)}, call())
    with pytest.raises(InvalidRequest, match=r"'image' has the shape \[1, 1\]; the signature takes \[-1, 2, 3, 3\]"):
        check_call(classifier(), {"image": np.zeros((1, 1), np.uint8)}, call())


def test_what_has_a_default_may_be_left_out() -> None:
    plain = SERVABLE.signatures["serving_default"]
    servable = FakeServable(lambda *_: {}, {"serving_default": replace(plain, defaults={"b": X})})
    check_call(servable, {"a": X}, call())
    check_call(servable, {"a": X, "b": X}, call())
    with pytest.raises(InvalidRequest, match=r"Missing but required: \{a\}.*\(\{b\} may be left out\)"):
        check_call(servable, {"b": X}, call())


def test_what_fits_gives_the_signature() -> None:
    assert check_call(SERVABLE, {"a": X, "b": X}, call("y")) is SERVABLE.signatures["serving_default"]
