"""The gateway's end of the hop: connections on which one call at a time goes, by the thread that makes it.

So no thread is woken but the caller's, an answer can't reach another call, and to give a call up is to close its
connection. What the hop can't do, for whatever reason, is told by None, and goes over gRPC.

The inputs lie in a region until the reply is there; the outputs are copied out of it. Where a call failed, a model may
still be running on its inputs (the deadline passed first), so that its region is not used again.
"""

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from service.hop import messages, region, sockets
from service.hop.messages import HopError, Malformed, Request
from service.hop.region import Region
from service.interface import Array

log = logging.getLogger(__name__)

# Bytes of a call's inputs at most; larger ones go over gRPC, which has a limit of its own.
MOST_BYTES: Final = 1 << 26
# Bytes for the outputs; if they are more, the engine makes room for them.
_FOR_OUTPUTS: Final = 16384
# Connections without a call that are kept, and the shared memory of one that is.
_KEPT: Final = 16
_KEPT_BYTES: Final = 1 << 25
# Seconds in which the engine takes up a connection, and after which it is tried again where it did not.
_OPEN_S: Final = 1.0
_AGAIN_S: Final = 1.0
# Seconds of the longest wait, a day: the system takes no longer ones.
_LONGEST_S: Final = 86400.0
# How a start or a restart of the engine shows itself.
_NOT_THERE: Final = (FileNotFoundError, ConnectionRefusedError)


class Hop:
    """The way to the engine process, for any number of threads. To be made after any fork.

    Args:
        path: of the engine's socket.
    """

    def __init__(self, path: Path) -> None:
        """Connect to nothing yet."""
        self._path = path
        self._lock = threading.Lock()
        self._open: set[_Connection] = set()
        self._idle: list[_Connection] = []  # of these; the one that was used last is the last
        self._not_before_s = 0.0
        self._told: set[str] = set()
        self._is_closed = False

    def call(
        self, model: str, version: int, signature_name: str, outputs: Sequence[str], inputs: Mapping[str, Array],
        metadata: Sequence[tuple[str, str]], timeout_s: float,
    ) -> dict[str, Array] | None:  # fmt: skip
        """Run a signature in the engine process and wait for its outputs.

        Returns:
            The outputs by name; None if the call can't go this way, in which case it was not made.

        Raises:
            HopError: the engine's error, or no answer within `timeout_s`, or the connection broke.
        """
        if not messages.carries_all(inputs) or region.end(inputs.values()) > MOST_BYTES:
            return None
        deadline = time.monotonic() + timeout_s
        request = Request(0, model, version, signature_name, outputs, deadline, metadata, ())
        while (connection := self._take(deadline)) is not None:
            try:
                return connection.call(request, inputs)
            except ConnectionError:  # nobody was at its other end any more
                continue
            except OSError as error:
                self._tell(error)
                return None
            except Malformed as error:
                log.error("The engine process's answer can't be read: %s", error)
                raise HopError("DATA_LOSS", f"The engine's answer can't be read: {error}") from error
            finally:
                self._give_back(connection)
        return None

    def close(self) -> None:
        """Close all connections; calls that run fail."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
            for connection in self._open:
                connection.interrupt()
        for connection in idle:
            self._give_back(connection)

    def _take(self, deadline: float) -> "_Connection | None":
        with self._lock:
            if self._is_closed:
                return None
            if self._idle:
                return self._idle.pop()
            if time.monotonic() < self._not_before_s:
                return None
        try:
            made = _Connection(self._path, min(_OPEN_S, deadline - time.monotonic()))
        except OSError as error:
            self._tell(error)
            return None
        self._note(made)
        return made

    def _tell(self, error: OSError) -> None:
        """Tell why calls go over gRPC, each reason once, and open no connection for a moment."""
        self._not_before_s = time.monotonic() + _AGAIN_S
        reason = error.strerror or str(error)
        if not isinstance(error, _NOT_THERE) and reason not in self._told:
            self._told.add(reason)
            log.warning("Calls to the engine process go over gRPC, which takes longer: %s.", reason)

    def _note(self, connection: "_Connection") -> None:
        with self._lock:
            self._open.add(connection)
            if self._is_closed:
                connection.interrupt()

    def _give_back(self, connection: "_Connection") -> None:
        with self._lock:
            if connection.is_free and not self._is_closed and len(self._idle) < _KEPT:
                self._idle.append(connection)
                return
            self._open.discard(connection)
            connection.close()


class _Connection:
    """A connection; `is_free` while it has no call and can have one."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        self._socket = sockets.make()
        try:
            self._socket.settimeout(max(0.001, timeout_s))
            self._socket.connect(str(path))
            if not sockets.is_ours(self._socket):
                raise PermissionError("its socket belongs to another user")
            if self._socket.recv(len(sockets.HELLO)) != sockets.HELLO:
                raise ConnectionRefusedError("it accepts no more connections")
        except BaseException:
            self._socket.close()
            raise
        self._region: Region | None = None
        self._number = 0
        self.is_free = True

    def call(self, request: Request, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Make a call.

        Raises:
            OSError: it was not made; ConnectionError where the other end is gone.
            HopError: it failed.
        """
        self.is_free = False
        self._number += 1
        self._socket.settimeout(min(max(0.001, request.deadline - time.monotonic()), _LONGEST_S))
        self._send(request._replace(number=self._number), inputs)
        outputs = self._receive()
        self.is_free = self._region is None or self._region.size <= _KEPT_BYTES
        return outputs

    def interrupt(self) -> None:
        """End the wait of whoever waits."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it; a call that runs is told that nobody waits for it."""
        self._socket.close()
        if self._region is not None:
            self._region.close()

    def _send(self, request: Request, inputs: Mapping[str, Array]) -> None:
        size = region.end(inputs.values()) + _FOR_OUTPUTS
        fresh = None
        if self._region is None or self._region.size < size:
            self._region = fresh = region.make(size)
        message = messages.write(request._replace(tensors=self._region.write(inputs)))
        if len(message) > messages.MOST_BYTES:
            raise OSError("a request has more inputs than fit into a message")
        sockets.send(self._socket, message, fresh)

    def _receive(self) -> dict[str, Array]:
        try:
            message, self._region = sockets.receive(self._socket, self._region)
        except TimeoutError:
            raise HopError("DEADLINE_EXCEEDED", "Deadline Exceeded") from None
        except OSError:
            message = b""
        if not message:  # these, and that above, are gRPC's words
            raise HopError("UNAVAILABLE", "Socket closed")
        reply = messages.read_reply(message)
        if reply.number != self._number:
            raise Malformed(f"The answer to call {reply.number} came for call {self._number}.")
        if reply.code != messages.OK:
            self._region, self.is_free = None, True
            raise HopError(reply.code, reply.text, reply.retry_after_s)
        assert self._region is not None  # it had one when it asked
        return {name: array.copy() for name, array in self._region.read(reply.tensors).items()}
