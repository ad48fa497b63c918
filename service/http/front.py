"""The front of a worker: every request passes it, from its first bytes to the last of its answer.

A connection takes nothing but memory until a whole head has come (`connections.py`). The head is read strictly
(`service/message/heads.py`); what can't be read is refused and the connection closes. A request for a model passes the
gate (`gate.py`), then goes by the express lanes (`lanes.py`) or its usual way (`wsgi.py`).
"""

import contextlib
import logging
import os
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from service.admission import Arrival, FrontQueue, too_many
from service.config.settings import Settings
from service.errors import SignpostError
from service.gateway.express.lane import Express
from service.gateway.middleware.unrouted import Unrouted
from service.http.client_socket import NOT_YET, ClientSocket, Patience, TlsClientSocket
from service.http.connections import Connection, Connections
from service.http.gate import Gate
from service.http.lanes import Lanes
from service.http.listener import Counts, Listener
from service.http.loop import Loop
from service.http.request_threads import RequestThreads
from service.http.wsgi import Application, Request, Usual
from service.message import heads

log = logging.getLogger(__name__)

_CHUNK: Final = 128 * 1024
# Seconds for which a worker that stops keeps connections open, for a request that a client may already be sending.
_STOP_LINGER_S: Final = 2.0
# The first byte of a client that speaks TLS.
_TLS_HANDSHAKE: Final = b"\x16"


class Service(Protocol):
    """What the processes of a service share; see `service.parts.runtime.Runtime`."""

    @property
    def draining(self) -> bool:
        """Whether the service is to stop soon."""

    @property
    def connections(self) -> Counts:
        """How many each worker holds."""


@dataclass(frozen=True)
class Parts:
    """What a front is made of.

    Attributes:
        settings: limits and time-outs.
        service: what this worker shares with the others.
        app: the WSGI application.
        queue: where requests wait for a thread.
        unrouted: answers what the application never sees.
        express: answers posted images; None where all go their usual way.
        tls: gives the context for the next connection; None for plain text.
        most_connections: at the same time.
    """

    settings: Settings
    service: Service
    app: Application
    queue: FrontQueue
    unrouted: Unrouted
    express: Express | None
    tls: Callable[[], ssl.SSLContext] | None
    most_connections: int


