"""A client's connection: quick ones cost nothing, slow ones have their time and no more."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from service.client_socket import ClientSocket, Patience
from service.errors import TooSlow

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
    service.expect_header()
    assert service.recv(10) == b"GET"
    service.sendall(b"200")
    assert client.recv(10) == b"200"
    assert not service.aside
    assert room.left == 10


def receive_all(service: ClientSocket) -> None:
    while service.recv(10):
        pass


@pytest.mark.parametrize("stage", ["header", "body"])
def test_a_client_that_trickles_has_its_time_in_all(pair: tuple[ClientSocket, socket.socket], stage: str) -> None:
    service, client = pair
    told: list[bool] = []
    if stage == "header":
        service.expect_header()
    else:
        service.expect_body(lambda: told.append(True))
    stop = threading.Event()
    sender = threading.Thread(target=trickle, args=(client, stop))
    sender.start()
    try:
        with pytest.raises(TooSlow, match=f"{stage} took more than the 0.3 s"):
            receive_all(service)
    finally:
        stop.set()
        sender.join()
    assert service.aside
    assert told == ([True] if stage == "body" else [])


def test_where_too_many_are_slow_one_more_is_refused(pair: tuple[ClientSocket, socket.socket], room: Room) -> None:
    service, _ = pair
    room.left = 0
    service.expect_header()
    with pytest.raises(TooSlow, match="as too many others do"):
        service.recv(1)


def test_a_client_that_does_not_read_is_left(pair: tuple[ClientSocket, socket.socket]) -> None:
    service, _ = pair
    with pytest.raises(BrokenPipeError, match=r"within 0\.3 s"):
        service.sendall(b"x" * 100_000_000)


def test_a_large_answer_arrives_whole(pair: tuple[ClientSocket, socket.socket]) -> None:
    service, client = pair
    answer = bytes(range(256)) * 20_000
    sender = threading.Thread(target=service.sendall, args=(answer,))
    sender.start()
    with client.makefile("rb") as received:
        assert received.read(len(answer)) == answer
    sender.join()


def test_a_timeout_of_gunicorns_counts_where_it_is_set(pair: tuple[ClientSocket, socket.socket]) -> None:
    service, _ = pair
    service.expect_body(lambda: None)
    began_s = time.monotonic()
    service.settimeout(0.01)
    with pytest.raises(TimeoutError):
        service.recv(1)
    assert time.monotonic() - began_s < 30


def test_a_client_that_has_left_is_the_end(pair: tuple[ClientSocket, socket.socket]) -> None:
    service, client = pair
    client.close()
    service.expect_header()
    assert service.recv(1) == b""
