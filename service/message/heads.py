"""The head of a request, read strictly: what is taken means the same to every HTTP server (RFC 9110, RFC 9112).

There is no other reader. Whatever two servers could read in two ways is refused, and the connection closes after the
answer: behind a proxy that reads it in the other way, the rest of its body would be taken for the next request.
"""

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

# Repeated patterns are possessive: a byte that does not fit at the end costs one pass.
_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_HEAD: Final = re.compile(
    rb"(?:\r\n)?(" + _TOKEN + rb"++) ([!\"$-~]++) HTTP/1\.(\d)\r\n"
    rb"((?:" + _TOKEN + rb"++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+)\r\n"
)
_LINE: Final = re.compile(rb"(?:\r\n)?" + _TOKEN + rb"+ [!\"$-~]+ HTTP/(\d)\.\d\r\n")
# What a request line may look like before it is complete; no method is longer than this.
_BEGIN: Final = re.compile(rb"(?:\r\n)?(?:" + _TOKEN + rb"{1,32}(?: |\Z)|\Z)|\r\Z")
_TARGET: Final = re.compile(r"/|https?://[^/?@]+(?:[/?]|$)", re.IGNORECASE)
_HOST: Final = re.compile(r"[\w.~!$&'()*+,;=%:\[\]-]*", re.ASCII)
# A second one of these can't be joined to the first, or would make the message ambiguous.
_ONCE: Final = frozenset(("host", "content-length", "content-type", "transfer-encoding", "expect", "authorization"))
_END: Final = b"\r\n\r\n"
# Fields of the greatest length that a whole head may hold, besides its first line.
_LONGEST_FIELDS: Final = 8
# Digits of a length; more can't be meant.
_LENGTH_DIGITS: Final = 15


