"""gRPC's context for the servicers of a replica, over the one that Ray has for its calls.

Ray's has neither `abort` nor a deadline, nor does it say whether the client still waits: those are made here.
"""

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import grpc

from service.ray_serve import deadline

# Marks an answer of the replica's own among the metadata that come back; the proxy takes it off. What comes without
# it is what Ray says of a call, which is not for clients.
ANSWERED: Final = ("x-signpost-answered", "1")


class Ended(Exception):
    """Ends a call whose code and text are set, as gRPC's own `abort` does by another exception."""


class CallContext:
    """The part of gRPC's ServicerContext that is used here; see `service.rpc.errors.Context`.

    Args:
        ray_context: Ray's context of the call (`RayServegRPCContext`).
        clock: seconds, steady; replaced in tests.
    """

    def __init__(self, ray_context: Any, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin to count the time that is left."""
        self._ray_context = ray_context
        self._clock = clock
        self._metadata = tuple((key, value) for key, value in ray_context.invocation_metadata())
        left_s = deadline.left_s(self._metadata)
        self._until_s = None if left_s is None else clock() + left_s
        self._lock = threading.Lock()  # so that nothing is set once the call has ended
        self._is_active = True
        self._trailing: tuple[tuple[str, str], ...] = ()
        self._tell()

    def abort(self, code: grpc.StatusCode, details: str) -> Any:
        """End the call with an error; always raises."""
        self.end(code, details)
        raise Ended(details)

    def end(self, code: grpc.StatusCode, details: str) -> None:
        """End the call with an error, unless it has ended."""
        with self._lock:
            if self._is_active:
                self._is_active = False
                self._ray_context.set_code(code)
                self._ray_context.set_details(details)

    def leave(self) -> None:
        """Note that nobody is waiting for the answer."""
        with self._lock:
            self._is_active = False

    def time_remaining(self) -> float | None:
        """Seconds until the deadline, if there is one; not less than 0."""
        return None if self._until_s is None else max(0.0, self._until_s - self._clock())

    def invocation_metadata(self) -> tuple[tuple[str, Any], ...]:
        """What the client sent beside the request."""
        return self._metadata

    def set_trailing_metadata(self, metadata: Iterable[tuple[str, str]]) -> None:
        """Say what the client gets beside the answer."""
        with self._lock:
            if self._is_active:
                self._trailing = tuple(metadata)
                self._tell()

    def set_code(self, code: grpc.StatusCode) -> None:
        """Say how the call will have ended."""
        with self._lock:
            if self._is_active:
                self._ray_context.set_code(code)

    def set_details(self, details: str) -> None:
        """Say more of it."""
        with self._lock:
            if self._is_active:
                self._ray_context.set_details(details)

    def peer(self) -> str:
        """The client's address as the proxy saw it."""
        return self._ray_context.peer() or ""

    def is_active(self) -> bool:
        """Whether somebody still waits for the answer."""
        return self._is_active

    def cancel(self) -> bool:
        """End a stream that waits for its client: here none waits, as each message is answered by itself."""
        return False

    def _tell(self) -> None:
        self._ray_context.set_trailing_metadata([*self._trailing, ANSWERED])
