"""One address of a remote engine: its channel, and what is known of its health and models.

Nothing here starts a thread; gRPC's own belong to the channel and end with `Peer.close`. No TensorFlow is imported.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service import protocol
from service.engine.remote import errors
from service.engine.remote.asked import Asked, read_response, to_request
from service.engine.remote.link import Link
from service.errors import one_line, without_paths
from service.hop.client import Hop
from service.hop.messages import HopError
from service.interface import Array, State, VersionStatus
from service.telemetry.carried import time_left

log = logging.getLogger(__name__)

# Seconds after which a peer that does not say how it is counts as silent; twice in a row means dead.
HEALTH_TIMEOUT_S: Final = 2.0
_SILENCES: Final = 2

_SILENT: Final = (grpc.StatusCode.DEADLINE_EXCEEDED,)
# What a server without `List` says; grpcio's own health service calls it an unforeseen error.
_NOT_MADE: Final = (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNKNOWN)

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
        self._hop: Hop | None = None

    def open(self) -> None:
        """Make the channel, and the hop where there is one; they connect by themselves."""
        self._channel = self._link.open(self.address)
        self._prediction = protocol.prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models = protocol.model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)
        if self._link.hop is not None:
            self._hop = Hop(self._link.hop)

    def close(self) -> None:
        """Close the channel and the hop; calls that run end with Unavailable."""
        if self._channel is not None:
            self._channel.close()
        if self._hop is not None:
            self._hop.close()

    def predict(self, asked: Asked, timeout_s: float) -> dict[str, Array]:
        """Run a signature and wait for its outputs: over the hop where that can be done, or else over gRPC.

        Raises:
            grpc.RpcError: as gRPC reports it, or would; see `in_our_words`.
            ModelFailed: the answer can't be read.
        """
        if self._hop is not None and asked.gives_numbers:
            try:
                outputs = self._hop.call(
                    asked.model, asked.version, asked.signature_name, asked.outputs, asked.inputs,
                    asked.metadata, timeout_s,
                )  # fmt: skip
            except HopError as error:
                raise errors.HopFailed(error) from error
            if outputs is not None:
                return outputs
        metadata = (protocol.PREFERS_CONTENT, time_left(timeout_s), *self._link.metadata, *asked.metadata)
        return read_response(self._prediction.Predict(to_request(asked), timeout=timeout_s, metadata=metadata))

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
        elif code in errors.GONE:
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
            log.warning("The engine at %s rejects this gateway's API key; see --engine-api-key-file.", self.address)
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
    """The versions of a model that the peer holds, but does not offer yet (or no longer) as its health service says."""
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
