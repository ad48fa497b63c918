"""One address of a remote engine: its channel, what is known of its health and models, and its errors in our words.

Nothing here starts a thread; gRPC's own belong to the channel and end with `Peer.close`. No TensorFlow is imported.
"""

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service import protocol
from service.admission import TOO_MANY
from service.engine.remote.link import Link
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
    one_line,
    without_paths,
)
from service.interface import State, VersionStatus
from service.telemetry.carried import Metadata, time_left

log = logging.getLogger(__name__)

# Seconds after which a peer that does not say how it is counts as silent; twice in a row means dead.
HEALTH_TIMEOUT_S: Final = 2.0
_SILENCES: Final = 2

_SILENT: Final = (grpc.StatusCode.DEADLINE_EXCEEDED,)
_GONE: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
# What a server without `List` says; grpcio's own health service calls it an unforeseen error.
_NOT_MADE: Final = (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNKNOWN)
_REFUSED_INPUT: Final = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE)
# The path of a socket in gRPC's own errors.
_SOCKET: Final = re.compile(r"unix:[^\s:;]+:? ?")
# How gRPC begins its text when a call found no connection on which it could have been sent.
_NEVER_SENT: Final = "failed to connect to all addresses"

_PLAIN: Final = Link()

Statuses = Mapping[str, tuple[VersionStatus, ...]]


class Peer:
    """One address. `open` makes the channel, after the fork; what it knows changes only in `note_…`.

    Args:
        address: `host:port` or `unix:/path`.
        link: how calls reach it.
    """

    def __init__(self, address: str, link: Link = _PLAIN) -> None:
        """Know nothing yet."""
        self.address = address
        self._link = link
        # What clients are told; the path of a socket is nobody's business.
        self.shown = "a socket of this machine" if address.startswith("unix:") else address
        self.alive = False
        self.outstanding = 0  # calls that run now; counted by the engine, under its lock
        self.statuses: Statuses = {}
        self.ready: Mapping[str, bool] = {}  # by model, as far as its health service tells
        self.astray: frozenset[str] = frozenset()  # models whose folders are laid out wrongly there
        self.reasons: Mapping[str, str] = {}  # why models have no version
        self.empty = False  # it can list its models and lists none
        self._lists_health = True
        self.refused = False  # it wants an API key, and another than it is sent
        self._silences = 0
        self._channel: Any = None

    def open(self) -> None:
        """Make the channel; it connects by itself."""
        self._channel = self._link.open(self.address)
        self._prediction = protocol.prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models = protocol.model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)

    def close(self) -> None:
        """Close the channel; calls that run end with Unavailable."""
        if self._channel is not None:
            self._channel.close()

    def predict(self, request: Any, timeout_s: float, metadata: Metadata = ()) -> Any:
        """Send a Predict request and wait for its answer; `metadata` go along with it.

        Raises:
            grpc.RpcError: as gRPC reports it; see `in_our_words`.
        """
        along = (protocol.PREFERS_CONTENT, time_left(timeout_s), *self._link.metadata, *metadata)
        return self._prediction.Predict(request, timeout=timeout_s, metadata=along)

    def metadata(self, request: Any, timeout_s: float) -> Any:
        """Send a GetModelMetadata request and wait for its answer; raises as `predict` does."""
        along = (time_left(timeout_s), *self._link.metadata)
        return self._prediction.GetModelMetadata(request, timeout=timeout_s, metadata=along)

    def ask_health(self) -> Any:
        """Ask how it is; the answer is for `note_health`.

        Where its health service has `List` (Signpost's has), one answer tells of every model.
        """
        if self._lists_health:
            return self._health.List.future(
                health_pb2.HealthListRequest(), timeout=HEALTH_TIMEOUT_S, metadata=self._link.metadata
            )
        return self._health.Check.future(health_pb2.HealthCheckRequest(), timeout=HEALTH_TIMEOUT_S)

    def note_health(self, asked: Any) -> None:
        """Wait for the answer to `ask_health` and note whether it is alive and which models it says are ready."""
        code = asked.code()  # waits
        self.empty = False
        states = health_pb2.HealthCheckResponse
        if code is grpc.StatusCode.OK:
            self._silences, answer = 0, asked.result()
            serving = states.SERVING
            if not self._lists_health:
                self.alive, self.ready = answer.status == serving, {}
                return
            self.alive = True
            self.ready = {
                name: each.status == serving
                for name, each in answer.statuses.items()
                if name and each.status not in (states.UNKNOWN, states.SERVICE_UNKNOWN)
            }
            self.astray = frozenset(n for n, each in answer.statuses.items() if n and each.status == states.UNKNOWN)
            # Other servers list nothing but themselves, and are well.
            self.empty = not self.ready and not any(each.status == serving for each in answer.statuses.values())
        elif code in _NOT_MADE and self._lists_health:
            self._lists_health, self.alive = False, True  # asked the other way next time
        elif code in _GONE:
            self.note_death()
        elif code in _SILENT:
            self._silences += 1
            if self._silences >= _SILENCES:
                self.note_death()
        else:  # an answer of any other kind (tensorflow_model_server has no health service) is a sign of life
            self._silences, self.alive, self.ready = 0, True, {}

    def note_death(self) -> None:
        """Note that it does not answer; what it served is kept, to be told in the status."""
        self.alive, self.ready, self.astray, self._lists_health = False, {}, frozenset(), True

    def ask_status(self, model: str) -> Any:
        """Ask for the states of a model's versions; the answer is for `read_status`."""
        request = protocol.get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = model
        return self._models.GetModelStatus.future(request, timeout=HEALTH_TIMEOUT_S, metadata=self._link.metadata)

    def note_statuses(self, asked: Mapping[str, Any]) -> None:
        """Wait for the answers to `ask_status`, by model, and note them; a silence leaves a model as it was."""
        refused = any(future.code() is grpc.StatusCode.UNAUTHENTICATED for future in asked.values())
        if refused and not self.refused:
            log.warning(
                "The engine at %s does not take this gateway's API key; see --engine-api-key-file.", self.address
            )
        self.refused = refused
        statuses: dict[str, tuple[VersionStatus, ...]] = {}
        reasons: dict[str, str] = {}
        for model, future in asked.items():
            versions = read_status(future)
            if versions == ():
                reasons[model] = one_line(without_paths(protocol.reason_in(future.details() or "", model)))
            if versions is None:
                versions = self.statuses.get(model)
            if versions is not None:
                statuses[model] = versions if self.ready.get(model, True) else _not_yet(versions)
            elif not self.ready.get(model, True):  # configured there, but nothing of it is held yet
                statuses[model] = ()
        self.statuses, self.reasons = statuses, {model: reason for model, reason in reasons.items() if reason}

    def serves(self, model: str, version: int) -> bool:
        """Whether a call for this version can be sent to it."""
        return self.alive and any(
            each.version == version and each.state is State.AVAILABLE for each in self.statuses.get(model, ())
        )


