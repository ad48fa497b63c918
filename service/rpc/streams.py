"""Streams over gRPC: a bounded number, each with a thread of its own, ended when the service stops.

gRPC gives a stream a thread until it ends, and a client may keep one open and say nothing. With threads of their own
such streams keep no other call waiting.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from service.errors import Unavailable
from service.rpc.errors import Context

# Threads that only refuse further streams.
_REFUSING: Final = 4


class Streams:
    """The streams that are open.

    Args:
        most: at the same time.

    Attributes:
        threads: theirs; none runs before there is a stream.
    """

    def __init__(self, most: int) -> None:
        """None is open."""
        self.threads = ThreadPoolExecutor(most + _REFUSING, thread_name_prefix="grpc-stream")
        self._most = most
        self._lock = threading.Lock()
        self._open = 0
        self._waiting: set[Any] = set()  # contexts of those whose client is to send the next message
        self._closed = False

    def messages(self, sent: Iterator[bytes], context: Context) -> Iterator[bytes]:
        """The messages of a stream, until it ends or the service stops.

        Raises:
            Unavailable: too many are open.
        """
        with self._lock:
            if self._open >= self._most:
                raise Unavailable(f"{self._most} streams are open, as many as are allowed; try again later.")
            self._open += 1
        try:
            while self._begins_to_wait(context):
                try:
                    message = next(sent, None)
                finally:
                    with self._lock:
                        self._waiting.discard(context)
                if message is None:
                    return
                yield message
        finally:
            with self._lock:
                self._open -= 1

    def close(self) -> None:
        """End the streams: those that wait for their client now, the others after the message that they have."""
        with self._lock:
            self._closed = True
            waiting = list(self._waiting)
        for context in waiting:
            context.cancel()

    def _begins_to_wait(self, context: Context) -> bool:
        with self._lock:
            if not self._closed:
                self._waiting.add(context)
            return not self._closed
