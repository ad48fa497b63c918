"""The connections of a worker, and what each waits for; nobody can hold more of them than there are.

- One that brings nothing takes no thread. It is closed when its time is over, and earlier where room is needed: the one
  that has waited for longest.
- One that ends may be read out first (RFC 9112, 9.6): closed at once, with bytes unread that its client sent, it would
  be reset and the answer lost.
"""

import errno
import logging
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from service.admission import Arrival
from service.http.client_socket import AnySocket, ClientSocket, Patience
from service.http.loop import Loop

log = logging.getLogger(__name__)

# Seconds in which a client may read its last answer, and bytes that it may still send meanwhile.
_LINGER_S: Final = 2.0
_LINGER_BYTES: Final = 65536
_NO_MORE_FILES: Final = (errno.EMFILE, errno.ENFILE)
# Seconds for which no connection is accepted after that failed and none could be closed for it, and seconds between
# two lines in the log that say so.
_PAUSE_S: Final = 0.1
_TELL_S: Final = 1.0
_GONE_ALREADY: Final = (errno.EAGAIN, errno.ECONNABORTED)


class Connection:
    """A client's connection.

    Attributes:
        sock: its socket; another once it speaks TLS.
        file: the number of its file.
        peer: the client's address; empty for a Unix socket.
        server: the address that it came to: host and port.
        data: what came, and is not read as a request yet.
        seen: bytes of it that hold no whole head, as was found.
        arrival: of the current request.
        deadline_s: time (`time.monotonic()`) until which it waits.
        may_still_send: bytes that it may bring after its last answer.
    """

    __slots__ = ("arrival", "data", "deadline_s", "file", "may_still_send", "peer", "seen", "server", "sock")

    def __init__(self, sock: AnySocket, peer: str, server: tuple[str, str]) -> None:
        """Nothing has arrived yet."""
        self.sock = sock
        self.file = sock.fileno()
        self.peer = peer
        self.server = server
        self.data = b""
        self.seen = 0
        self.arrival: Arrival | None = None
        self.deadline_s = 0.0
        self.may_still_send = _LINGER_BYTES


class Waiting:
    """Connections that wait for the same thing, in the order in which they began to; any can leave at once."""

    def __init__(self) -> None:
        """Nothing is waiting."""
        self._waiting: dict[Connection, None] = {}

    def add(self, conn: Connection, deadline_s: float) -> None:
        """Let a connection wait, behind all others."""
        conn.deadline_s = deadline_s
        self._waiting[conn] = None

    def discard(self, conn: Connection) -> None:
        """Take one out, if it waits here."""
        self._waiting.pop(conn, None)

    def first(self) -> Connection:
        """The one that has waited for longest."""
        return next(iter(self._waiting))

    def late(self, now_s: float) -> Iterator[Connection]:
        """Take out those whose time is over."""
        while self._waiting and (conn := self.first()).deadline_s <= now_s:
            del self._waiting[conn]
            yield conn

    def hasten(self, deadline_s: float) -> None:
        """Let none wait for longer than this."""
        for conn in self._waiting:
            conn.deadline_s = min(conn.deadline_s, deadline_s)

    def __contains__(self, conn: Connection) -> bool:
        """Whether a connection waits."""
        return conn in self._waiting

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)


