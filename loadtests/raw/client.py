"""A load generator that costs almost nothing: requests made beforehand, keep-alive sockets, one epoll loop.

On few cores a generator competes with the service that it measures. This one takes about 20 to 30 microseconds of CPU
for a request, tells how much it took, and parses nothing while it runs. It is a closed loop: each connection sends its
next request when its last was answered. For load with a rate, users and reports see `loadtests/README.md`.
"""

import re
import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

PATIENCE_S: Final = 60.0
_LENGTH: Final = b"content-length: "
_REFUSED: Final = b"HTTP/1.1 429"
_STAGE: Final = re.compile(r"(\w+);dur=([\d.]+)")
# Of every so many answers one is kept, to read its stages once the run is over.
_KEPT: Final = 7
# Seconds before the time that counts: at first all connections ask at once, and nothing is answered yet.
RAMP_S: Final = 0.5
_PAUSE_S: Final = 0.3


@dataclass(frozen=True)
class Run:
    """What a run found.

    Attributes:
        latencies_s: of each request that was answered within the time that counts.
        refused: requests that were answered 429, as too many came.
        wall_s: how long that time was.
        cpu_s: what the generator took of the CPU in it.
        answered: requests that were answered, those before and after that time too.
        stages_ms: mean of each stage that the service reports, over a sample of the answers.
    """

    latencies_s: list[float]
    refused: int
    wall_s: float
    cpu_s: float
    answered: int
    stages_ms: dict[str, float]

    @property
    def rate(self) -> float:
        """Requests per second."""
        return len(self.latencies_s) / self.wall_s


class GeneratorError(Exception):
    """The service gave another answer than 200 and 429, or none."""


def request(path: str, content_type: str, body: bytes) -> bytes:
    """The bytes of a POST."""
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def form(images: Sequence[bytes], kind: str) -> tuple[str, bytes]:
    """The content type and the body of a form whose files are images."""
    boundary = "signpost-bench-5d1f0c"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{number}"\r\n'
        f"Content-Type: {kind}\r\n\r\n".encode()
        + image
        + b"\r\n"
        for number, image in enumerate(images)
    ]
    return f"multipart/form-data; boundary={boundary}", b"".join(parts) + f"--{boundary}--\r\n".encode()


def run(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> Run:
    """Send requests over and over on so many connections.

    Args:
        port: of the service, on this machine.
        requests: sent in turn.
        connections: how many requests are on their way at any time.
        seconds: how long it counts; it begins `RAMP_S` earlier.

    Raises:
        GeneratorError: an answer other than 200 and 429, or none.
    """
    # The service shares new connections by those it has; of an earlier run's it must have seen the end.
    time.sleep(_PAUSE_S)
    loop = _Loop(port, requests, connections)
    try:
        return loop.run(seconds)
    finally:
        loop.close()


class _Loop:
    def __init__(self, port: int, requests: Sequence[bytes], connections: int) -> None:
        self._requests = requests
        self._next = 0
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        for _ in range(connections):
            connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets[connection.fileno()] = connection
            self._poll.register(connection, select.EPOLLIN)
        self._sent_s = dict.fromkeys(self._sockets, 0.0)
        self._parts: dict[int, bytes] = {}  # of answers that have not come whole

    def run(self, seconds: float) -> Run:
        taken: list[float] = []
        refused = answered = 0
        kept: list[bytes] = []
        since = time.perf_counter() + RAMP_S
        until = since + seconds
        cpu_s = began_cpu_s = time.process_time()
        counts = False
        for number in self._sockets:
            self._send(number)
        waiting = len(self._sockets)
        while waiting:
            events = self._poll.poll(PATIENCE_S)
            if not events:
                raise GeneratorError(f"No answer within {PATIENCE_S:.0f} s.")
            now = time.perf_counter()
            if not counts and now >= since:
                counts, began_cpu_s = True, time.process_time()
            if now < until:
                cpu_s = time.process_time()
            for number, _ in events:
                answer = self._receive(number)
                if answer is None:
                    continue
                now = time.perf_counter()
                good = not answer.startswith(_REFUSED)
                answered += good
                if since <= now < until:
                    refused += not good
                    if good:
                        taken.append(now - self._sent_s[number])
                        if len(taken) % _KEPT == 1:
                            kept.append(answer)
                if now < until:
                    self._send(number)
                else:
                    waiting -= 1
        return Run(taken, refused, seconds, max(0.0, cpu_s - began_cpu_s), answered, _mean_stages(kept))

    def close(self) -> None:
        self._poll.close()
        for connection in self._sockets.values():
            connection.close()

    def _send(self, number: int) -> None:
        chosen = self._requests[self._next % len(self._requests)]
        self._next += 1
        self._sent_s[number] = time.perf_counter()
        self._sockets[number].sendall(chosen)

    def _receive(self, number: int) -> bytes | None:
        """The answer on a connection, or None while a part of it is missing."""
        data = self._sockets[number].recv(1 << 18)
        if not data:
            raise GeneratorError("The service closed a connection.")
        if number in self._parts:
            data = self._parts.pop(number) + data
        end = data.find(b"\r\n\r\n")
        if end >= 0:
            head = data[:end].lower()
            at = head.find(_LENGTH) + len(_LENGTH)
            line = head.find(b"\r\n", at)
            if len(data) - end - 4 >= int(head[at : line if line > 0 else end]):
                if not data.startswith((b"HTTP/1.1 200", _REFUSED)):
                    raise GeneratorError(f"The service answered {data[:500]!r}.")
                return data
        self._parts[number] = data
        return None


def _mean_stages(answers: Sequence[bytes]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for answer in answers:
        for line in answer.split(b"\r\n\r\n", 1)[0].decode("latin-1").split("\r\n"):
            if line.lower().startswith("server-timing:"):
                for stage, taken_ms in _STAGE.findall(line):
                    sums[stage] = sums.get(stage, 0.0) + float(taken_ms)
    return {stage: total / len(answers) for stage, total in sums.items()}
