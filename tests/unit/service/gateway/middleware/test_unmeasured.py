"""Bodies in chunks and compressed ones: taken like others, and limited by what comes out of them."""

import gzip
import json
import zlib

import pytest
from flask.testing import FlaskClient

URL = "/v1/models/letters:predict"


def post(client: FlaskClient, body: bytes, encoding: str = "gzip") -> tuple[int, dict[str, object]]:
    answer = client.post(URL, data=body, headers={"Content-Encoding": encoding, "Content-Type": "application/json"})
    return answer.status_code, answer.get_json()


def pixels(**more: object) -> bytes:
    return json.dumps({"instances": [[[[1, 2, 3]] * 3] * 2], **more}).encode()


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip"])
def test_a_compressed_body_is_answered_as_if_it_were_not(client: FlaskClient, encoding: str) -> None:
    plain = client.post(URL, data=pixels(), content_type="application/json").get_json()
    assert post(client, gzip.compress(pixels()), encoding) == (200, plain)
    assert post(client, pixels(), "identity") == (200, plain)


def test_deflate_is_taken_too(client: FlaskClient) -> None:
    plain = client.post(URL, data=pixels(), content_type="application/json").get_json()
    assert post(client, zlib.compress(pixels()), "deflate") == (200, plain)
    assert post(client, zlib.compress(b" " * 50_000_000), "deflate")[0] == 413
    assert "not deflate" in str(post(client, gzip.compress(pixels()), "deflate")[1]["error"])


def in_chunks(client: FlaskClient, body: bytes) -> tuple[int, dict[str, object]]:
    chunks = {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    answer = client.post(URL, data=body, content_type="application/json", environ_overrides=chunks)
    return answer.status_code, answer.get_json()


def test_chunks_are_counted_as_they_come(client: FlaskClient) -> None:
    plain = client.post(URL, data=pixels(), content_type="application/json").get_json()
    fits = pixels() + b" " * (20_000 - len(pixels()))
    assert in_chunks(client, fits) == (200, plain)
    assert post(client, gzip.compress(fits)) == (200, plain)
    status, answer = in_chunks(client, fits + b" ")
    assert status == 413
    assert "20000 bytes" in str(answer["error"])
    assert post(client, gzip.compress(fits + b" "))[0] == 413


def test_a_bomb_is_refused_by_what_comes_out(client: FlaskClient) -> None:
    status, answer = post(client, gzip.compress(b" " * 50_000_000))
    assert status == 413
    assert "20000 bytes" in str(answer["error"])


def test_a_stream_that_holds_nothing_is_limited_too(client: FlaskClient) -> None:
    empty_blocks = gzip.compress(b"")[:10] + b"\x00\x00\x00\xff\xff" * 30_000
    for chunks in ({}, {"environ_overrides": {"CONTENT_LENGTH": "", "wsgi.input_terminated": True}}):
        answer = client.post(URL, data=empty_blocks, headers={"Content-Encoding": "gzip"}, **chunks)
        assert answer.status_code == 413


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{}", "not gzip"),
        (gzip.compress(pixels())[:-9], "truncated"),
        (b"", "truncated"),
        (b"\x1f\x8b\x08" + b"\xff" * 40, "not gzip"),
    ],
)
def test_what_is_no_gzip_is_told(client: FlaskClient, body: bytes, says: str) -> None:
    status, answer = post(client, body)
    assert status == 400
    assert says in str(answer["error"])


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "zstd"])
def test_other_encodings_are_not_taken(client: FlaskClient, encoding: str) -> None:
    status, answer = post(client, b"{}", encoding)
    assert status == 415
    assert "gzip" in str(answer["error"])
