"""A listener that gives no connection costs neither a core nor a log."""

import errno
import socket
import time

import pytest

from tests.unit.service.http.fronts import read_answers, running
from tests.unit.service.http.test_front import LAST, SETTINGS, engine


def test_a_listener_that_fails_is_not_asked_without_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    accepts: list[float] = []
    accept = socket.socket.accept

    def fail(_: socket.socket) -> tuple[socket.socket, object]:
        accepts.append(time.monotonic())
        raise OSError(errno.EMFILE, "Too many open files")

    with running(engine(), SETTINGS) as front:
        monkeypatch.setattr(socket.socket, "accept", fail)
        with front.client() as client:
            time.sleep(0.5)
            assert 1 <= len(accepts) < 20
            assert caplog.text.count("ulimit -n") == 1
            monkeypatch.setattr(socket.socket, "accept", accept)
            client.sendall(LAST)
            assert read_answers(client)[0].status == 200
