"""What the express lanes leave to threads is counted like everything else."""

import threading
import time
from dataclasses import replace

import pytest

from service.http.client_socket import ClientSocket
from tests.unit.service.http.fronts import PATIENCE_S, read_answers, running
from tests.unit.service.http.test_front import SETTINGS, engine, post


def test_a_client_that_reads_slowly_makes_no_room_for_more_than_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = threading.Event()
    send = ClientSocket.send

    def sends_once_read(sock: ClientSocket, data: bytes) -> int:
        if not reads.is_set():
            raise BlockingIOError
        return send(sock, data)

    monkeypatch.setattr(ClientSocket, "send", sends_once_read)
    monkeypatch.setattr(ClientSocket, "_poll", lambda _, __, wait_s: reads.wait(max(0.0, wait_s)))
    with running(engine(), replace(SETTINGS, answer_timeout_s=60)) as front, front.client() as client:
        client.sendall(post())
        until_s = time.monotonic() + PATIENCE_S
        while front.front._threads._slow == 0 and time.monotonic() < until_s:
            time.sleep(0.001)
        held = front.queue._held
        reads.set()
        assert read_answers(client, 1)[0].status == 200
        assert held == 0