def read_status(asked: Any) -> tuple[VersionStatus, ...] | None:
    """Wait for the answer to `Peer.ask_status`: the highest version first; None if the peer has no answer.

    A peer that does not have the model answers too: nothing.
    """
    code = asked.code()  # waits
    if code is grpc.StatusCode.NOT_FOUND:
        return ()
    if code is not grpc.StatusCode.OK:
        return None
    versions = [
        VersionStatus(each.version, _state(each.state), one_line(without_paths(each.status.error_message)))
        for each in asked.result().model_version_status
    ]
    return tuple(sorted(versions, key=lambda each: -each.version))


def _not_yet(versions: tuple[VersionStatus, ...]) -> tuple[VersionStatus, ...]:
    """The versions of a model that the peer holds, but does not offer yet (or any more) as its health service says."""
    return tuple(replace(each, state=State.LOADING) if each.state is State.AVAILABLE else each for each in versions)


def merge(statuses: Iterable[tuple[VersionStatus, ...]]) -> tuple[VersionStatus, ...]:
    """The states of a model's versions over several peers: of each version the best, the highest version first."""
    best: dict[int, VersionStatus] = {}
    for versions in statuses:
        for each in versions:
            known = best.get(each.version)
            if known is None or _PREFERENCE.index(each.state) < _PREFERENCE.index(known.state):
                best[each.version] = each
    return tuple(best[version] for version in sorted(best, reverse=True))


_PREFERENCE: Final = (State.AVAILABLE, State.LOADING, State.START, State.UNLOADING, State.END, State.UNKNOWN)


def _state(number: int) -> State:
    try:
        return State(number)
    except ValueError:  # an open enum
        return State.UNKNOWN


class VersionGone(NotFound):
    """The peer does not have the version that was asked for: it was swapped out since."""


def in_our_words(error: Any, peer: Peer) -> SignpostError:
    """An error of a call in the words of `service.errors`.

    Args:
        error: what gRPC raised (`grpc.RpcError`, which is also the call).
        peer: the peer that was called.
    """
    code, text = error.code(), without_paths(_SOCKET.sub("", str(error.details() or "").strip()))
    if text == protocol.STILL_LOADING:
        return Unavailable(text)
    if code is grpc.StatusCode.NOT_FOUND:
        return VersionGone(text)
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return Unavailable(f"The engine at {peer.shown} does not take this gateway's API key; its operator can help.")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in text:
        return TooLarge(f"The request is larger than the engine at {peer.shown} takes: {text}")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED or _is_overload(code, text):
        return Overloaded(text, retry_after_s=1.0)
    if code is grpc.StatusCode.FAILED_PRECONDITION:
        return UnfitSignature(text)
    if code in _REFUSED_INPUT:
        return InvalidRequest(text)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded(f"No answer within the deadline from the engine at {peer.shown}.")
    if code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS):
        return ModelFailed(text or "The model failed.")
    return Unavailable(f"The engine at {peer.shown} can't answer ({text or code.name}); try again.")


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
    return error.code() in _GONE and text != protocol.STILL_LOADING and not _is_overload(error.code(), text)


def _is_overload(code: grpc.StatusCode, text: str) -> bool:
    # Signpost: "The queue is full: …", "The queue is too long for …" and `admission.too_many`; TF Serving: "The batch
    # scheduling queue … is full".
    return code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED) and (
        ("queue" in text and ("full" in text or "too long" in text)) or text.startswith(TOO_MANY)
    )
