"""The bytes of an answer over HTTP, for who has no server to write them."""

import time
from collections.abc import Mapping
from email.utils import formatdate


def write(body: bytes, headers: Mapping[str, str], keep_alive: bool) -> bytes:
    """Write a good answer.

    Args:
        body: of the answer.
        headers: besides those that every answer has.
        keep_alive: whether the connection stays open.
    """
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = (
        f"HTTP/1.1 200 OK\r\nServer: gunicorn\r\nDate: {_date()}\r\n"
        f"Connection: {'keep-alive' if keep_alive else 'close'}\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
    )
    return head.encode("latin-1") + body


_dates: dict[int, str] = {}


def _date() -> str:
    """The time as HTTP writes it, made once a second."""
    now = int(time.time())
    if now not in _dates:
        _dates.clear()
        _dates[now] = formatdate(now, usegmt=True)
    return _dates.get(now) or formatdate(now, usegmt=True)