class Refused(Exception):
    """A head that is not taken; the connection closes after the answer.

    Attributes:
        status: of the answer.
    """

    def __init__(self, status: int, message: str) -> None:
        """Keep both; the message says what is wrong, with what, and what would be right."""
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a head may be: bytes of its first line and of each field, and how many fields."""

    line_bytes: int
    field_bytes: int
    fields: int

    @property
    def head_bytes(self) -> int:
        """Bytes of the whole head."""
        return self.line_bytes + _LONGEST_FIELDS * self.field_bytes


class Head(NamedTuple):
    """The head of a request.

    Attributes:
        method: as it was sent.
        target: as it was sent.
        minor: of HTTP/1's minor version, the digit.
        headers: by name in lower case; repeated ones joined by ", ".
        length: of the body in bytes; None if it comes in chunks.
        keeps: whether the client keeps the connection open after the answer.
        size: bytes of the head itself, the empty line included.
    """

    method: str
    target: str
    minor: str
    headers: dict[str, str]
    length: int | None
    keeps: bool
    size: int


def read(data: bytes, seen: int, limits: Limits) -> Head | None:
    """Read the head at the beginning of what came on a connection.

    Args:
        data: what came.
        seen: bytes of it for which this returned None before.
        limits: longer heads are refused.

    Returns:
        The head; None while it is not complete.

    Raises:
        Refused: it can't be taken, or can't become one that could.
    """
    end = data.find(_END, max(0, seen - 3), limits.head_bytes)
    if end < 0:
        _check_begin(data, seen, limits)
        return None
    found = _HEAD.match(data, 0, end + 4)
    if found is None:
        raise _why(data)
    method, target, minor, fields = found.groups()
    if fields.count(b"\n") > limits.fields:
        raise _too_many_fields(limits)
    headers: dict[str, str] = {}
    lines = fields.decode("latin-1").split("\r\n")
    lines.pop()
    for line in lines:
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip(" \t")
        if name in headers:
            if name in _ONCE:
                raise Refused(400, f"The request has more than one {name.title()} field; send one.")
            value = f"{headers[name]}, {value}"
        headers[name] = value
    if end > min(limits.field_bytes, limits.line_bytes):
        _check_sizes(data, lines, limits)
    text = target.decode("ascii")
    if not text.startswith("/") or method == b"CONNECT":
        _check_form(method, text)
    current = minor != b"0"
    host = headers.get("host")
    if host is None:
        if current:
            raise Refused(400, "The request has no Host field, which HTTP/1.1 requires.")
    elif not _HOST.fullmatch(host):
        raise Refused(400, "The request's Host field is not a host name, with or without a port.")
    if "expect" in headers and headers["expect"].lower() != "100-continue":
        raise Refused(417, "Expect can only be 100-continue.")
    length = _length(headers, current)
    keeps = _keeps(headers, current)
    return Head(method.decode("ascii"), text, minor.decode("ascii"), headers, length, keeps, found.end())


def _length(headers: dict[str, str], current: bool) -> int | None:
    stated = headers.get("content-length")
    coding = headers.get("transfer-encoding")
    if coding is not None:
        if stated is not None:
            raise Refused(400, "The request has both Content-Length and Transfer-Encoding; send one of them.")
        if not current:
            raise Refused(400, "HTTP/1.0 has no Transfer-Encoding; send Content-Length.")
        codings = [name.strip(" \t").lower() for name in coding.split(",")]
        if codings == ["chunked"]:
            return None
        if codings[-1] == "chunked" and "chunked" not in codings[:-1]:
            raise Refused(501, "The only Transfer-Encoding supported is chunked; to compress, use Content-Encoding.")
        raise Refused(400, "Transfer-Encoding must end in chunked, once.")
    if stated is None:
        return 0
    if not (stated.isascii() and stated.isdecimal()):
        raise Refused(400, "Content-Length is not a whole number.")
    if len(stated) > _LENGTH_DIGITS:
        raise Refused(413, "Content-Length is larger than any body may be.")
    return int(stated)


def _keeps(headers: dict[str, str], current: bool) -> bool:
    options = headers.get("connection")
    if options is None:
        return current
    names = [name.strip(" \t") for name in options.lower().split(",")]
    return "close" not in names and (current or "keep-alive" in names)


def _check_form(method: bytes, target: str) -> None:
    """Only a path, a URL (RFC 9112, 3.2.2), and the asterisk of OPTIONS are targets here."""
    if target == "*" and method == b"OPTIONS":
        return
    if method == b"CONNECT":
        raise Refused(501, "This is not a proxy; CONNECT is not supported.")
    if not _TARGET.match(target):
        raise Refused(400, "The request's target is neither a path nor an http URL.")


def _check_sizes(data: bytes, lines: list[str], limits: Limits) -> None:
    if any(len(line) > limits.field_bytes for line in lines):
        raise Refused(431, f"The request's header has a field of more than {limits.field_bytes} bytes.")
    if data.find(b"\r\n", 2) > limits.line_bytes:
        raise _long_line(limits)


def _check_begin(data: bytes, seen: int, limits: Limits) -> None:
    """Refuse at once what can't become a head."""
    if len(data) >= limits.head_bytes and data.find(b"\r\n", 2, limits.line_bytes + 4) > 0:
        if data.count(b"\n") > limits.fields:
            raise _too_many_fields(limits)
        raise Refused(431, f"The request's header has more than {limits.head_bytes} bytes.")
    if not _BEGIN.match(data, 0, 40) or data.count(b"\n", seen) != data.count(b"\r\n", max(0, seen - 1)):
        raise _why(data)
    if seen <= limits.line_bytes:
        line = data.find(b"\r\n", 2, limits.line_bytes + 4)
        if line > 0:
            if not _LINE.match(data):
                raise _why(data)
        elif len(data) > limits.line_bytes:
            raise _long_line(limits)


def _why(data: bytes) -> Refused:
    line = _LINE.match(data)
    if line is None:
        return Refused(400, "The request can't be read: its first line is not METHOD TARGET HTTP/1.1.")
    if line[1] != b"1":
        return Refused(505, "This port speaks HTTP/1.1.")
    return Refused(400, "The request can't be read: a line of its header is not NAME: VALUE, ended by CR LF.")


def _long_line(limits: Limits) -> Refused:
    return Refused(414, f"The request's first line has more than {limits.line_bytes} bytes.")


def _too_many_fields(limits: Limits) -> Refused:
    return Refused(431, f"The request's header has more than {limits.fields} fields.")
