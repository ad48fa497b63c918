"""A proxy for TCP that does what networks do: it delays answers, stops in the middle, cuts them off, is away."""

import contextlib
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

_SIZE: Final = re.compile(rb"HTTP/1\.\d 20.*?\r\nContent-Length: (\d+)\r\n", re.DOTALL | re.IGNORECASE)
_PIECE: Final = 16 * 1024
_LOOK_S: Final = 0.05
_CONNECT_S: Final = 5.0


@dataclass
class CuttingProxy:
    """What it does is set at any time, and holds from then on, for open connections too.

    Attributes:
        endpoint: where it listens.
        away: close every connection at once.
        silent: take what is asked, and answer nothing more.
        delay_s: seconds before each piece of an answer.
        cut_larger_than: answers with more bytes than that are cut off after their first piece; None for none.
        cut_at: asked before each piece for whether the connection is closed there.
        answered: bytes that went through to clients.
    """

    endpoint: str = ""
    away: bool = False
    silent: bool = False
    delay_s: float = 0.0
    cut_larger_than: int | None = None
    cut_at: Callable[[], bool] = field(default=lambda: False)
    answered: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def heal(self) -> None:
        """Do no more harm."""
        self.away = self.silent = False
        self.delay_s, self.cut_larger_than, self.cut_at = 0.0, None, lambda: False

    def cut_by_chance(self, share: float, rng: random.Random) -> None:
        """Close connections in the middle of this share of the pieces of all answers."""
        self.cut_at = lambda: rng.random() < share

    def serve(self, listener: socket.socket, target: tuple[str, int]) -> None:
        """Take connections until stopped; each has a thread, which ends with the connection or when it is stopped."""
        while not self._stop.is_set():
            try:
                client, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            threading.Thread(target=self._carry, args=(client, target), daemon=True).start()

    def stop(self) -> None:
        """Close everything, within a moment."""
        self._stop.set()

    def _carry(self, client: socket.socket, target: tuple[str, int]) -> None:
        with contextlib.suppress(OSError), client:
            if self.away:
                return
            with socket.create_connection(target, _CONNECT_S) as server:
                asking = threading.Thread(target=self._ask, args=(client, server), daemon=True)
                asking.start()
                self._answer(server, client)

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := client.recv(_PIECE):
                server.sendall(piece)
            server.shutdown(socket.SHUT_WR)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        server.settimeout(_LOOK_S)
        while not self._stop.is_set() and not self.away:
            try:
                piece = server.recv(_PIECE)
            except TimeoutError:
                continue
            if not piece:
                return
            time.sleep(self.delay_s)
            while self.silent and not self._stop.is_set():
                time.sleep(_LOOK_S)
            if self.cut_at() or self._is_too_large(piece):
                client.sendall(piece[: len(piece) // 2])
                break
            client.sendall(piece)
            self.answered += len(piece)
        client.shutdown(socket.SHUT_RDWR)

    def _is_too_large(self, piece: bytes) -> bool:
        """Whether an answer begins here that is larger than may go through."""
        size = _SIZE.match(piece)
        return size is not None and self.cut_larger_than is not None and int(size[1]) > self.cut_larger_than


@contextmanager
def cutting_proxy(endpoint: str) -> Iterator[CuttingProxy]:
    """Start a proxy before a server and stop it in the end.

    Args:
        endpoint: the server's, `http://HOST:PORT`.
    """
    at = urlsplit(endpoint)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(_LOOK_S)
        proxy = CuttingProxy(f"http://127.0.0.1:{listener.getsockname()[1]}")
        target = (at.hostname or "127.0.0.1", at.port or 80)
        thread = threading.Thread(target=proxy.serve, args=(listener, target), name="cutting-proxy", daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.stop()
            thread.join(_CONNECT_S)
