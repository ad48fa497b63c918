"""What gunicorn refuses before the gateway sees it is answered as JSON too, and nobody else is harmed by it."""

import json
import selectors
import socket
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.http import errors
from gunicorn.workers import gthread

from service.errors import TooSlow
from service.http.gunicorn_worker import JsonWorker
from service.http.waiting_connections import WaitingConnections


class Recorder:
    """Stands in for gunicorn's log."""

    def __getattr__(self, _: str) -> Any:
        return lambda *_, **__: None


def worker() -> JsonWorker:
    """A worker that no process runs."""
    made = JsonWorker.__new__(JsonWorker)
    made.log = Recorder()
    made.cfg = SimpleNamespace(limit_request_line=4094, limit_request_fields=100, limit_request_field_size=8190)
    return made


def answered(error: Exception) -> tuple[str, dict[str, str], bytes]:
    """Status line, headers and body that the client gets."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        worker().handle_error(None, ours, ("192.0.2.1", 1), error)
        ours.shutdown(socket.SHUT_WR)
        received = theirs.makefile("rb").read()
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return status, dict(line.split(": ") for line in lines), body


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidRequestLine("x"), 400),
        (errors.InvalidHeader("ä"), 400),
        (errors.LimitRequestLine(5000, 4094), 414),
        (errors.LimitRequestHeaders("limit request headers fields"), 431),
        (errors.ExpectationFailed("tea"), 417),
        (errors.UnsupportedTransferCoding("br"), 501),
        (TooSlow("The request's header took more than the 10 s that it may take; send it faster."), 408),
        (errors.ConfigurationProblem("whatever it is"), 500),
    ],
)
def test_what_can_not_be_parsed_is_answered_as_json(error: Exception, status: int) -> None:
    line, headers, body = answered(error)
    assert line.startswith(f"HTTP/1.1 {status} ")
    assert headers["Content-Type"] == "application/json"
    assert headers["Connection"] == "close"
    assert int(headers["Content-Length"]) == len(body)
    assert json.loads(body)["error"].endswith(".")


def test_a_limit_is_told_with_its_value() -> None:
    assert "4094 bytes" in answered(errors.LimitRequestLine(5000, 4094))[2].decode()
    assert "100 fields" in answered(errors.LimitRequestHeaders("limit request headers fields"))[2].decode()


def test_a_client_that_has_left_is_nobodys_error() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours:
        worker().handle_error(None, ours, "", errors.InvalidRequestLine("x"))


class Held:
    """A connection that waits."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def close(self) -> None:
        self.sock.close()


def test_a_connection_closed_for_another_is_not_met_any_more() -> None:
    """One that must go for a new one may have ended itself at the same moment, and the poller told of it already."""
    made = worker()
    made.poller = selectors.DefaultSelector()
    made.keepalived_conns, made.pending_conns, made._lingering = (WaitingConnections() for _ in range(3))
    made.nr_conns = 2
    met = []

    def readable(conn: Held, client: socket.socket) -> None:
        met.append(conn)
        made.poller.unregister(client)
        made.keepalived_conns.remove(conn)
        made._close_one()

    pairs = [socket.socketpair() for _ in range(2)]
    with made.poller:
        for ours, theirs in pairs:
            made._await_bytes(Held(ours), made.keepalived_conns, readable, 60)
            theirs.close()
        gthread.ThreadWorker.wait_for_and_dispatch_events(made, 10)
    assert len(met) == 1
    assert made.nr_conns == 1
    assert len(made.keepalived_conns) == 0
    met[0].close()
