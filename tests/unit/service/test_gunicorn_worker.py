"""What gunicorn refuses before the gateway sees it is answered as JSON too."""

import json
import socket
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.http import errors

from service.gunicorn_worker import JsonWorker


class Recorder:
    """Stands in for gunicorn's log."""

    def __getattr__(self, _: str) -> Any:
        return lambda *_: None


def answered(error: Exception) -> tuple[str, dict[str, str], bytes]:
    """Status line, headers and body that the client gets."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        JsonWorker.handle_error(SimpleNamespace(log=Recorder()), None, ours, ("192.0.2.1", 1), error)
        ours.shutdown(socket.SHUT_WR)
        received = theirs.makefile("rb").read()
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return status, dict(line.split(": ") for line in lines), body


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidRequestLine("x"), "HTTP/1.1 400 Bad Request"),
        (errors.InvalidHeader("ä"), "HTTP/1.1 400 Bad Request"),
        (errors.LimitRequestLine(5000, 4094), "HTTP/1.1 414 URI Too Long"),
        (errors.LimitRequestHeaders("limit request headers fields"), "HTTP/1.1 431 Request Header Fields Too Large"),
    ],
)
def test_what_can_not_be_parsed_is_answered_as_json(error: Exception, status: str) -> None:
    line, headers, body = answered(error)
    assert line == status
    assert headers["Content-Type"] == "application/json"
    assert headers["Connection"] == "close"
    assert int(headers["Content-Length"]) == len(body)
    assert json.loads(body)["error"].startswith("The request can't be read: ")


def test_a_client_that_has_left_is_nobodys_error() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours:
        JsonWorker.handle_error(SimpleNamespace(log=Recorder()), None, ours, "", errors.InvalidRequestLine("x"))
