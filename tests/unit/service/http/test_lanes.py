"""What the express lanes leave to threads is counted like everything else."""

import threading
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

    held: list[int] = []
    with running(engine(), replace(SETTINGS, answer_timeout_s=PATIENCE_S)) as front, front.client() as client:

        def poll(sock: ClientSocket, event: int, wait_s: float) -> bool:
            del event, wait_s
            if sock.aside:
                held.append(front.queue._held)
                reads.set()
            return sock.aside

        monkeypatch.setattr(ClientSocket, "send", sends_once_read)
        monkeypatch.setattr(ClientSocket, "_poll", poll)
        client.sendall(post())
        assert read_answers(client, 1)[0].status == 200
    assert held == [0]
