"""A client's connection: quick ones cost nothing, slow ones have their time and no more."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from service.errors import TooSlow
from service.http.client_socket import ClientSocket, Patience

PATIENCE = Patience(header_s=0.3, body_s=0.3, answer_s=0.3)


class Room:
    """Counts the threads that step aside."""

    def __init__(self, most: int = 10) -> None:
        self.left = most

    def step_aside(self) -> bool:
        self.left -= 1
        return self.left >= 0


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.fixture
def pair(room: Room) -> Iterator[tuple[ClientSocket, socket.socket]]:
    """The service's end and the client's."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(30)
    made = ClientSocket.of(ours, PATIENCE, room.step_aside)
    with made, theirs:
        yield made, theirs


def trickle(client: socket.socket, stop: threading.Event) -> None:
    while not stop.wait(0.02):
        client.sendall(b"x")


def test_a_quick_client_makes_nobody_step_aside(pair: tuple[ClientSocket, socket.socket], room: Room) -> None:
    service, client = pair
    client.sendall(b"GET")
    service.expect_body()
    assert service.receive(10) == b"GET"
    service.send_all(b"200")
    assert client.recv(10) == b"200"
    assert not service.aside
    assert room.left == 10


def receive_all(service: ClientSocket) -> None:
    while service.receive(10):
        pass


def test_a_client_that_trickles_has_its_time_in_all(pair: tuple[ClientSocket, socket.socket]) -> None:
    service, client = pair
    service.expect_body()
    stop = threading.Event()
    sender = threading.Thread(target=trickle, args=(client, stop))
    sender.start()
    try:
        with pytest.raises(TooSlow, match=r"body took longer than the 0\.3 s"):
            receive_all(service)
    finally:
        stop.set()
        sender.join()
    assert service.aside


def test_where_too_many_are_slow_one_more_is_refused(pair: tuple[ClientSocket, socket.socket], room: Room) -> None:
    service, _ = pair
    room.left = 0
    service.expect_body()
    with pytest.raises(TooSlow, match="as too many others do"):
        service.receive(1)


def test_a_client_that_does_not_read_is_left(pair: tuple[ClientSocket, socket.socket]) -> None:
    service, _ = pair
    with pytest.raises(TooSlow, match=r"within 0\.3 s"):
        service.send_all(b"x" * 100_000_000)


def test_each_answer_has_its_own_time(pair: tuple[ClientSocket, socket.socket]) -> None:
    """Posted images have their bodies received elsewhere, so that nothing but answers is waited for."""
    service, client = pair
    answer = bytes(5_000_000)
    for _ in range(2):
        sender = threading.Thread(target=service.send_all, args=(answer,))
        sender.start()
        with client.makefile("rb") as received:
            assert received.read(len(answer)) == answer
        sender.join()
        time.sleep(PATIENCE.answer_s * 1.1)  # between two requests


def test_a_large_answer_arrives_whole(pair: tuple[ClientSocket, socket.socket]) -> None:
    service, client = pair
    answer = bytes(range(256)) * 20_000
    sender = threading.Thread(target=service.send_all, args=(answer,))
    sender.start()
    with client.makefile("rb") as received:
        assert received.read(len(answer)) == answer
    sender.join()


def test_a_client_that_has_left_is_the_end(pair: tuple[ClientSocket, socket.socket]) -> None:
    service, client = pair
    client.close()
    service.expect_body()
    assert service.receive(1) == b""
