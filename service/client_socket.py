"""A client's connection, with limits to how long one request may take to come, and its answer to be read.

The limits are for a whole stage of a request, however its bytes trickle in. The socket never blocks by itself, so that
nothing is asked of the kernel while a client is quick; a thread that had to wait for `QUICK_S` steps aside
(`service/http/request_threads.py`).
"""

import errno
import select
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from service.errors import SignpostError, TooSlow

# Seconds that a thread waits for a client in one stage before another takes its place.
QUICK_S: Final = 0.01
# Flags to look at what has come without taking it; made once, as to combine them takes as long as the call.
PEEK: Final = int(socket.MSG_PEEK | socket.MSG_DONTWAIT)


@dataclass(frozen=True)
class Patience:
    """Seconds that a client has: for a request's header, for its body, and to read its answer."""

    header_s: float
    body_s: float
    answer_s: float


class _Patient:
    """What both kinds of connection do; see the module."""

    # Attributes of the class, as ssl makes its sockets without calling __init__.
    patience = Patience(0.0, 0.0, 0.0)
    step_aside: Callable[[], bool] = staticmethod(lambda: True)
    # Whether the thread that waits here has stepped aside.
    aside = False
    # What became of the request at hand on the express lane, where the model failed it.
    failure: SignpostError | None = None
    _stage = ""
    _limit_s = 0.0
    _since_s: float | None = None
    _on_too_slow: Callable[[], None] | None = None

    def expect_header(self) -> None:
        """From now on a request's header is read."""
        self._stage, self._limit_s, self._since_s = "header", self.patience.header_s, None
        self._on_too_slow = None

    def expect_body(self, on_too_slow: Callable[[], None]) -> None:
        """From now on a request's body is read; `on_too_slow` is called before that is an error."""
        self._stage, self._limit_s, self._since_s = "body", self.patience.body_s, None
        self._on_too_slow = on_too_slow

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Receive; waits as long as the stage may take.

        Raises:
            TooSlow: the client takes longer.
            TimeoutError: it takes longer than `settimeout` said.
        """
        if flags:
            return super().recv(size, flags)  # type: ignore[misc, no-any-return]  # of the socket
        while True:
            try:
                return super().recv(size)  # type: ignore[misc, no-any-return]  # of the socket
            except (BlockingIOError, ssl.SSLWantReadError):
                self._wait(select.POLLIN)
            except ssl.SSLWantWriteError:
                self._wait(select.POLLOUT)

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send everything; waits as long as the client may take to read it.

        Raises:
            BrokenPipeError: the client takes longer.
        """
        left = memoryview(data)
        while left:
            try:
                left = left[super().send(left, flags) :]  # type: ignore[misc]  # of the socket
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._answer()
                self._wait(select.POLLOUT)
            except ssl.SSLWantReadError:
                self._answer()
                self._wait(select.POLLIN)

    def setblocking(self, flag: bool) -> None:
        """It never blocks, whatever gunicorn wants."""

    def settimeout(self, value: float | None) -> None:
        """Wait that many seconds at most from now on; None and 0 change nothing."""
        if value:
            self._stage, self._limit_s, self._since_s = "rest", value, None

    def _answer(self) -> None:
        if self._stage != "answer":
            self._stage, self._limit_s, self._since_s = "answer", self.patience.answer_s, None

    def _wait(self, event: int) -> None:
        now_s = time.monotonic()
        if self._since_s is None:
            self._since_s = now_s
        if not self.aside:
            if self._poll(event, self._since_s + min(QUICK_S, self._limit_s) - now_s):
                return
            self.aside = self.step_aside()
            if not self.aside:
                raise self._too_slow("comes slowly, as too many others do; try again, or send it faster")
        if not self._poll(event, self._since_s + self._limit_s - time.monotonic()):
            raise self._too_slow(f"took more than the {self._limit_s:g} s that it may take; send it faster")

    def _poll(self, event: int, wait_s: float) -> bool:
        if wait_s <= 0:
            return False
        poll = select.poll()
        poll.register(self, event)  # type: ignore[arg-type]  # it is a socket
        return bool(poll.poll(wait_s * 1e3))

    def _too_slow(self, how: str) -> Exception:
        if self._on_too_slow is not None:
            self._on_too_slow()
        if self._stage == "answer":
            return BrokenPipeError(errno.EPIPE, f"The client did not read its answer within {self._limit_s:g} s.")
        return TimeoutError(how) if self._stage == "rest" else TooSlow(f"The request's {self._stage} {how}.")


class ClientSocket(_Patient, socket.socket):
    """A connection in plain text."""

    @classmethod
    def of(cls, accepted: socket.socket, patience: Patience, step_aside: Callable[[], bool]) -> "ClientSocket":
        """Take over a connection that was accepted.

        Args:
            accepted: the connection; of no use any more.
            patience: how long its client may take.
            step_aside: called by a thread that waits for a slow client; False where it may not wait.
        """
        made = cls(accepted.family, accepted.type, accepted.proto, accepted.detach())
        socket.socket.setblocking(made, False)
        made.patience, made.step_aside = patience, step_aside
        return made

    def secured(self, context: ssl.SSLContext) -> "TlsClientSocket":
        """Speak TLS from now on; shakes hands, within the time for a header.

        Raises:
            TooSlow: the client takes longer.
            ssl.SSLError: it speaks something else.
        """
        context.sslsocket_class = TlsClientSocket
        made = context.wrap_socket(self, server_side=True, do_handshake_on_connect=False)
        assert isinstance(made, TlsClientSocket)
        socket.socket.settimeout(made, 0.0)
        made.patience, made.step_aside = self.patience, self.step_aside
        made.expect_header()
        made.do_handshake()
        return made


class TlsClientSocket(_Patient, ssl.SSLSocket):  # type: ignore[misc]  # it calls the size of recv otherwise
    """A connection that speaks TLS."""

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands; see `ClientSocket.secured`."""
        while True:
            try:
                return super().do_handshake(block)
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN)
            except ssl.SSLWantWriteError:
                self._wait(select.POLLOUT)
