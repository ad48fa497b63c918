"""A posted image, or a tensor of one, as it comes from a connection: read only where nothing about it is unusual.

What `read` takes means the same to any HTTP server (RFC 9112); whatever could be read in two ways, or asks for more
than an answer, is left to gunicorn and Flask, byte by byte as it came.
"""

import re
from dataclasses import dataclass
from typing import Final

from service.interface import ModelSpec

_HEAD: Final = re.compile(
    rb"POST (?:/v1/models/([\w.-]+)(?:/versions/(\d{1,18})|/labels/([\w.-]+))?:predict"
    rb"|/v2/models/([\w.-]+)(?:/versions/(?:(\d{1,18})|([\w.-]+)))?/infer) HTTP/1\.1\r\n"
    rb"((?:[\w!#$%&'*+.^`|~-]+:[\t\x20-\x7e]*\r\n)+)\r\n",
    re.ASCII,
)
_LENGTH: Final = re.compile(rb"[1-9]\d{0,9}")
# Longer heads are gunicorn's, which knows how long they may be.
_LONGEST_HEAD: Final = 4096
# Headers that change how a request is read, or ask for something besides its answer.
_UNUSUAL: Final = frozenset(
    (b"transfer-encoding", b"content-encoding", b"expect", b"upgrade", b"te", b"trailer", b"origin", b"range")
)
# Of the Open Inference Protocol's requests those are taken whose bytes stand behind a JSON no longer than this, with
# one tensor that has one row.
_JSON_LENGTH: Final = b"inference-header-content-length"
_LONGEST_JSON: Final = 2048
_ONE_ROW: Final = re.compile(rb'"shape" ?: ?\[ ?1 ?[,\]]')
_COMPRESSED: Final = (b"gzip", b"deflate")
# Content types under which clients send both images and JSON; these first bytes may be those of JSON.
_VAGUE: Final = (b"application/x-www-form-urlencoded", b"application/octet-stream", b"binary/octet-stream")
_OF_JSON: Final = b" \t\r\n{["


@dataclass(frozen=True, slots=True)
class Post:
    """A posted image, or a request with the tensor of one.

    Attributes:
        name: of the model.
        version: its number, where the client names one.
        label: the same for a label.
        headers: by name in lower case.
        image: the encoded image; of a request the whole body.
        data: all that came, should somebody else have to answer it.
        json_length: bytes of the JSON at the begin of a request's body; None for a posted image.
    """

    name: str
    version: int | None
    label: str | None
    headers: dict[bytes, bytes]
    image: bytes
    data: bytes
    json_length: int | None = None

    def header(self, name: bytes) -> str:
        """The value of a header; empty where there is none."""
        return self.headers.get(name, b"").decode("ascii")

    def spec(self, request_id: str | None) -> ModelSpec:
        """Which servable it asks for."""
        return ModelSpec(self.name, self.version, self.label, request_id)


def read(data: bytes, max_body_bytes: int) -> Post | int | None:
    """Read what came on a connection so far.

    Args:
        data: what came.
        max_body_bytes: larger bodies are somebody else's to refuse.

    Returns:
        What is posted; or how many bytes of it are still to come; or None for anything else.
    """
    found = _HEAD.match(data, 0, _LONGEST_HEAD)
    if found is None:
        return None
    *of_image, name, version, label, lines = found.groups()
    is_request = name is not None
    if not is_request:
        name, version, label = of_image
    headers: dict[bytes, bytes] = {}
    for line in lines.split(b"\r\n"):
        key, _, value = line.partition(b":")
        key = key.lower()
        if key in headers or key in _UNUSUAL:
            return None
        headers[key] = value.strip(b" \t")
    if headers.get(b"connection", b"keep-alive").lower() != b"keep-alive":
        return None
    length = headers.get(b"content-length", b"")
    if not _LENGTH.fullmatch(length) or b"host" not in headers:
        return None
    start = found.end()
    if int(length) > max_body_bytes:
        return None
    missing = start + int(length) - len(data)
    json_length = None
    if is_request:
        stated = headers.get(_JSON_LENGTH, b"")
        if not _LENGTH.fullmatch(stated) or headers.get(b"accept-encoding", b"").lower() in _COMPRESSED:
            return None
        json_length = int(stated)
        end = start + json_length
        if json_length > min(_LONGEST_JSON, int(length)) or (
            len(data) >= end and len(_ONE_ROW.findall(data, start, end)) != 1
        ):
            return None
    elif not _is_image(headers.get(b"content-type", b""), data[start : start + 1]):
        return None
    if missing < 0:
        return None
    if missing > 0:
        return missing
    return Post(
        name.decode(),
        None if version is None else int(version),
        None if label is None else label.decode(),
        headers,
        data[start:],
        data,
        json_length,
    )


def _is_image(kind: bytes, begin: bytes) -> bool:
    return kind.startswith(b"image/") or (kind in _VAGUE and begin not in _OF_JSON)
