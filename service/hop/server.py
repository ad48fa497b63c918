"""The engine's end of the hop: a thread for each connection of a gateway, which runs its calls.

The threads are started by one that accepts, and that one by `start`; all end with `close`. The death of a connection's
thread closes the connection, and the gateway tells its caller that the engine can't answer; a connection that can't be
accepted, has no thread or exceeds the limit, is closed, and the gateway goes over gRPC. An error in the thread that
accepts is logged, and it goes on.
"""

import contextlib
import logging
import select
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from service.hop import messages, region, sockets
from service.hop.messages import HopError, Reply, Request
from service.interface import Array

log = logging.getLogger(__name__)

# Runs a call: the request, its inputs, and how to find out that nobody waits for it any more. Raises HopError.
Run = Callable[[Request, Mapping[str, Array], Callable[[], bool]], Mapping[str, Array]]

_BACKLOG: Final = 1024
# Connections at a time: each has two files, of the 1,024 that a process may have open unless it is told otherwise.
MOST: Final = 256
# Seconds without accepting after it failed (no file is left, for one).
_PAUSE_S: Final = 0.1
# What is told of a connection that the other end has closed.
_GONE: Final = select.POLLHUP | select.POLLERR


class HopServer:
    """Takes calls on a socket.

    Args:
        path: of the socket, in a folder that only this user can enter.
        run: runs a call, in the thread of its connection. What it is given lies in memory that the gateway writes to
            once it has the reply, so `run` must leave nobody behind who looks at it, unless it raises.
    """

    def __init__(self, path: Path, run: Run) -> None:
        """Listen on nothing yet."""
        self._path = path
        self._run = run
        self._listener = sockets.make()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._accept, name="hop", daemon=True)
        self._changed = threading.Condition()  # guards the next
        self._connections: set[socket.socket] = set()

    def start(self) -> None:
        """Listen, and take calls."""
        self._path.unlink(missing_ok=True)  # left by an engine process that was killed
        self._listener.bind(str(self._path))
        self._path.chmod(0o600)
        self._listener.listen(_BACKLOG)
        self._thread.start()

    def close(self, grace_s: float = 5.0) -> None:
        """Take no further calls, and wait until those that run have ended, `grace_s` seconds at most."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes who accepts
        if self._thread.is_alive():
            self._thread.join(grace_s)
        self._listener.close()
        with self._changed:
            self._end(socket.SHUT_RD)
            self._changed.wait_for(lambda: not self._connections, grace_s)
            self._end(socket.SHUT_RDWR)

    def _end(self, how: int) -> None:
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(how)

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                if not self._stopping.is_set():
                    log.error("A gateway's connection can't be accepted: %s.", error.strerror)
                    self._stopping.wait(_PAUSE_S)
                continue
            try:
                self._begin(connection)
            except Exception:  # the thread's death would leave all gateways waiting
                log.exception("A gateway's connection can't be set up.")
                self._drop(connection)

    def _begin(self, connection: socket.socket) -> None:
        if not sockets.is_ours(connection):
            log.warning("A process of another user tried to reach the engine through its private socket.")
            connection.close()
            return
        with self._changed:
            if len(self._connections) >= MOST:
                connection.close()
                return
            self._connections.add(connection)
        threading.Thread(target=self._serve, args=(connection,), name="hop-call", daemon=True).start()

    def _drop(self, connection: socket.socket) -> None:
        with self._changed:
            self._connections.discard(connection)
            connection.close()
            self._changed.notify_all()

    def _serve(self, connection: socket.socket) -> None:
        """Run the calls of a connection until the gateway closes it."""
        watched = select.poll()
        watched.register(connection, 0)

        def has_left() -> bool:
            return any(event & _GONE for _, event in watched.poll(0))

        shared = None
        try:
            sockets.send(connection, sockets.HELLO)
            while not self._stopping.is_set():
                message, shared = sockets.receive(connection, shared)
                if not message:
                    return
                request = messages.read_request(message)
                if shared is None:
                    raise messages.Malformed("A call arrived without its memory.")
                shared = self._call(connection, request, shared, has_left)
        except ConnectionError:  # the gateway gave the call up, or ended
            pass
        except Exception:
            log.exception("A connection from a gateway failed unexpectedly.")
        finally:
            self._drop(connection)

    def _call(
        self, connection: socket.socket, request: Request, shared: region.Region, has_left: Callable[[], bool]
    ) -> region.Region:
        """Run a call and send its reply; the region from now on: a larger one, if the outputs needed it."""
        larger = None
        try:
            inputs = shared.read(request.tensors)
            outputs = self._run(request, inputs, has_left)
            if not messages.carries_all(outputs):
                raise HopError("INTERNAL", "The model returned tensors of types other than its signature declares.")
            start = region.end(inputs.values())
            if (size := region.end(outputs.values(), start)) > shared.size:
                larger = _make(size)
            reply = Reply(request.number, messages.OK, tensors=(larger or shared).write(outputs, start))
        except HopError as error:
            reply = Reply(request.number, error.code, error.text, error.retry_after_s)
        sockets.send(connection, messages.write(reply), larger)
        return larger or shared


def _make(size: int) -> region.Region:
    try:
        return region.make(size)
    except OSError as error:
        raise HopError("UNAVAILABLE", f"no memory for the outputs: {error.strerror}") from error
