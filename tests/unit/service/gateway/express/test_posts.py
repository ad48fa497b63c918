"""Posted images are read only where nothing about them is unusual."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.gateway.express import posts
from service.gateway.express.posts import Post

LIMIT = 1000
IMAGE = b"\x89PNG and so on"


def request(
    path: str = "/v1/models/m:predict", headers: str = "Host: h\r\nContent-Type: image/png\r\n", body: bytes = IMAGE
) -> bytes:
    return f"POST {path} HTTP/1.1\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body


def test_a_posted_image_is_read() -> None:
    data = request(headers="host: h\r\nCONTENT-TYPE:  image/png \r\nX-Request-ID: seven\r\nConnection: keep-alive\r\n")
    post = posts.read(data, LIMIT)
    assert isinstance(post, Post)
    assert (post.name, post.version, post.label, post.image, post.data) == ("m", None, None, IMAGE, data)
    assert post.header(b"x-request-id") == "seven"
    assert post.header(b"x-api-key") == ""


def test_version_and_label() -> None:
    numbered = posts.read(request("/v1/models/m/versions/12:predict"), LIMIT)
    labelled = posts.read(request("/v1/models/m/labels/stable:predict"), LIMIT)
    assert isinstance(numbered, Post)
    assert isinstance(labelled, Post)
    assert (numbered.version, labelled.label) == (12, "stable")
    assert (labelled.spec("id").label, labelled.spec("id").request_id) == ("stable", "id")


@pytest.mark.parametrize("missing", [1, 5, len(IMAGE)])
def test_what_is_missing_is_told(missing: int) -> None:
    assert posts.read(request()[:-missing], LIMIT) == missing


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET /v1/models/m HTTP/1.1\r\nHost: h\r\n\r\n",
        request()[:40],
        request().replace(b"POST", b"post"),
        request().replace(b"HTTP/1.1", b"HTTP/1.0"),
        request("/v1/models/m:predict?top_k=1"),
        request("/v1/models/m%20n:predict"),
        request("/V1/models/m:predict"),
        request("/v1/models/m/versions/1234567890123456789:predict"),
        request(headers="Content-Type: image/png\r\n"),
        request(headers="Host: h\r\nContent-Type: application/json\r\n"),
        request(headers="Host: h\r\nContent-Type: multipart/form-data; boundary=x\r\n"),
        request(headers="Host: h\r\nContent-Type: application/octet-stream\r\n", body=b' {"instances": []}'),
        request(headers="Host: h\r\nContent-Type: image/png\r\nHost: i\r\n"),
        request(headers="Host: h\r\nContent-Type: image/png\r\nContent-Length: 3\r\n"),
        request(headers="Host: h\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n"),
        request(headers="Host: h\r\nContent-Type: image/png\r\nTransfer-Encoding : chunked\r\n"),
        request(headers="Host: h\r\nContent-Type: image/png\r\nConnection: close\r\n"),
        request(headers="Host: h\r\nContent-Type: image/png\r\nExpect: 100-continue\r\n"),
        request(headers="Host: h\r\nContent-Type: image/png\r\nContent-Encoding: gzip\r\n"),
        request(headers="Host: h\r\nContent-Type: image/png\r\n folded: yes\r\n"),
        request(headers="Host: h\r\nContent-Type: image/png\r\nX: \xe9\r\n"),
        request(headers="Host: h\r\nContent-Type: image/png\r\nX: a\rb\r\n"),
        request(headers="Host: h\nContent-Type: image/png\r\n"),
        request(headers="Host: h\r\nContent-Type: image/png\r\nX: " + "y" * 5000 + "\r\n"),
        request().replace(b"Content-Length: ", b"Content-Length: +"),
        request().replace(b"Content-Length: ", b"Content-Length: 0"),
        request(body=b""),
        request(body=b"x" * (LIMIT + 1)),
        request() + request(),
    ],
)
def test_anything_unusual_is_left_alone(data: bytes) -> None:
    assert posts.read(data, LIMIT) is None


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_changed_byte_never_changes_how_long_the_body_is(at: int, byte: int) -> None:
    """What is read has as many bytes after its head as it says: nothing is left for a next request."""
    data = bytearray(request())
    data[at % len(data)] = byte
    post = posts.read(bytes(data), LIMIT)
    if isinstance(post, Post):
        assert int(post.header(b"content-length")) == len(post.image) == len(data) - data.index(b"\r\n\r\n") - 4
