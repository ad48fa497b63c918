"""The messages of the hop."""

import marshal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.hop import messages
from service.hop.messages import Malformed, Reply, Request

NUMBERS = st.integers(0, 2**80)
TENSORS = st.lists(st.tuples(st.text(), st.text(), st.lists(NUMBERS), NUMBERS))
TIMES = st.floats(0, 1e9)


METADATA = st.lists(st.tuples(st.text(), st.text()))


@given(st.builds(Request, NUMBERS, st.text(), NUMBERS, st.text(), st.lists(st.text()), TIMES, METADATA, TENSORS))
def test_a_request_is_read_as_it_was_written(request: Request) -> None:
    assert messages.read_request(messages.write(request)) == request


@given(st.builds(Reply, NUMBERS, st.text(), st.text(), st.none() | TIMES, TENSORS))
def test_a_reply_is_read_as_it_was_written(reply: Reply) -> None:
    assert messages.read_reply(messages.write(reply)) == reply


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"[]", *map(marshal.dumps, (7, [1, "OK"], (), ("1", "OK", "", None, ()), (1,) * 9))],
)
def test_what_is_none_is_refused(data: bytes) -> None:
    for read in (messages.read_request, messages.read_reply):
        with pytest.raises(Malformed):
            read(data)


@pytest.mark.parametrize(("dtype", "carried"), [("u1", True), ("f4", True), ("?", True), ("O", False), ("S3", False)])
def test_numbers_are_carried_and_nothing_else(dtype: str, carried: bool) -> None:
    assert messages.carries(np.dtype(dtype)) == carried
    assert messages.carries_all({"a": np.zeros(1), "b": np.zeros(1, dtype)}) == carried
