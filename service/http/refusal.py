"""The cheapest way to say no: a request is read and refused in the thread that accepts, before any other sees it.

Where requests are small, to hand one to a thread and parse it costs a good part of what its answer does, and a service
that is overloaded would spend its time on refusals. This reads a request only if all of it has arrived and it asks for
a model to run; any other goes the usual way and is refused there.
"""

import fcntl
import json
import math
import re
import secrets
import socket
import ssl
import struct
import termios
from functools import lru_cache
from typing import Final

from service.admission import too_many
from service.client_socket import PEEK

# Seconds after which a client is told that it is refused. One that asks again at once, without end, is slowed by it.
PAUSE_S: Final = 0.05
# Bytes of a head at most, and of a whole request; a larger one goes the usual way.
_HEAD: Final = 4096
_MOST: Final = 1 << 16
_WANTED: Final = re.compile(
    rb"POST /v[12]/models/[^ ?]*(?::predict|:classify|:regress|/infer)(?:\?[^ ]*)? HTTP/1\.1\r\n"
)
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*\r\n", re.IGNORECASE)
_ID: Final = re.compile(rb"\r\nx-request-id:[ \t]*([\w.:/+=@-]{1,128})[ \t]*\r\n", re.IGNORECASE)
# Heads with one of these are for the parser.
_ODD: Final = re.compile(rb"\r\n(?:transfer-encoding|expect|upgrade|connection:[ \t]*close)", re.IGNORECASE)


def refuse(connection: socket.socket, wait_s: float) -> bool:
    """Read the request that has arrived on a connection and refuse it.

    Args:
        connection: of a client, kept alive.
        wait_s: how long it would have waited, by estimate.

    Returns:
        Whether that was done; if not, nothing was read.

    Raises:
        OSError: the client has gone, or does not read.
    """
    if isinstance(connection, ssl.SSLSocket):
        return False
    try:
        head, end, _ = connection.recv(_HEAD, PEEK).partition(b"\r\n\r\n")
    except BlockingIOError:
        return False
    head += b"\r\n"
    length = _LENGTH.search(head)
    if not end or length is None or not _WANTED.match(head) or _ODD.search(head):
        return False
    size = len(head) + 2 + int(length[1])
    if size > min(_MOST, _arrived(connection)):
        return False
    connection.recv(size, socket.MSG_DONTWAIT)
    answer = _answer(_ID.search(head), wait_s)
    if connection.send(answer, socket.MSG_DONTWAIT) < len(answer):
        raise BlockingIOError("The client does not read.")
    return True


def _arrived(connection: socket.socket) -> int:
    """Bytes that can be read from a connection at once."""
    size: int = struct.unpack("i", fcntl.ioctl(connection, termios.FIONREAD, b"\0\0\0\0"))[0]
    return size


@lru_cache(64)
def _body(error: str) -> bytes:
    return json.dumps({"error": error}).encode()


def _answer(request_id: re.Match[bytes] | None, wait_s: float) -> bytes:
    body = _body(too_many(wait_s))
    shown = request_id[1].decode() if request_id else secrets.token_hex(16)
    head = (
        "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nRetry-After: {max(1, math.ceil(wait_s))}\r\n"
        f"X-Request-ID: {shown}\r\nServer-Timing: total;dur=0.0\r\n\r\n"
    )
    return head.encode() + body
