"""Heads are read strictly, in whatever pieces they come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.message import heads
from service.message.heads import Head, Limits, Refused
from tests.unit.service.message.heads_table import CASES, CHUNKS, REFUSED, TAKEN, Case

LIMITS = Limits(line_bytes=8190, field_bytes=8190, fields=100)
OF_HEADS = [case for case in CASES if case not in CHUNKS]


def read(data: bytes, step: int, limits: Limits = LIMITS) -> Head | int | None:
    """What becomes of a head that comes in pieces of so many bytes: itself, the status of its refusal, or nothing."""
    came, seen = b"", 0
    for at in range(0, len(data), step):
        came += data[at : at + step]
        try:
            head = heads.read(came, seen, limits)
        except Refused as refused:
            return refused.status
        if head is not None:
            return head
        seen = len(came)
    return None


def expected(case: Case) -> int | None:
    return None if case.expected == TAKEN else 400 if case.expected == REFUSED else int(case.expected)


@pytest.mark.parametrize("case", OF_HEADS, ids=[case.name for case in OF_HEADS])
@pytest.mark.parametrize("step", [1 << 20, 1])
def test_what_servers_are_known_to_read_differently(case: Case, step: int) -> None:
    if step == 1 and len(case.data) > 20_000:
        pytest.skip("comes in larger pieces in life")
    found = read(case.data, step)
    if case.expected == TAKEN:
        assert isinstance(found, Head)
        assert found.keeps != case.closes
    elif case.name == "length of 10 TB":  # the limit of bodies is the application's
        assert isinstance(found, Head)
    else:
        assert found == expected(case)


@given(st.integers(0, 1000), st.integers(0, 255), st.sampled_from(OF_HEADS), st.integers(1, 60))
def test_the_pieces_in_which_a_head_comes_change_nothing(at: int, byte: int, case: Case, step: int) -> None:
    data = bytearray(case.data[:5000])
    data[at % len(data)] = byte
    assert read(bytes(data), step) == read(bytes(data), 1 << 20)


@given(st.binary(max_size=300), st.integers(1, 50))
def test_no_bytes_are_an_error_of_the_reader(data: bytes, step: int) -> None:
    read(data, step)


def test_what_is_read() -> None:
    head = heads.read(
        b"POST /a?b=%20c HTTP/1.1\r\nHost: h\r\nX: 1\r\nx:\t2 \r\nContent-Length: 3\r\n\r\nabcd", 0, LIMITS
    )
    headers = {"host": "h", "x": "1, 2", "content-length": "3"}
    assert head == Head("POST", "/a?b=%20c", "1", headers, 3, True, 68)


def test_limits_are_told_with_their_values() -> None:
    small = Limits(line_bytes=50, field_bytes=60, fields=3)
    for data, status, says in (
        (b"GET /" + b"a" * 60 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 414, "50 bytes"),
        (b"GET /" + b"a" * 60, 414, "50 bytes"),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"a" * 70 + b"\r\n\r\n", 431, "60 bytes"),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\nX: a\r\nX: a\r\n\r\n", 431, "3 fields"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 1000, 431, f"{small.head_bytes} bytes"),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 200, 431, "3 fields"),
    ):
        with pytest.raises(Refused, match=says) as refused:
            heads.read(data, 0, small)
        assert refused.value.status == status
