"""Answers as bytes. There is no other writer: whoever answers over HTTP has its head written here."""

import http
import json
import time
from collections.abc import Iterable
from email.utils import formatdate
from functools import lru_cache
from typing import Final

JSON: Final = "application/json"
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

Headers = Iterable[tuple[str, str]]


def write(status: int, body: bytes, headers: Headers, keep_alive: bool) -> bytes:
    """A whole answer.

    Args:
        status: HTTP's.
        body: of the answer.
        headers: besides those that every answer has: Server, Date, Connection, Content-Length.
        keep_alive: whether the connection stays open.
    """
    return head(_reason(status), [*headers, ("Content-Length", str(len(body)))], keep_alive) + body


def head(status: str, headers: Headers, keep_alive: bool) -> bytes:
    """The head of an answer whose length is among its headers, or that is chunked.

    Args:
        status: with its reason, as WSGI has it.
        headers: besides Server, Date and Connection.
        keep_alive: whether the connection stays open.

    Raises:
        ValueError: a header has a line's end in it.
    """
    fields = [f"{name}: {value}\r\n" for name, value in headers]
    lines = "".join(fields)
    if not lines.count("\n") == lines.count("\r") == len(fields):
        raise ValueError("A header of the answer contains a line break.")
    kept = "keep-alive" if keep_alive else "close"
    return (f"HTTP/1.1 {status}\r\nServer: signpost\r\nDate: {_date()}\r\nConnection: {kept}\r\n{lines}\r\n").encode(
        "latin-1"
    )


@lru_cache(64)
def error(message: str) -> bytes:
    """The body that tells an error."""
    return json.dumps({"error": message}).encode()


@lru_cache(64)
def _reason(status: int) -> str:
    return f"{status} {http.HTTPStatus(status).phrase}"


_dates: dict[int, str] = {}


def _date() -> str:
    """The time as HTTP writes it, made once a second."""
    now = int(time.time())
    if now not in _dates:
        _dates.clear()
        _dates[now] = formatdate(now, usegmt=True)
    return _dates.get(now) or formatdate(now, usegmt=True)
