"""JSON within limits: as deep as it may be, and cheap to refuse."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidRequest
from service.gateway.bodies import json_body

DEPTH = 6


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


VALUES = st.recursive(
    st.none() | st.integers() | st.text('[]{}"\\a', max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('[]{}"\\a', max_size=5), inner, max_size=3),
    max_leaves=40,
)


@given(VALUES)
def test_what_is_deeper_is_refused_and_nothing_else(value: Any) -> None:
    body = json.dumps(value).encode()
    if depth(value) <= DEPTH:
        assert json_body.parse(body, DEPTH) == value
    elif not any(bracket in text for text in body.decode().split('"')[1::2] for bracket in "]}"):
        with pytest.raises(InvalidRequest, match=f"more than {DEPTH} lists"):
            json_body.parse(body, DEPTH)


@pytest.mark.parametrize(
    "body",
    [b"[" * 2_000_000, b"[" * 10**6 + b"]" * 10**6, b'{"a":[' * 500_000, b'"[' * 10**6, b'["' + b'\\"[' * 10**6],
    ids=["opened", "closed", "objects", "quotes", "escapes"],
)
def test_megabytes_of_brackets_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        json_body.parse(body, 64)


def test_brackets_in_strings_that_hide_depth_do_no_harm() -> None:
    with pytest.raises(InvalidRequest):
        json_body.parse(b'["]",' * 200_000, 64)


def test_nan_and_infinity_are_numbers() -> None:
    assert json_body.parse(b"[Infinity]", 64) == [float("inf")]
