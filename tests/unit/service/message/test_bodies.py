"""Bodies are the same in whatever pieces they come, and what follows them is left for the next request."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidRequest, TooSlow
from service.message.bodies import Body
from tests.unit.service.message.heads_table import CHUNKS, TAKEN, Case

NEXT = b"GET / HTTP/1.1\r\n\r\n"


def source(data: bytes, step: int) -> Callable[[int], bytes]:
    """What a client sends, in pieces of so many bytes, then its end."""
    left = [data]

    def receive(size: int) -> bytes:
        piece = left[0][: min(size, step)]
        left[0] = left[0][len(piece) :]
        return piece

    return receive


def chunked(pieces: list[bytes]) -> bytes:
    return b"".join(b"%x;x=1\r\n%s\r\n" % (len(piece), piece) for piece in pieces if piece) + b"0\r\nX: y\r\n\r\n"


def read_all(body: Body, sizes: list[int]) -> bytes:
    read, number = b"", 0
    while piece := body.read(sizes[number % len(sizes)]):
        read += piece
        number += 1
    return read


@given(
    st.lists(st.binary(max_size=40)), st.integers(0, 100), st.integers(1, 30), st.lists(st.integers(1, 50), min_size=1)
)
def test_a_body_comes_whole(pieces: list[bytes], came: int, step: int, sizes: list[int]) -> None:
    data = b"".join(pieces)
    for length, sent in ((len(data), data), (None, chunked(pieces))):
        whole = sent + NEXT
        body = Body(whole[:came], length, source(whole[came:], step))
        assert read_all(body, sizes) == data
        assert body.skip(0)
        assert not body.broken
        assert NEXT.startswith(body.rest)
        again = Body(whole[:came], length, source(whole[came:], step))
        assert again.read() == data


@pytest.mark.parametrize("case", CHUNKS, ids=[case.name for case in CHUNKS])
@pytest.mark.parametrize("step", [1, 1000])
def test_chunks_that_servers_are_known_to_read_differently(case: Case, step: int) -> None:
    sent = case.data[case.data.index(b"\r\n\r\n") + 4 :]
    body = Body(b"", None, source(sent, step))
    if case.expected == TAKEN:
        body.read()
        assert body.ends_within(0)
    else:
        with pytest.raises(InvalidRequest):
            body.read()
        assert body.broken
        assert not body.ends_within(1000)


def test_one_that_is_broken_off_is_the_clients_error() -> None:
    for length, sent in ((10, b"12345"), (None, b"5\r\n123")):
        body = Body(b"", length, source(sent, 3))
        with pytest.raises(InvalidRequest, match="truncated"):
            body.read()
        assert body.broken


def test_what_nobody_read_is_skipped_if_it_is_little() -> None:
    body = Body(b"123" + NEXT, 3, source(b"", 1))
    assert body.ends_within(0)
    assert body.skip(0)
    assert body.rest == NEXT
    assert not Body(b"", 1000, source(b"x" * 1000, 10)).skip(999)
    assert Body(b"", 1000, source(b"x" * 1000, 10)).skip(1000)
    assert not Body(b"", None, source(chunked([b"x"]), 10)).skip(1000)  # nobody knows how much


def test_a_client_that_waits_is_asked_once_and_only_for_what_is_wanted() -> None:
    asked: list[int] = []
    body = Body(b"", 4, source(b"1234", 1), lambda: asked.append(1))
    assert not body.ends_within(1000)
    assert not asked
    assert body.read() == b"1234"
    assert asked == [1]
    assert Body(b"1234", 4, source(b"", 1), lambda: asked.append(1)).read() == b"1234"
    assert asked == [1]


def test_one_that_comes_too_slowly_ends_the_connection() -> None:
    def receive(_: int) -> bytes:
        raise TooSlow("It comes too slowly.")

    body = Body(b"12", 4, receive)
    with pytest.raises(TooSlow):
        body.read()
    assert body.broken


def test_lines() -> None:
    body = Body(b"one\ntwo\nthree", 13, source(b"", 1))
    assert body.readline() == b"one\n"
    assert body.readlines() == [b"two\n", b"three"]
