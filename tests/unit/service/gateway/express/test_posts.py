"""Posted images are taken only where nothing about them is unusual."""

import pytest

from service.gateway.express import posts
from service.gateway.express.posts import Post
from service.message import heads

LIMIT = 1000
IMAGE = b"\x89PNG and so on"
LIMITS = heads.Limits(line_bytes=4094, field_bytes=8190, fields=100)


def request(
    path: str = "/v1/models/m:predict", headers: str = "Host: h\r\nContent-Type: image/png\r\n", body: bytes = IMAGE
) -> bytes:
    return f"POST {path} HTTP/1.1\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body


def read(data: bytes, limit: int = LIMIT) -> Post | None:
    """The post that came, with its body; None if it is for Flask."""
    head = heads.read(data, 0, LIMITS)
    assert head is not None
    post = posts.read(head, limit)
    if post is not None:
        post.body = data[head.size :]
    return post if post is not None and post.is_usual(post.body) else None


def test_a_posted_image_is_read() -> None:
    post = read(request(headers="host: h\r\nCONTENT-TYPE:  image/png \r\nX-Request-ID: seven\r\n"))
    assert post is not None
    assert (post.name, post.version, post.label, post.body) == ("m", None, None, IMAGE)
    assert post.header("x-request-id") == "seven"
    assert post.header("x-api-key") == ""


def test_version_and_label() -> None:
    numbered = read(request("/v1/models/m/versions/12:predict"))
    labelled = read(request("/v1/models/m/labels/stable:predict"))
    assert numbered is not None
    assert labelled is not None
    assert (numbered.version, labelled.label) == (12, "stable")
    assert (labelled.spec("id").label, labelled.spec("id").request_id) == ("stable", "id")


@pytest.mark.parametrize(
    "headers",
    [
        "Host: h\r\nContent-Type: image/png\r\nConnection: close\r\n",
        "Host: h\r\nContent-Type: image/png\r\nX: \xe9\r\n",
        "Host: h\r\nContent-Type: application/octet-stream\r\n",
    ],
)
def test_what_is_usual_enough(headers: str) -> None:
    assert read(request(headers=headers)) is not None
    assert read(request(headers=headers).replace(b"HTTP/1.1", b"HTTP/1.0")) is not None


@pytest.mark.parametrize(
    "data",
    [
        b"GET /v1/models/m HTTP/1.1\r\nHost: h\r\n\r\n",
        request().replace(b"POST", b"post"),
        request("/v1/models/m:predict?top_k=1"),
        request("http://h/v1/models/m:predict"),
        request("/v1/models/m%20n:predict"),
        request("/V1/models/m:predict"),
        request("/v1/models/m/versions/1234567890123456789:predict"),
        request(headers="Host: h\r\nContent-Type: application/json\r\n"),
        request(headers="Host: h\r\nContent-Type: multipart/form-data; boundary=x\r\n"),
        request(headers="Host: h\r\nContent-Type: application/octet-stream\r\n", body=b' {"instances": []}'),
        request(headers="Host: h\r\nContent-Type: image/png\r\nExpect: 100-continue\r\n"),
        request(headers="Host: h\r\nContent-Type: image/png\r\nContent-Encoding: gzip\r\n"),
        request(headers="Host: h\r\nContent-Type: image/png\r\nOrigin: http://h\r\n"),
        request().replace(b"Content-Length: 14", b"Transfer-Encoding: chunked"),
        request(body=b""),
        request(body=b"x" * (LIMIT + 1)),
    ],
)
def test_anything_unusual_is_left_to_flask(data: bytes) -> None:
    assert read(data) is None