class Connections:
    """See the module; all in the thread of the loop.

    Args:
        loop: of this worker.
        most: connections at the same time.
        patience: of clients.
        keep_alive_s: how long one may wait for its next request.
        step_aside: called by a thread that waits for a slow client; False where it may not wait.
        meet: called with a connection that brings bytes, or its end.

    Attributes:
        held: how many there are.
        kept: those that wait for their next request.
    """

    def __init__(
        self,
        loop: Loop,
        *,
        most: int,
        patience: Patience,
        keep_alive_s: float,
        step_aside: Callable[[], bool],
        meet: Callable[[Connection], None],
    ) -> None:
        """Hold none yet."""
        self._loop = loop
        self._most = most
        self._patience = patience
        self._keep_alive_s = keep_alive_s
        self._step_aside = step_aside
        self._meet = meet
        self.held = 0
        self.kept = Waiting()
        self._fresh = Waiting()  # that have brought nothing yet
        self._heads = Waiting()  # that have brought a part of a head
        self._lingering = Waiting()
        self._until_s = float("inf")  # when the worker stops
        self._pauses_until_s = self._told_s = float("-inf")  # as none can be accepted

    @property
    def has_room(self) -> bool:
        """Whether another one may be accepted."""
        return self.held < self._most and time.monotonic() >= self._pauses_until_s

    def take(self, listener: socket.socket) -> bool:
        """Accept a connection, and wait for its first bytes; False if there is none."""
        try:
            accepted, address = listener.accept()
        except OSError as error:
            if error.errno not in _GONE_ALREADY:
                self._failed_to_accept(error)
            return False
        peer, server = "", ("localhost", "")
        try:
            if isinstance(address, tuple):  # not of a Unix socket
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                host, port, *_ = accepted.getsockname()
                peer, server = str(address[0]), (str(host), str(port))
        except OSError:  # the client has left already
            accepted.close()
            return True
        self.held += 1
        if self.held >= self._most:
            self._close_one()
        sock = ClientSocket.of(accepted, self._patience, self._step_aside)
        self.await_bytes(Connection(sock, peer, server), self._fresh, self._patience.header_s)
        return True

    def await_bytes(self, conn: Connection, among: Waiting, wait_s: float) -> None:
        """Have a connection met once it brings bytes, if that is within so many seconds."""
        among.add(conn, min(time.monotonic() + wait_s, self._until_s))
        self._loop.await_bytes(conn.file, partial(self._readable, conn, among))

    def await_head(self, conn: Connection) -> None:
        """Wait for the rest of a head; its time is counted from its first bytes."""
        if conn not in self._heads:
            self._heads.add(conn, time.monotonic() + self._patience.header_s)
        self._loop.await_bytes(conn.file, partial(self._meet, conn))

    def has_head(self, conn: Connection) -> None:
        """Note that a whole head has come, or that none will."""
        self._heads.discard(conn)

    def keep(self, conn: Connection) -> None:
        """Wait for a connection's next request."""
        self.await_bytes(conn, self.kept, self._keep_alive_s)

    def linger(self, conn: Connection) -> None:
        """End a connection, but let its client read the answer first."""
        try:
            socket.socket.shutdown(conn.sock, socket.SHUT_WR)
        except (OSError, ValueError):  # the client has left
            self.close(conn)
            return
        self._lingering.add(conn, time.monotonic() + _LINGER_S)
        self._read_rest(conn)

    def close(self, conn: Connection) -> None:
        """Close a connection that waits for nothing, or for a head."""
        self.held -= 1
        self._heads.discard(conn)
        self._loop.forget(conn.file)
        conn.sock.close()

    def expire(self, now_s: float) -> list[Connection]:
        """Close those that have brought nothing in time; returns those that have brought a part of a head."""
        for among in (self._fresh, self.kept, self._lingering):
            for conn in among.late(now_s):
                self.close(conn)
        return list(self._heads.late(now_s))

    def stop(self, within_s: float) -> None:
        """Close all that bring no request within so many seconds."""
        self._until_s = time.monotonic() + within_s
        for among in (self._fresh, self.kept, self._heads):
            among.hasten(self._until_s)

    def _readable(self, conn: Connection, among: Waiting) -> None:
        among.discard(conn)
        self._meet(conn)

    def _read_rest(self, conn: Connection) -> None:
        try:
            rest = socket.socket.recv(conn.sock, 8192)  # what TLS makes of it nobody wants to know
        except BlockingIOError:
            self._loop.await_bytes(conn.file, partial(self._read_rest, conn))
            return
        except OSError:
            rest = b""
        conn.may_still_send -= len(rest)
        if not rest:
            self._lingering.discard(conn)
            self.close(conn)
        elif conn.may_still_send > 0:
            self._loop.await_bytes(conn.file, partial(self._read_rest, conn))
        # Else the rest stays unread until the time is over: a reset now could overtake the answer on its way through a
        # proxy, which is still sending.

    def _failed_to_accept(self, error: OSError) -> None:
        """Make room, or wait: the listener stays readable, and to look again at once would be without end."""
        now_s = time.monotonic()
        lacks_files = error.errno in _NO_MORE_FILES
        if now_s - self._told_s >= _TELL_S:
            self._told_s = now_s
            why = "too many open files; raise the limit (ulimit -n)" if lacks_files else error
            log.error("Connections can't be accepted: %s.", why)
        if not (lacks_files and self._close_one()):
            self._pauses_until_s = now_s + _PAUSE_S

    def _close_one(self) -> bool:
        """Make room for a connection that may bring a request; False if no idle one could be closed."""
        for among in (self._lingering, self.kept, self._fresh, self._heads):
            if among:
                conn = among.first()
                among.discard(conn)
                self.close(conn)
                return True
        return False