class Front:
    """See the module; one thread makes it, and calls all but `wake`.

    Args:
        parts: what it is made of.
        sockets: that listen.
        place: of this worker among those that count connections.
    """

    def __init__(self, parts: Parts, sockets: Sequence[socket.socket], place: int | None) -> None:
        """Take no connection yet."""
        settings = parts.settings
        self._parts = parts
        self._limits = heads.Limits(
            settings.max_request_line_bytes, settings.max_header_field_bytes, settings.max_header_fields
        )
        self._stops = False
        self._most_kept = parts.most_connections - settings.threads
        self._loop = Loop()
        self._threads = RequestThreads(settings.threads, settings.max_slow_requests)
        self._usual = Usual(
            parts.app,
            loop=self._loop,
            threads=self._threads,
            queue=parts.queue,
            unrouted=parts.unrouted,
            keeps=self._keeps,
            finish=self._finish,
        )
        self._connections = Connections(
            self._loop,
            most=parts.most_connections,
            patience=Patience(settings.header_timeout_s, settings.body_timeout_s, settings.answer_timeout_s),
            keep_alive_s=settings.keep_alive_s,
            step_aside=self._usual.step_aside,
            meet=self._meet,
        )
        self._listener = Listener(
            sockets,
            loop=self._loop,
            counts=parts.service.connections,
            place=place,
            take=self._connections.take,
            held=lambda: self._connections.held,
        )
        self._gate = Gate(parts.queue)
        lanes = lanes_of(settings)
        self._lanes: Lanes | None = None
        if parts.express is not None:
            self._lanes = Lanes(
                parts.express,
                most=lanes,
                shares=settings.threads / lanes,
                loop=self._loop,
                threads=self._threads,
                queue=parts.queue,
                connections=self._connections,
                usual=self._usual,
                keeps=self._keeps,
                finish=self._finish,
            )

    @property
    def is_busy(self) -> bool:
        """Whether it holds a connection."""
        return self._connections.held > 0

    def turn(self, wait_s: float) -> None:
        """Wait for so many seconds at most, then do what there is to do."""
        if not self._stops:
            wait_s = min(wait_s, self._listener.look(self._connections.has_room))
        if self._lanes is not None and self._lanes.is_ready:
            wait_s = 0.0
        self._loop.turn(min(wait_s, self._gate.wait_s))
        for request in self._gate.due():
            self._refuse(request)
        if self._lanes is not None:
            self._lanes.send_off()
        for conn in self._connections.expire(time.monotonic()):
            self._give_up(conn)

    def stop(self) -> None:
        """Accept no more connections; the present ones have a moment to bring a request."""
        self._listener.close()
        self._stops = True
        self._connections.stop(_STOP_LINGER_S)

    def wake(self) -> None:
        """End a wait; signal handlers may do so."""
        self._loop.wake()

    def close(self) -> None:
        """End the threads, each after its request; the connections that are left end with the process."""
        self._threads.shutdown()
        self._loop.close()

    def _keeps(self) -> bool:
        """Whether connections are kept now."""
        return not (self._stops or self._parts.service.draining or len(self._connections.kept) >= self._most_kept)

    def _meet(self, conn: Connection) -> None:
        """Receive what a connection brings."""
        if self._parts.tls is not None and isinstance(conn.sock, ClientSocket):
            self._secure(conn, conn.sock, self._parts.tls)
            return
        try:
            data = conn.sock.recv(_CHUNK)
            while isinstance(conn.sock, TlsClientSocket) and conn.sock.pending():
                data += conn.sock.recv(_CHUNK)
        except NOT_YET:  # a part of a TLS record, or nothing after all
            self._connections.await_head(conn)
            return
        except OSError:
            data = b""
        if not data:
            self._connections.close(conn)
            return
        conn.data = conn.data + data if conn.data else data
        self._advance(conn)

    def _secure(self, conn: Connection, sock: ClientSocket, tls: Callable[[], ssl.SSLContext]) -> None:
        """Speak TLS with a client that has begun to."""
        try:
            if sock.recv(1, socket.MSG_PEEK) not in (_TLS_HANDSHAKE, b""):
                self._turn_away(conn, 400, "This port speaks TLS; use https:// instead of http://.")
                return
            secured = conn.sock = sock.secured(tls())
        except OSError as error:
            log.debug("%s disconnected before the TLS handshake: %s", conn.peer or "A client", error)
            self._connections.close(conn)
            return
        self._threads.submit(partial(self._shake_hands, conn, secured, self._parts.queue.join()))

    def _shake_hands(self, conn: Connection, sock: TlsClientSocket, arrival: Arrival) -> None:
        """In a thread."""
        end = self._connections.linger
        self._parts.queue.enter(arrival)
        try:
            sock.shake_hands()
            end = self._meet
        except (OSError, SignpostError) as error:
            log.debug("%s does not speak TLS: %s", conn.peer or "A client", error)
        finally:
            self._parts.queue.leave(arrival, sock.aside)
            self._usual.step_back(conn)
            self._loop.call_soon(partial(end, conn))

    def _advance(self, conn: Connection) -> None:
        """Read the head of what a connection has brought, and have the request answered."""
        try:
            head = heads.read(conn.data, conn.seen, self._limits)
        except heads.Refused as refused:
            log.info("Refused a request from %s: %s", conn.peer or "a socket", refused)
            self._turn_away(conn, refused.status, str(refused))
            return
        if head is None:
            conn.seen = len(conn.data)
            self._connections.await_head(conn)
            return
        self._connections.has_head(conn)
        request = Request(conn, head, conn.data[head.size :])
        conn.data, conn.seen = b"", 0
        if not (self._stops or self._parts.service.draining) and self._gate.stops(request):
            return
        if self._lanes is None or not self._lanes.take(request):
            self._usual.submit(request)

    def _finish(self, conn: Connection, keeps: bool, rest: bytes) -> None:
        """Keep an answered connection for its next request, which may be there already, or end it."""
        if not keeps:
            self._connections.linger(conn)
        elif isinstance(conn.sock, TlsClientSocket) and conn.sock.pending():
            conn.data = rest
            self._meet(conn)  # more came in a record that was begun: the kernel has nothing to tell of it any more
        elif rest:
            conn.data = rest
            self._advance(conn)
        else:
            self._connections.keep(conn)

    def _give_up(self, conn: Connection) -> None:
        """End a connection that has brought a part of a head and no more, or shaken hands and nothing else."""
        if not conn.data:
            self._connections.close(conn)
            return
        limit_s = self._parts.settings.header_timeout_s
        message = f"The request's header took longer than the {limit_s:g} s allowed; send it faster."
        self._turn_away(conn, 408, message)

    def _turn_away(self, conn: Connection, status: int, message: str) -> None:
        """Answer what is not a request, and end the connection."""
        self._connections.has_head(conn)
        answer = self._parts.unrouted.answer(status, message, head=None, arrived_s=time.monotonic(), peer=conn.peer)
        self._send(conn, answer, keeps=False, rest=b"")

    def _refuse(self, request: Request) -> None:
        """Refuse an excess request: here if all of it is there, else in a thread that reads the rest."""
        conn, head = request.conn, request.head
        if not request.is_whole:
            with contextlib.suppress(OSError):
                request.data += conn.sock.recv(_CHUNK)
        if not request.is_whole:
            self._usual.submit(request, refused=True)
            return
        wait_s = self._parts.queue.wait_s
        keeps = head.keeps and self._keeps()
        answer = self._parts.unrouted.answer(
            429,
            too_many(wait_s),
            head=head,
            arrived_s=time.monotonic(),
            peer=conn.peer,
            keep_alive=keeps,
            retry_after_s=wait_s,
        )
        self._send(conn, answer, keeps, request.data[head.length :])

    def _send(self, conn: Connection, answer: bytes, keeps: bool, rest: bytes) -> None:
        """Send a short answer; a client that does not even take that is not waited for."""
        try:
            keeps = conn.sock.send(answer) == len(answer) and keeps
        except OSError:
            keeps = False
        self._finish(conn, keeps, rest)


def lanes_of(settings: Settings) -> int:
    """How many groups of one model are answered at the same time in a worker.

    One for each core that the worker may count as its own: while one group runs, the others are decoded. Where the
    models run elsewhere, one more, as a lane waits without using a core.
    """
    cores = max(1, len(os.sched_getaffinity(0)) // settings.workers)
    return min(settings.threads, cores + (settings.engine != "local"))
