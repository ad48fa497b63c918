"""The usual way of a request: a thread runs the WSGI application (PEP 3333) for it."""

import logging
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from service.admission import ARRIVAL, FrontQueue
from service.errors import SignpostError
from service.gateway.middleware.calls import CONNECTION, FAILURE, Failure
from service.gateway.middleware.unrouted import Unrouted
from service.http.client_socket import TlsClientSocket
from service.http.connections import Connection
from service.http.loop import Loop
from service.http.request_threads import RequestThreads
from service.message import answers
from service.message.bodies import Body
from service.message.heads import Head

log = logging.getLogger(__name__)

# Bytes of a body that nobody wanted to read, which are received all the same so that its connection can be kept.
_SKIPPED_BYTES: Final = 65536
# What the writer of answers says itself.
_OURS: Final = frozenset(("connection", "server", "date", "transfer-encoding"))
_WITHOUT_BODY: Final = ("204", "304")

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


@dataclass(slots=True)
class Request:
    """A request whose head is there.

    Attributes:
        conn: the connection that it came on.
        head: of the request.
        data: what came behind its head: of its body, and perhaps of the next request.
        failure: what became of it on the express lane, if its model failed there.
    """

    conn: Connection
    head: Head
    data: bytes
    failure: Failure | None = None

    @property
    def is_whole(self) -> bool:
        """Whether all of its body is there."""
        return self.head.length is not None and len(self.data) >= self.head.length


class Usual:
    """Answers requests, each in a thread.

    Args:
        app: the WSGI application.
        loop: of this worker.
        threads: that run it.
        queue: counts those that wait for a thread.
        unrouted: answers where the application fails to.
        keeps: whether connections are kept now.
        finish: called in the loop with a connection that is answered: whether it is kept, and what came behind.
    """

    def __init__(
        self,
        app: Application,
        *,
        loop: Loop,
        threads: RequestThreads,
        queue: FrontQueue,
        unrouted: Unrouted,
        keeps: Callable[[], bool],
        finish: Callable[[Connection, bool, bytes], None],
    ) -> None:
        """Answer nothing yet."""
        self._app = app
        self._loop = loop
        self._threads = threads
        self._queue = queue
        self._unrouted = unrouted
        self._keeps = keeps
        self._finish = finish

    def submit(self, request: Request, refused: bool = False, at_s: float | None = None) -> None:
        """Have a request answered.

        Args:
            request: whose head is there.
            refused: whether it is to be refused if it asks for a model to run.
            at_s: time (`time.monotonic()`) of its arrival, if that is not now.
        """
        arrival = request.conn.arrival = self._queue.join(refused)
        if at_s is not None:
            arrival.at_s = at_s
        self._threads.submit(partial(self._answer, request))

    def step_aside(self) -> bool:
        """Called by a thread that waits for a slow client; False where it may not wait."""
        stepped = self._threads.step_aside()
        if stepped:
            self._queue.step_aside()
        return stepped

    def step_back(self, conn: Connection) -> None:
        """Called by a thread that may have stepped aside, when it has done with a client."""
        if conn.sock.aside:
            conn.sock.aside = False
            self._threads.step_back()
            self._queue.step_back()

    def _answer(self, request: Request) -> None:
        conn, head = request.conn, request.head
        assert conn.arrival is not None  # it was submitted
        self._queue.enter(conn.arrival)
        keeps, rest = False, b""
        try:
            conn.sock.expect_body()
            expects = "expect" in head.headers and head.minor != "0"
            proceed = partial(conn.sock.send_all, answers.CONTINUE) if expects else None
            body = Body(request.data, head.length, conn.sock.receive, proceed)
            if self._run(request, body) and body.skip(_SKIPPED_BYTES):
                keeps, rest = True, body.rest
        except (OSError, SignpostError) as error:
            log.debug("A client disconnected, or was too slow: %s", error)
        except Exception:
            log.exception("A request failed unexpectedly outside the application.")
        finally:
            self._queue.leave(conn.arrival, conn.sock.aside)
            self.step_back(conn)
            self._loop.call_soon(partial(self._finish, conn, keeps, rest))

    def _run(self, request: Request, body: Body) -> bool:
        """Run the application and send its answer; whether the connection is kept."""
        conn, head = request.conn, request.head
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
            del exc_info  # nothing is sent before the application has returned
            started[:] = [(status, headers)]

        began_s = time.monotonic()
        try:
            blocks = self._app(_environment(request, body), start_response)
            try:
                content = b"".join(blocks)
            finally:
                close = getattr(blocks, "close", None)
                if close is not None:
                    close()
            [(status, headers)] = started
        except Exception:
            log.exception("A request failed unexpectedly.")
            message = "Signpost failed on this request; its log says why."
            failed = self._unrouted.answer(500, message, head=head, arrived_s=began_s, peer=conn.peer)
            conn.sock.send_all(failed)
            return False
        arrival = conn.arrival
        if arrival is not None and not arrival.refused:
            arrival.taken_s = time.monotonic() - began_s
        keeps = head.keeps and self._keeps() and body.ends_within(_SKIPPED_BYTES)
        told = [(name, value) for name, value in headers if name.lower() not in _OURS]
        if head.method == "HEAD" or status.startswith(_WITHOUT_BODY):
            content = b""
        elif not any(name.lower() == "content-length" for name, _ in told):
            told.append(("Content-Length", str(len(content))))
        conn.sock.send_all(answers.head(status, told, keeps) + content)
        return keeps


def _environment(request: Request, body: Body) -> dict[str, Any]:
    """What PEP 3333 says that an application is told."""
    conn, head = request.conn, request.head
    path, _, query = _path_of(head.target).partition("?")
    environment: dict[str, Any] = {
        "REQUEST_METHOD": head.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1") if "%" in path else path,
        "QUERY_STRING": query,
        "SERVER_NAME": conn.server[0],
        "SERVER_PORT": conn.server[1],
        "SERVER_PROTOCOL": f"HTTP/1.{head.minor}",
        "REMOTE_ADDR": conn.peer,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https" if isinstance(conn.sock, TlsClientSocket) else "http",
        "wsgi.input": body,
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        ARRIVAL: conn.arrival,
        CONNECTION: conn.sock,
        FAILURE: request.failure,
    }
    for name, value in head.headers.items():
        if name == "content-type":
            environment["CONTENT_TYPE"] = value
        elif name == "content-length":
            environment["CONTENT_LENGTH"] = value
        elif "_" not in name:  # it could not be told from the same name with a hyphen
            environment[f"HTTP_{name.upper().replace('-', '_')}"] = value
    return environment


def _path_of(target: str) -> str:
    """Path and query of a target; of a URL, which proxies are sent, as of a path (RFC 9112, 3.2.2)."""
    if target.startswith("/") or target == "*":
        return target
    rest = target.partition("://")[2]
    authority = rest.partition("?")[0].partition("/")[0]
    path = rest[len(authority) :]
    return path if path.startswith("/") else f"/{path}"
