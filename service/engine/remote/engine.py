"""The remote engine: models behind one or more gRPC addresses that speak TF Serving's protocol.

Peers are other Signposts, `tensorflow_model_server`s, or the engine process of this very service. Which of them answer
and what they have is the business of `fleet.py`; here a lease is pinned to a version and its signatures. TensorFlow is
never imported.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from service import protocol, signature_messages
from service.engine.batched_servable import BATCHING_IS_OFF, NOT_OPEN
from service.engine.batching.parameters import BatchingParameters
from service.engine.remote import names
from service.engine.remote.asked import Asked
from service.engine.remote.errors import VersionGone
from service.engine.remote.fleet import Fleet
from service.engine.remote.link import Link
from service.engine.remote.peers import Peer, Statuses
from service.engine.remote.servable import RemoteServable
from service.engine.wrapped import WrappedServable
from service.errors import InvalidRequest, ModelFailed, NotFound, SignpostError, Unavailable
from service.interface import (
    Answer,
    Array,
    Call,
    ModelSpec,
    Queue,
    RunBy,
    Servable,
    Signature,
    State,
    Status,
    VersionStatus,
)
from service.near_misses import not_found

# Seconds for calls that few requests wait for: metadata, the classes' names.
_ASIDE_S: Final = 5.0
# Seconds for which the version behind a label is remembered.
_LABEL_S: Final = 1.0
_PLAIN: Final = Link()
_NOT_TOLD: Final = "the engine does not say whether its rows are independent"


class RemoteEngine:
    """Lends what peers serve; see `service.interface.Engine`.

    Args:
        addresses: `host:port` or `unix:/path` of each peer, or `dns:name:port` of several.
        parameters: how many of this process's requests one call gathers, and how many calls run at the same time; None
            sends each request by itself.
        models: names of models that the peers serve; needed only where they can't list them and readiness counts.
        poll_s: seconds between checks of the peers.
        link: how calls reach the peers.
        pinned: the version that a request which names none means, where the peer has told it to all processes of its
            service at once; None for any other, or where it is not known.
        resolve: looks names up.
    """

    has_canaries = False  # what stands before it may have them

    def __init__(
        self,
        addresses: Sequence[str],
        parameters: BatchingParameters | None,
        *,
        models: Sequence[str] = (),
        poll_s: float = 1.0,
        link: Link = _PLAIN,
        pinned: Callable[[ModelSpec], int | None] = lambda _: None,
        resolve: names.Resolve = names.by_system,
    ) -> None:
        """Connect to nothing yet; `start` begins."""
        self._parameters = parameters
        self._pinned = pinned
        self._fleet = Fleet(addresses, told=models, poll_s=poll_s, found=self._prepare, link=link, resolve=resolve)
        self._lock = threading.Lock()  # held to change the three below, never while a peer is asked
        self._servables: dict[tuple[str, int], RemoteServable] = {}
        self._building: dict[tuple[str, int], threading.Lock] = {}
        self._labels: dict[tuple[str, str], tuple[int, float]] = {}  # version, and when it was asked for
        self._missed: set[tuple[str, int]] = set()  # pinned versions that were looked for and not found

    def start(self) -> None:
        """Connect, and keep up with what the peers have; call it after any fork."""
        self._fleet.start()

    def close(self) -> None:
        """Fail what waits and disconnect; takes seconds at most."""
        with self._lock:
            servables = list(self._servables.values())
        for servable in servables:
            servable.close()
        self._fleet.close()

    @contextmanager
    def lease(self, spec: ModelSpec) -> Iterator[Servable]:
        """Borrow a servable, pinned to a version; see `Engine.lease`."""
        try:
            servable = self._find(spec)
        except VersionGone:  # swapped out since the peers were looked at
            self._fleet.look_again()
            servable = self._find(spec)
        yield servable if spec.version is not None else _Lent(self, spec, servable)

    def status(self) -> Status:
        """The states of all versions of all models known, as the peers told them last; see `Engine.status`.

        While no peer answers, the versions known last are in the state UNKNOWN.
        """
        if self._fleet.alive:
            models = self._fleet.models
            return Status(models, {name: why for name, why in self._fleet.reasons.items() if not models.get(name)})
        why = self._fleet.silence
        nothing = (VersionStatus(0, State.UNKNOWN),)
        return Status(
            {
                name: tuple(replace(each, state=State.UNKNOWN, error=why) for each in versions or nothing)
                for name, versions in self._fleet.models.items()
            },
            waiting=why,
        )

    def queued(self, model: str | None = None) -> dict[tuple[str, int], Queue]:
        """What waits for a call of this process now; see `Engine.queued`."""
        with self._lock:
            return {key: each.queue for key, each in self._servables.items() if model in (None, key[0])}

    def fresh(self, spec: ModelSpec, gone: int) -> RemoteServable:
        """The servable for a spec after the version that it had is gone, once the peers were asked again.

        Raises:
            NotFound, Unavailable: as `lease`.
        """
        with self._lock:
            self._servables.pop((spec.name, gone), None)
            self._labels.clear()
        self._fleet.look_again()
        return self._find(spec)

    def _find(self, spec: ModelSpec) -> RemoteServable:
        if not self._fleet.alive:
            self._fleet.wait_for_first_look()
            if not self._fleet.alive:
                raise Unavailable(self._fleet.silence)
        if spec.name not in self._fleet.models and not self._fleet.learn(spec.name):
            if self._fleet.refused:
                raise Unavailable("The engine rejects this gateway's API key; ask the operator.")
            if self._fleet.starting:
                raise Unavailable("The engine is starting; try again.")
            reason = self._fleet.reasons.get(spec.name, "").rstrip(".")
            says = f"Servable not found for request: {spec}; {reason}."
            raise NotFound(says if reason else not_found(spec, self._fleet.models))
        if spec.version is None and (pinned := self._pinned(spec)) is not None and self._serves(spec.name, pinned):
            return self._servable(spec.name, pinned)
        if spec.label is not None:
            return self._servable(spec.name, self._version_of_label(spec.name, spec.label))
        versions = self._fleet.models.get(spec.name, ())
        serving = _serving(versions)
        if spec.version is not None:
            if spec.version not in serving:
                raise NotFound(f"Servable not found for request: {spec}{_why(versions, spec.version)}.")
            return self._servable(spec.name, spec.version)
        if not serving:
            why = "; ".join(f"version {each.version}: {each.error or each.state.name}" for each in versions)
            why = why or self._fleet.reasons.get(spec.name, "not loaded yet").rstrip(".")
            raise Unavailable(f"Model {spec.name} is not ready ({why}); try again.")
        return self._servable(spec.name, serving[0])

    def _serves(self, name: str, version: int) -> bool:
        """Whether a pinned version is known here; the peers are asked once if it is not."""
        key = (name, version)
        if version not in _serving(self._fleet.models.get(name, ())):
            if key in self._missed:
                return False
            self._fleet.look_again()
            if version not in _serving(self._fleet.models.get(name, ())):
                self._missed.add(key)
                return False
        self._missed.discard(key)
        return True

    def _version_of_label(self, name: str, label: str) -> int:
        version, asked_at_s = self._labels.get((name, label), (0, -_LABEL_S))
        if time.monotonic() - asked_at_s < _LABEL_S:
            return version
        asked_at_s = time.monotonic()
        response = self._metadata(ModelSpec(name, label=label))
        version = int(response.model_spec.version.value)
        with self._lock:
            self._labels[name, label] = (version, asked_at_s)
        return version

    def _servable(self, name: str, version: int) -> RemoteServable:
        """The servable of a version, made by the first that asks for it."""
        key = (name, version)
        known = self._servables.get(key)
        if known is not None:
            return known
        with self._lock:
            building = self._building.setdefault(key, threading.Lock())
        with building:
            known = self._servables.get(key)
            if known is None:
                known = self._build(name, version)
                with self._lock:
                    self._servables[key] = known
                    self._building.pop(key, None)
            return known

    def _build(self, name: str, version: int) -> RemoteServable:
        spec = ModelSpec(name, version)
        signatures = _signatures(self._metadata(spec))
        servable = RemoteServable(
            name,
            version,
            signatures=signatures,
            send=self._send,
            parameters=self._parameters,
            unjoined=self._unjoined(spec, signatures),
        )
        servable.run_by = self._run_by(spec)
        servable.learn_classes(time.monotonic() + _ASIDE_S)
        return servable

    def _run_by(self, spec: ModelSpec) -> RunBy:
        """What ran a version there when it was first asked for; no name where the peer does not tell."""
        try:
            response = self._metadata(spec, signature_messages.RUNTIME_FIELD)
        except InvalidRequest:  # as TF Serving, and Signpost before it had runtimes, answer
            return RunBy("")
        return signature_messages.read_run_by(response.metadata[signature_messages.RUNTIME_FIELD])

    def _unjoined(self, spec: ModelSpec, signatures: Mapping[str, Signature]) -> dict[str, str]:
        """Why requests of signatures must not be joined: what the peer says, or else all but image classifiers."""
        if self._parameters is None:
            return dict.fromkeys(signatures, BATCHING_IS_OFF)
        if not self._parameters.row_test:
            return {name: NOT_OPEN for name, signature in signatures.items() if not signature.batchable}
        try:
            response = self._metadata(spec, signature_messages.JOINING_FIELD)
        except InvalidRequest:  # as TF Serving answers
            return {name: _NOT_TOLD for name, signature in signatures.items() if signature.image is None}
        return signature_messages.read_unjoined(response.metadata[signature_messages.JOINING_FIELD])

    def _metadata(self, spec: ModelSpec, field: str = "signature_def") -> Any:
        request = protocol.get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=[field])
        request.model_spec.name = spec.name
        if spec.version is not None:
            request.model_spec.version.value = spec.version
        if spec.label is not None:
            request.model_spec.version_label = spec.label
        return self._fleet.ask(Peer.metadata, request, spec.name, spec.version, time.monotonic() + _ASIDE_S)

    def _send(self, asked: Asked, deadline: float) -> dict[str, Array]:
        outputs: dict[str, Array] = self._fleet.ask(Peer.predict, asked, asked.model, asked.version, deadline)
        return outputs

    def _prepare(self, models: Statuses) -> None:
        """Make the servables of new versions off the request path, and forget those of versions that are gone."""
        for name, versions in models.items():
            for version in _serving(versions)[:1]:
                with contextlib.suppress(SignpostError):  # a request that needs it will say why
                    self._servable(name, version)
        held = {(name, version) for name, versions in models.items() for version in _serving(versions)}
        with self._lock:
            for key in self._servables.keys() - held:
                del self._servables[key]  # leases that have it finish with it


class _Lent(WrappedServable):
    """A servable as leased without a version: when its version is swapped out meanwhile, it moves on, once."""

    def __init__(self, engine: RemoteEngine, spec: ModelSpec, servable: RemoteServable) -> None:
        super().__init__(servable)
        self._engine = engine
        self._spec = spec

    def predict(self, inputs: Mapping[str, Array], call: Call) -> Answer:
        try:
            return self.inner.predict(inputs, call)
        except VersionGone as error:
            before = self.inner
            self.inner = self._engine.fresh(self._spec, before.version)
            same = self.inner.signatures == before.signatures and self.inner.classes == before.classes
            if not same:  # the request was read with the old signature in mind
                raise Unavailable(
                    f"Model {self.name} was just replaced by a model of another kind; try again."
                ) from error
            return self.inner.predict(inputs, call)


def _signatures(response: Any) -> dict[str, Signature]:
    map_ = protocol.get_model_metadata_pb2.SignatureDefMap()
    if not response.metadata["signature_def"].Unpack(map_):
        raise ModelFailed("The engine's metadata contains no signatures.")
    return {name: signature_messages.read_signature(proto) for name, proto in sorted(map_.signature_def.items())}


def _serving(versions: Sequence[VersionStatus]) -> list[int]:
    """The versions that answer, the highest first."""
    return [each.version for each in versions if each.state is State.AVAILABLE]


def _why(versions: tuple[VersionStatus, ...], version: int) -> str:
    error = next((f" ({each.error})" for each in versions if each.version == version and each.error), "")
    serving = ", ".join(map(str, reversed(_serving(versions))))
    return f"{error}; available: {serving}" if serving else f"{error}; no version is available"
