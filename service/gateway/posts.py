"""A posted image as it comes from a connection: read only where nothing about it is unusual.

What `read` takes means the same to any HTTP server (RFC 9112); whatever could be read in two ways, or asks for more
than an answer, is left to gunicorn and Flask, byte by byte as it came.
"""

import re
from dataclasses import dataclass
from typing import Final

from service.engine.interface import ModelSpec

_HEAD: Final = re.compile(
    rb"POST /v1/models/([\w.-]+)(?:/versions/(\d{1,18})|/labels/([\w.-]+))?:predict HTTP/1\.1\r\n"
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
# Content types under which clients send both images and JSON; these first bytes may be those of JSON.
_VAGUE: Final = (b"application/x-www-form-urlencoded", b"application/octet-stream", b"binary/octet-stream")
_OF_JSON: Final = b" \t\r\n{["


@dataclass(frozen=True, slots=True)
class Post:
    """A posted image.

    Attributes:
        name: of the model.
        version: its number, where the client names one.
        label: the same for a label.
        headers: by name in lower case.
        image: the encoded image.
        data: all that came, should somebody else have to answer it.
    """

    name: str
    version: int | None
    label: str | None
    headers: dict[bytes, bytes]
    image: bytes
    data: bytes

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
        A posted image; or how many bytes of one are still to come; or None for anything else.
    """
    found = _HEAD.match(data, 0, _LONGEST_HEAD)
    if found is None:
        return None
    name, version, label, lines = found.groups()
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
    kind = headers.get(b"content-type", b"")
    if missing < 0 or not (kind.startswith(b"image/") or (kind in _VAGUE and data[start : start + 1] not in _OF_JSON)):
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
    )
