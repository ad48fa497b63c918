"""Requests that arrive at a rate, whether or not the service keeps up; and a closed loop to find what it holds.

One epoll loop over keep-alive sockets, with requests made beforehand: about 30 microseconds of CPU for each. A request
that is due while all connections are busy opens another, so a slow service meets more and more requests at once, as it
would from many clients. Latency counts from the moment at which a request was due.
"""

import contextlib
import os
import random
import re
import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_PATIENCE_S: Final = 60.0
# Connections at most; requests that are due beyond that wait here, and their latency shows it.
_MOST: Final = 900
_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_RETRY: Final = re.compile(rb"retry-after: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Answered:
    """One answer.

    Attributes:
        due_s: when its request was due, from the start of the run.
        latency_s: from then until the answer was read.
        status: of HTTP.
        retry_after_s: what a refusal told, else 0.
    """

    due_s: float
    latency_s: float
    status: int
    retry_after_s: int


@dataclass(frozen=True)
class Load:
    """What a run found.

    Attributes:
        answers: to all requests that were due within the run, in the order of the answers.
        wall_s: how long it ran.
        cpu_share: how much of one core the generator took.
        lag_s: how late the last one of a hundred requests was sent (99th percentile).
    """

    answers: Sequence[Answered]
    wall_s: float
    cpu_share: float
    lag_s: float


def closed(port: int, requests: Sequence[bytes], clients: int, seconds: float) -> Load:
    """So many clients, each of which sends its next request when its last was answered."""
    return _Loop(port, requests).run(clients, [], seconds)


def arriving(port: int, requests: Sequence[bytes], rate: float, seconds: float, seed: int = 0) -> Load:
    """Poisson arrivals: on average `rate` requests per second, each when it is due."""
    chance = random.Random(seed)
    due, at = [], chance.expovariate(rate)
    while at < seconds:
        due.append(at)
        at += chance.expovariate(rate)
    return _Loop(port, requests).run(0, due, seconds)


class _Loop:
    def __init__(self, port: int, requests: Sequence[bytes]) -> None:
        with contextlib.suppress(OSError):  # it is for the generator to be on time; not everyone may ask for that
            os.setpriority(os.PRIO_PROCESS, 0, -10)
        self._port = port
        self._requests = requests
        self._sent = 0
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._idle: list[int] = []
        self._due_s: dict[int, float] = {}  # of the request on its way, by connection
        self._parts: dict[int, bytes] = {}
        self._lags_s: list[float] = []

    def run(self, clients: int, due: Sequence[float], seconds: float) -> Load:
        answers: list[Answered] = []
        cpu_s, self._started_s = time.process_time(), time.perf_counter()
        for _ in range(clients):
            self._send(0.0)
        number = 0
        while self._due_s or number < len(due):
            now = self._now()
            if now > seconds + _PATIENCE_S:
                raise TimeoutError(f"{len(self._due_s)} requests were not answered within {_PATIENCE_S:.0f} s.")
            while number < len(due) and due[number] <= now and (self._idle or len(self._sockets) < _MOST):
                self._send(due[number])
                number += 1
            blocked = number < len(due) and due[number] <= now
            wait_s = due[number] - now if number < len(due) and not blocked else 1.0
            for fileno, _ in self._poll.poll(max(0.0, wait_s), 256):
                answer = self._receive(fileno)
                if answer is not None:
                    answers.append(answer)
                    if clients and self._now() < seconds:
                        self._send(self._now())
        load = Load(answers, seconds, (time.process_time() - cpu_s) / self._now(), _last_percent(self._lags_s))
        self._poll.close()
        for connection in self._sockets.values():
            connection.close()
        return load

    def _now(self) -> float:
        return time.perf_counter() - self._started_s

    def _send(self, due_s: float) -> None:
        fileno = self._idle.pop() if self._idle else self._connect()
        self._due_s[fileno] = due_s
        self._lags_s.append(self._now() - due_s)
        self._sockets[fileno].sendall(self._requests[self._sent % len(self._requests)])
        self._sent += 1

    def _connect(self) -> int:
        connection = socket.create_connection(("127.0.0.1", self._port), timeout=_PATIENCE_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sockets[connection.fileno()] = connection
        self._poll.register(connection, select.EPOLLIN)
        return connection.fileno()

    def _drop(self, fileno: int) -> None:
        self._poll.unregister(fileno)
        self._sockets.pop(fileno).close()
        self._parts.pop(fileno, None)
        if fileno in self._idle:
            self._idle.remove(fileno)

    def _receive(self, fileno: int) -> Answered | None:
        """The answer on a connection, or None while a part of it is missing; status 0 where it was cut off."""
        try:
            data = self._sockets[fileno].recv(1 << 18)
        except OSError:
            data = b""
        if not data:
            self._drop(fileno)
            due_s = self._due_s.pop(fileno, None)
            return None if due_s is None else Answered(due_s, self._now() - due_s, 0, 0)
        data = self._parts.pop(fileno, b"") + data
        head, end, body = data.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not end or len(body) < int(length[1] if length else 0):
            self._parts[fileno] = data
            return None
        due_s = self._due_s.pop(fileno)
        retry = _RETRY.search(head)
        answer = Answered(due_s, self._now() - due_s, int(head[9:12]), int(retry[1]) if retry else 0)
        if b"connection: close" in head.lower():
            self._drop(fileno)
        else:
            self._idle.append(fileno)
        return answer


def _last_percent(values: Sequence[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)] if values else 0.0
