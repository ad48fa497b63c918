"""The loop calls once for a connection, at once for other threads, and outlives what goes wrong in a call."""

import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from service.http.loop import Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_connection_is_called_for_once_each_time_it_is_awaited(
    loop: Loop, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    called: list[int] = []
    loop.await_bytes(ours.fileno(), lambda: called.append(1))
    loop.turn(0.0)
    assert called == []
    theirs.sendall(b"x")
    loop.turn(5.0)
    loop.turn(0.0)
    assert called == [1]
    loop.await_bytes(ours.fileno(), lambda: called.append(2))  # its bytes are still there
    loop.turn(5.0)
    assert called == [1, 2]
    loop.await_bytes(ours.fileno(), lambda: called.append(3))
    loop.disarm(ours.fileno())
    loop.turn(0.0)
    assert called == [1, 2]
    loop.await_bytes(ours.fileno(), lambda: called.append(4))
    loop.turn(5.0)
    assert called == [1, 2, 4]


def test_a_number_that_is_used_again_is_another_file(loop: Loop) -> None:
    called: list[int] = []
    for number in range(3):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            loop.await_bytes(ours.fileno(), lambda number=number: called.append(number))  # type: ignore[misc]
            theirs.sendall(b"x")
            loop.turn(5.0)
            loop.await_bytes(ours.fileno(), lambda: called.append(-1))
            loop.forget(ours.fileno())
    loop.turn(0.0)
    assert called == [0, 1, 2]


def test_what_was_readable_is_not_told_of_the_next_file_with_its_number(loop: Loop) -> None:
    called: list[str] = []
    pairs = [socket.socketpair() for _ in range(2)]
    fresh: list[tuple[socket.socket, socket.socket]] = []

    def close_the_other(number: int) -> None:
        called.append("first")
        other = pairs[1 - number][0]
        file = other.fileno()
        loop.forget(file)
        other.close()
        fresh.append(socket.socketpair())
        [again] = [each for each in fresh[0] if each.fileno() == file]
        loop.await_bytes(again.fileno(), lambda: called.append("fresh"))

    for number, (ours, theirs) in enumerate(pairs):
        loop.await_bytes(ours.fileno(), lambda number=number: close_the_other(number))  # type: ignore[misc]
        theirs.sendall(b"x")
    loop.turn(5.0)
    loop.turn(0.0)
    assert called == ["first"]  # nothing came on the fresh one
    for pair in (*pairs, *fresh):
        for each in pair:
            each.close()


def test_other_threads_end_a_wait(loop: Loop) -> None:
    called: list[int] = []
    began_s = time.monotonic()
    threading.Timer(0.05, lambda: loop.call_soon(lambda: called.append(1))).start()
    while not called:
        loop.turn(60.0)
    assert time.monotonic() - began_s < 30


def test_a_call_that_fails_ends_nothing(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    called: list[int] = []

    def fail() -> None:
        raise RuntimeError("for the test")

    loop.call_soon(fail)
    loop.call_soon(lambda: called.append(1))
    loop.turn(0.0)
    assert called == [1]
    assert "unexpectedly" in caplog.text


def test_what_is_watched_is_called_for_as_long_as_there_is_something(loop: Loop) -> None:
    readable, writable = os.pipe()
    called: list[int] = []
    loop.watch(readable, lambda: called.append(1))
    os.write(writable, b"x")
    loop.turn(5.0)
    loop.turn(5.0)
    loop.unwatch(readable)
    loop.turn(0.0)
    assert called == [1, 1]
    os.close(readable)
    os.close(writable)


def test_who_wakes_a_closed_loop_does_no_harm() -> None:
    made = Loop()
    made.close()
    made.wake()
    made.call_soon(lambda: None)
