"""Gunicorn's threaded worker, made for an open network: no client can hold what others need.

- A connection takes a thread only once its first bytes are there, and another takes its place while it waits for more.
- Where there are too many connections, the one that has been idle for longest is closed.
- What gunicorn itself refuses is answered as JSON, like everything else.
- Told to stop, it refuses connections from then on, finishes what it has, and says `Connection: close` to each client.
"""

import errno
import http
import json
import selectors
import socket
import ssl
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from gunicorn import sock
from gunicorn.http import body, errors, get_parser
from gunicorn.workers import gthread

from service.admission import Arrival
from service.client_socket import ClientSocket, Patience
from service.errors import InvalidRequest, TooSlow
from service.http.refusing_worker import RefusingWorker
from service.http.request_threads import RequestThreads
from service.http.waiting_connections import WaitingConnections

# From the most special class to the least: the first that fits counts.
_STATUSES: Final[tuple[tuple[type[Exception], int], ...]] = (
    (TooSlow, 408),
    (errors.LimitRequestLine, 414),
    (errors.LimitRequestHeaders, 431),
    (errors.ExpectationFailed, 417),
    (errors.UnsupportedTransferCoding, 501),
    (errors.InvalidResponseHeader, 500),
    (errors.InvalidResponseHeaderName, 500),
    (errors.ConfigurationProblem, 500),
    (errors.ParseException, 400),
)
# Seconds in which a client may read its last answer, and bytes that it may still send meanwhile.
_LINGER_S: Final = 2.0
_LINGER_BYTES: Final = 65536
_NO_MORE_FILES: Final = (errno.EMFILE, errno.ENFILE)
_GONE_ALREADY: Final = (errno.EAGAIN, errno.ECONNABORTED)


class Connection(gthread.TConn):  # type: ignore[misc]  # gunicorn has no types
    """A client's connection, its TLS shaken and its parser made by the thread that first serves it."""

    sock: Any
    parser: Any
    may_still_send = _LINGER_BYTES
    arrival: Arrival

    def init(self) -> None:
        """Speak TLS where that is wanted, and make the parser."""
        if self.parser is None:
            self.initialized = True
            if self.cfg.is_ssl:
                self.sock = self.sock.secured(sock.ssl_context(self.cfg))
            self.parser = get_parser(self.cfg, self.sock, self.client)


class _Chunks:
    """The body of a request in chunks, whose errors are the client's."""

    def __init__(self, reader: body.ChunkedReader, on_error: Callable[[], None]) -> None:
        self._reader = reader
        self._on_error = on_error

    def read(self, size: int) -> bytes:
        try:
            data: bytes = self._reader.read(size)
        except errors.ParseException as error:
            self._on_error()  # where the next request begins, nobody knows
            raise InvalidRequest(f"The body's chunks can't be read: {error}.") from error
        return data


