"""What a call to a peer failed of, in our words: one table from gRPC's codes, for the hop too."""

import re
from typing import Any, Final

import grpc

from service import protocol
from service.admission import TOO_MANY
from service.errors import (
    DeadlineExceeded,
    InvalidRequest,
    ModelFailed,
    NotFound,
    Overloaded,
    SignpostError,
    TooLarge,
    Unavailable,
    UnfitSignature,
    without_paths,
)
from service.hop.messages import HopError

GONE: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
_REFUSED_INPUT: Final = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE)
# The path of a socket in gRPC's own errors.
_SOCKET: Final = re.compile(r"unix:[^\s:;]+:? ?")
# How gRPC begins its text when a call found no connection on which it could have been sent.
_NEVER_SENT: Final = "failed to connect to all addresses"


class VersionGone(NotFound):
    """The peer does not have the version that was asked for: it was swapped out since."""


class HopFailed(grpc.RpcError):  # type: ignore[misc]  # grpc has no types
    """A call that failed over the hop, as the error that gRPC would have raised for it."""

    def __init__(self, error: HopError) -> None:
        """Keep what it says."""
        super().__init__(error.text)
        self._error = error
        self.retry_after_s = error.retry_after_s

    def code(self) -> grpc.StatusCode:
        """The status."""
        return grpc.StatusCode[self._error.code]

    def details(self) -> str:
        """The text."""
        return self._error.text


def in_our_words(error: Any, shown: str) -> SignpostError:
    """An error of a call in the words of `service.errors`.

    Args:
        error: what gRPC raised (`grpc.RpcError`, which is also the call).
        shown: the peer that was called, as clients are told of it.
    """
    code, text = error.code(), without_paths(_SOCKET.sub("", str(error.details() or "").strip()))
    if text == protocol.STILL_LOADING:
        return Unavailable(text)
    if code is grpc.StatusCode.NOT_FOUND:
        return VersionGone(text)
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return Unavailable(f"The engine at {shown} rejects this gateway's API key; ask the operator.")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in text:
        return TooLarge(f"The request is larger than the engine at {shown} accepts: {text}")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED or _is_overload(code, text):
        return Overloaded(text, getattr(error, "retry_after_s", None) or 1.0)  # gRPC does not tell
    if code is grpc.StatusCode.FAILED_PRECONDITION:
        return UnfitSignature(text)
    if code in _REFUSED_INPUT:
        return InvalidRequest(text)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded(f"No answer within the deadline from the engine at {shown}.")
    if code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS):
        return ModelFailed(text or "The model failed.")
    return Unavailable(f"The engine at {shown} can't answer ({text or code.name}); try again.")


def surely_did_not_run(error: Any) -> bool:
    """Whether a call that failed so was never run, so that another peer may be asked: not sent, refused, or unknown."""
    code, text = error.code(), str(error.details() or "")
    return (
        code is grpc.StatusCode.NOT_FOUND
        or text == protocol.STILL_LOADING
        or _is_overload(code, text)
        or (code is grpc.StatusCode.UNAVAILABLE and text.startswith(_NEVER_SENT))
    )


def is_lost(error: Any) -> bool:
    """Whether the connection itself seems to be gone, so that the peer should be looked at at once."""
    text = str(error.details() or "")
    return error.code() in GONE and text != protocol.STILL_LOADING and not _is_overload(error.code(), text)


def _is_overload(code: grpc.StatusCode, text: str) -> bool:
    # Signpost: "The queue is full: …", "The queue is too long for …" and `admission.too_many`; TF Serving: "The batch
    # scheduling queue … is full".
    return code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED) and (
        ("queue" in text and ("full" in text or "too long" in text)) or text.startswith(TOO_MANY)
    )
