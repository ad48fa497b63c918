"""A client's socket, with limits to how long one request may take to come, and its answer to be read.

The limits are for a whole stage of a request, however its bytes trickle in. The socket never blocks by itself, so that
nothing is asked of the kernel while a client is quick; a thread that had to wait for `QUICK_S` steps aside
(`service/http/request_threads.py`).
"""

import select
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from service.errors import TooSlow

# Seconds that a thread waits for a client in one stage before another takes its place.
QUICK_S: Final = 0.01
# What is raised where there is nothing to read yet.
NOT_YET: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


@dataclass(frozen=True)
class Patience:
    """Seconds that a client has: for a request's header, for its body, and to read its answer."""

    header_s: float
    body_s: float
    answer_s: float


class _Patient:
    """What both kinds of socket do; see the module."""

    # Attributes of the class, as ssl makes its sockets without calling __init__.
    patience = Patience(0.0, 0.0, 0.0)
    step_aside: Callable[[], bool] = staticmethod(lambda: True)
    # Whether the thread that waits here has stepped aside.
    aside = False
    _stage = ""
    _limit_s = 0.0
    _since_s: float | None = None

    def expect_body(self) -> None:
        """From now on a request's body is received."""
        self._stage, self._limit_s, self._since_s = "body", self.patience.body_s, None

    def receive(self, size: int) -> bytes:
        """Receive up to so many bytes, none at the end; waits as long as the stage may take.

        Raises:
            TooSlow: the client takes longer.
        """
        while True:
            try:
                return self.recv(size)  # type: ignore[attr-defined, no-any-return]  # of the socket
            except (BlockingIOError, ssl.SSLWantReadError):
                self._wait(select.POLLIN)
            except ssl.SSLWantWriteError:
                self._wait(select.POLLOUT)

    def send_all(self, data: Any) -> None:
        """Send everything; waits as long as the client may take to read it.

        Raises:
            TooSlow: the client takes longer.
        """
        left = memoryview(data)
        waits = False
        while left:
            try:
                left = left[self.send(left) :]  # type: ignore[attr-defined]  # of the socket
            except NOT_YET as error:
                if not waits:  # each answer has its own time, also where no body was expected before it
                    self._stage, self._limit_s, self._since_s = "answer", self.patience.answer_s, None
                    waits = True
                self._wait(select.POLLIN if isinstance(error, ssl.SSLWantReadError) else select.POLLOUT)

    def _wait(self, event: int) -> None:
        now_s = time.monotonic()
        if self._since_s is None:
            self._since_s = now_s
        if not self.aside:
            if self._poll(event, self._since_s + min(QUICK_S, self._limit_s) - now_s):
                return
            self.aside = self.step_aside()
            if not self.aside:
                raise self._too_slow("arrives slowly, as too many others do; try again, or send it faster")
        if not self._poll(event, self._since_s + self._limit_s - time.monotonic()):
            raise self._too_slow(f"took longer than the {self._limit_s:g} s allowed; send it faster")

    def _poll(self, event: int, wait_s: float) -> bool:
        if wait_s <= 0:
            return False
        poll = select.poll()
        poll.register(self, event)  # type: ignore[arg-type]  # it is a socket
        return bool(poll.poll(wait_s * 1e3))

    def _too_slow(self, how: str) -> TooSlow:
        if self._stage == "answer":
            return TooSlow(f"The client did not read its answer within {self._limit_s:g} s.")
        return TooSlow(f"The request's {self._stage} {how}.")


class ClientSocket(_Patient, socket.socket):
    """A connection in plain text."""

    @classmethod
    def of(cls, accepted: socket.socket, patience: Patience, step_aside: Callable[[], bool]) -> "ClientSocket":
        """Take over a connection that was accepted.

        Args:
            accepted: the connection; not to be used afterwards.
            patience: how long its client may take.
            step_aside: called by a thread that waits for a slow client; False where it may not wait.
        """
        made = cls(accepted.family, accepted.type, accepted.proto, accepted.detach())
        made.setblocking(False)
        made.patience, made.step_aside = patience, step_aside
        return made

    def secured(self, context: ssl.SSLContext) -> "TlsClientSocket":
        """Speak TLS from now on; hands are to be shaken next.

        Raises:
            OSError: the client has left.
        """
        context.sslsocket_class = TlsClientSocket
        made = context.wrap_socket(self, server_side=True, do_handshake_on_connect=False)
        assert isinstance(made, TlsClientSocket)
        made.setblocking(False)
        made.patience, made.step_aside = self.patience, self.step_aside
        return made


class TlsClientSocket(_Patient, ssl.SSLSocket):
    """A connection that speaks TLS."""

    def shake_hands(self) -> None:
        """Shake hands, within the time for a header.

        Raises:
            TooSlow: the client takes longer.
            ssl.SSLError: it speaks something else.
        """
        self._stage, self._limit_s, self._since_s = "TLS handshake", self.patience.header_s, None
        while True:
            try:
                return self.do_handshake()
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN)
            except ssl.SSLWantWriteError:
                self._wait(select.POLLOUT)


AnySocket = ClientSocket | TlsClientSocket
