"""A request is refused where it arrives only if it has arrived whole and asks for a model to run."""

import json
import socket
import ssl
from collections.abc import Iterator

import pytest

from service.http import refusal

PREDICT = b"POST /v1/models/m/versions/2:predict?top_k=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nimage"


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize(
    "request_",
    [
        PREDICT,
        b"POST /v1/models/m:classify HTTP/1.1\r\ncontent-length:2\r\nHost: h\r\n\r\n{}",
        b"POST /v1/models/m/labels/x:regress HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        b"POST /v2/models/m/infer HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
def test_a_whole_request_is_refused_and_the_connection_stays_usable(
    pair: tuple[socket.socket, socket.socket], request_: bytes
) -> None:
    ours, theirs = pair
    theirs.sendall(request_ + b"GET /next")
    assert refusal.refuse(ours, 2.3)
    head, _, body = theirs.recv(4096).partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ") for line in lines)
    assert status == "HTTP/1.1 429 Too Many Requests"
    assert headers["Retry-After"] == "3"
    assert len(headers["X-Request-ID"]) == 32
    assert int(headers["Content-Length"]) == len(body)
    assert "2.3 s" in json.loads(body)["error"]
    assert ours.recv(100) == b"GET /next"


def test_the_clients_id_comes_back(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.sendall(PREDICT.replace(b"Host: h", b"x-request-id: mine-1"))
    assert refusal.refuse(ours, 0.0)
    answer = theirs.recv(4096)
    assert b"X-Request-ID: mine-1\r\n" in answer
    assert b"Retry-After: 1\r\n" in answer


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        PREDICT[:40],
        PREDICT[:-1],
        PREDICT.replace(b"POST", b"GET"),
        PREDICT.replace(b":predict", b"/metadata"),
        PREDICT.replace(b"HTTP/1.1", b"HTTP/1.0"),
        PREDICT.replace(b"Host: h", b"Expect: 100-continue"),
        PREDICT.replace(b"Host: h", b"Transfer-Encoding: chunked"),
        PREDICT.replace(b"Host: h", b"Connection: close"),
        PREDICT.replace(b"Content-Length: 5", b"Content-Length: -5"),
        PREDICT.replace(b"Content-Length: 5", b"Accept: */*"),
        PREDICT.replace(b"Content-Length: 5", b"Content-Length: 70000") + b"x" * 70000,
        PREDICT.replace(b"Host: h", b"Cookie: " + b"c" * 5000),
    ],
)
def test_any_other_is_left_alone(pair: tuple[socket.socket, socket.socket], request_: bytes) -> None:
    ours, theirs = pair
    theirs.sendall(request_)
    assert not refusal.refuse(ours, 1.0)
    theirs.sendall(b"!")
    assert ours.recv(1 << 20).startswith(request_ or b"!")


def test_what_speaks_tls_is_left_alone(pair: tuple[socket.socket, socket.socket]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours = context.wrap_socket(pair[0], server_side=True, do_handshake_on_connect=False)
    with ours:
        pair[1].sendall(PREDICT)
        assert not refusal.refuse(ours, 1.0)


def test_a_client_that_has_left_is_told_apart(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.sendall(PREDICT)
    theirs.close()
    with pytest.raises(OSError, match="pipe"):
        refusal.refuse(ours, 1.0)