class JsonWorker(RefusingWorker):
    """See the module. Its application (`self.app`) has the `settings` and the `runtime` of the service."""

    def init_process(self) -> None:
        """Read the limits, then run."""
        settings = self.app.settings
        self._patience = Patience(settings.header_timeout_s, settings.body_timeout_s, settings.answer_timeout_s)
        self.keepalived_conns, self.pending_conns = WaitingConnections(), WaitingConnections()
        self._lingering = WaitingConnections()
        super().init_process()

    def get_thread_pool(self) -> RequestThreads:
        """The threads that handle requests."""
        return RequestThreads(self.cfg.threads, self.app.settings.max_slow_requests)

    def take(self, listener: Any) -> bool:
        """Take a connection, and wait for its first bytes without a thread."""
        try:
            accepted, address = listener.accept()
        except OSError as error:
            if error.errno in _NO_MORE_FILES:
                self.log.error("No file is free for another connection; raise the limit (ulimit -n).")
                self._close_one()
            elif error.errno not in _GONE_ALREADY:
                raise
            return False
        self.nr_conns += 1
        if self.nr_conns >= self.worker_connections:
            self._close_one()
        client = ClientSocket.of(accepted, self._patience, self._step_aside)
        conn = Connection(self.cfg, client, address, listener.getsockname())
        self._await_bytes(conn, self.pending_conns, self.on_pending_socket_readable, self._patience.header_s)
        return True

    def hand_over(self, conn: Connection) -> None:
        """Have a thread handle the request that a connection brings."""
        self.tpool.submit(partial(self._answer, conn))

    def _answer(self, conn: Connection) -> None:
        """Handle a request, in a thread."""
        keeps = False
        self.begin(conn)
        try:
            conn.sock.expect_header()
            keeps = self.handle(conn)
        finally:
            self.end(conn, conn.sock.aside)
            if conn.sock.aside:
                conn.sock.aside = False
                self.step_back()
            self.method_queue.defer(self.finish_request, conn, keeps)

    def step_back(self) -> None:
        """Called by a thread that has stepped aside, when it has done with its client."""
        self.tpool.step_back()
        self.app.front_queue.step_back()

    def _step_aside(self) -> bool:
        stepped: bool = self.tpool.step_aside()
        if stepped:
            self.app.front_queue.step_aside()
        return stepped

    def handle_request(self, req: Any, conn: Connection) -> bool:
        """Answer a request whose header is there."""
        conn.sock.expect_body(req.force_close)
        if isinstance(req.body.reader, body.ChunkedReader):
            req.body.reader = _Chunks(req.body.reader, req.force_close)
        if self.app.runtime.draining:
            req.force_close()
        answered: bool = super().handle_request(req, conn)
        return answered

    def finish_request(self, conn: Connection, keeps: bool) -> None:
        """Keep a connection for the next request, or end it, in the main thread."""
        if not keeps:
            self._linger(conn)
        elif conn.parser.unreader.buf.getvalue():
            self.enqueue_req(conn)  # what was read already does not make the socket readable
        else:
            self.keep(conn)

    def keep(self, conn: Connection) -> None:
        """Wait for a connection's next request."""
        limit_s = self.cfg.keepalive if self.alive else min(self.cfg.keepalive, gthread.STOP_KEEPALIVE_LINGER)
        self._await_bytes(conn, self.keepalived_conns, self.on_client_socket_readable, limit_s)

    def _await_bytes(self, conn: Connection, waiting: WaitingConnections, readable: Any, limit_s: float) -> None:
        conn.timeout = time.monotonic() + limit_s
        conn.data_ready = True  # once it is given to a thread
        waiting.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(_if_it_waits, waiting, readable, conn))

    def _linger(self, conn: Connection) -> None:
        """End a connection, but let its client read the answer first (RFC 9112, 9.6).

        Closed at once, with bytes unread that the client sent, it would be reset and the answer lost.
        """
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            self._await_bytes(conn, self._lingering, self._read_rest, _LINGER_S)
        except (OSError, ValueError):  # the client has left
            self._close(conn)
            return
        self._read_rest(conn, conn.sock)

    def _read_rest(self, conn: Connection, _: Any) -> None:
        try:
            rest = socket.socket.recv(conn.sock, 8192)
        except BlockingIOError:
            return
        except OSError:
            rest = b""
        conn.may_still_send -= len(rest)
        if not rest or conn.may_still_send <= 0:
            self._lingering.remove(conn)
            self.poller.unregister(conn.sock)
            self._close(conn)

    def murder_pending(self) -> None:
        """Close connections that have brought nothing in time, and those whose clients had time to read."""
        super().murder_pending()
        now_s = time.monotonic()
        while self._lingering and self._lingering[0].timeout <= now_s:
            self._close_first(self._lingering)

    def _close_one(self) -> None:
        """Make room for a connection that may bring a request."""
        for idle in (self._lingering, self.keepalived_conns, self.pending_conns):
            if idle:
                self._close_first(idle)
                return

    def _close_first(self, waiting: WaitingConnections) -> None:
        conn = waiting.popleft()
        self.poller.unregister(conn.sock)
        self._close(conn)

    def _close(self, conn: Connection) -> None:
        self.nr_conns -= 1
        conn.close()

    def set_accept_enabled(self, enabled: bool) -> None:
        """Take new connections or not; a worker that is to stop closes its listeners at once.

        Gunicorn keeps them open until the last request is answered. Meanwhile the kernel would take connections that
        nobody ever reads, and a client would wait for the whole drain instead of trying another server.
        """
        super().set_accept_enabled(enabled)
        if self.alive:
            return
        self.app.stop_accepting()
        for listener in self.sockets:
            # What the kernel took before is answered like all that was accepted.
            while self.take(listener):
                pass
            listener.close()

    def _cap_keepalive(self, deadline: float) -> None:
        """Close connections that bring nothing by the deadline at the latest, when the worker stops."""
        for conn in (*self.keepalived_conns, *self.pending_conns):
            conn.timeout = min(conn.timeout, deadline)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:  # noqa: ARG002 - gunicorn's
        """Answer what never reached the gateway, or failed beyond it."""
        if isinstance(exc, ssl.SSLError):
            self.log.debug("%s does not speak TLS: %s", _name(addr), exc.reason)
            return
        status = next((status for kind, status in _STATUSES if isinstance(exc, kind)), 500)
        if status == 500:
            self.log.error("A request from %s failed in an unforeseen way.", _name(addr), exc_info=exc)
            message = "Signpost failed on this request; its log says why."
        else:
            # Its text may hold a part of a header, which is nobody else's business.
            self.log.info("Refused a request from %s: %s.", _name(addr), type(exc).__name__)
            message = self._explain(exc)
        answer = json.dumps({"error": message}).encode()
        head = (
            f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
        )
        try:
            client.sendall(head.encode() + answer)
        except OSError:
            self.log.debug("The client left before its error was sent.")

    def _explain(self, exc: BaseException) -> str:
        if isinstance(exc, TooSlow):
            return str(exc)
        if isinstance(exc, errors.LimitRequestLine):
            return f"The request's first line has more than {self.cfg.limit_request_line} bytes."
        if isinstance(exc, errors.LimitRequestHeaders):
            return (
                f"The request's header has more than {self.cfg.limit_request_fields} fields, or one of more than "
                f"{self.cfg.limit_request_field_size} bytes."
            )
        return f"The request can't be read: {exc}."


def _if_it_waits(
    waiting: WaitingConnections, readable: Callable[[Any, Any], None], conn: Connection, client: Any
) -> None:
    """Have a connection's bytes read, unless it was closed for a new one since the poller told of them."""
    if conn in waiting:
        readable(conn, client)


def _name(addr: Any) -> str:
    return str(addr[0]) if addr else "a socket"
