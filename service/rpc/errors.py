"""Errors on their way to a gRPC client: one table from our errors to codes, and what a call tells of its client."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

import grpc

from service import errors

log = logging.getLogger(__name__)

# What a client is told of an error that nobody foresaw.
UNFORESEEN: Final = "Signpost failed on this call; its log says why."
# From the most special class to the least: the first that fits counts.
CODES: Final[tuple[tuple[type[errors.SignpostError], grpc.StatusCode], ...]] = (
    (errors.UnfitSignature, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.InvalidRequest, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.SettingsError, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.Unauthenticated, grpc.StatusCode.UNAUTHENTICATED),
    (errors.Forbidden, grpc.StatusCode.PERMISSION_DENIED),
    (errors.Unsupported, grpc.StatusCode.UNIMPLEMENTED),
    (errors.NotFound, grpc.StatusCode.NOT_FOUND),
    (errors.Overloaded, grpc.StatusCode.UNAVAILABLE),
    (errors.Unavailable, grpc.StatusCode.UNAVAILABLE),
    (errors.DeadlineExceeded, grpc.StatusCode.DEADLINE_EXCEEDED),
    (errors.Abandoned, grpc.StatusCode.CANCELLED),
    (errors.SignpostError, grpc.StatusCode.INTERNAL),
)


class Context(Protocol):
    """The part of gRPC's ServicerContext that is used here."""

    def abort(self, code: grpc.StatusCode, details: str) -> Any:
        """End the call with an error; always raises."""
        ...

    def time_remaining(self) -> float | None:
        """Seconds until the client's deadline, if it set one."""
        ...

    def invocation_metadata(self) -> Iterable[tuple[str, str | bytes]]:
        """What the client sent beside the request."""
        ...

    def set_trailing_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
        """Say what the client gets beside the answer."""
        ...

    def peer(self) -> str:
        """The client's address."""
        ...

    def is_active(self) -> bool:
        """Whether the client still waits."""
        ...


def code_of(error: errors.SignpostError) -> grpc.StatusCode:
    """The gRPC code of one of our errors."""
    return next(code for kind, code in CODES if isinstance(error, kind))


@contextmanager
def ending(tell: Callable[[str], None]) -> Iterator[None]:
    """Tell how the context ended, by the name of a gRPC code; what it raises goes on."""
    status = "INTERNAL"
    try:
        yield
        status = "OK"
    except errors.SignpostError as error:
        status = code_of(error).name
        raise
    finally:
        tell(status)


@contextmanager
def errors_to(context: Context) -> Iterator[None]:
    """End the call with the code of an error of ours; no other error's text leaves the process."""
    try:
        yield
    except errors.SignpostError as error:
        context.abort(code_of(error), errors.one_line(str(error)))
    except Exception:
        if not context.is_active():  # abort() itself raises, and a client may leave at any moment
            raise
        log.exception("A gRPC call failed unexpectedly.")
        context.abort(grpc.StatusCode.INTERNAL, UNFORESEEN)


def has_left(context: Context) -> Callable[[], bool]:
    """How to find out whether the client has left."""
    return lambda: not context.is_active()
