"""A version that is loaded, being loaded, or has failed, and which of them answers a request."""

import hashlib
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from service.config.model_config import ModelConfig
from service.engine.local.agreement import NO_OFFER, Failure, ModelOffer, ModelView, View
from service.engine.local.folders import Files
from service.engine.local.lifecycle import Version
from service.errors import NotFound, Unavailable
from service.interface import ModelSpec, Queue, Servable, State, VersionStatus
from service.near_misses import not_found


class ClosableServable(Servable, Protocol):
    """A servable whose owner gives its memory back."""

    @property
    def queue(self) -> Queue:
        """What waits for a batch now."""
        ...

    def close(self) -> None:
        """Fail what waits and give the memory back."""
        ...


@dataclass
class Held:
    """One version; its lock is the engine's."""

    state: State
    folder: Path
    files: Files
    servable: ClosableServable | None = None
    error: str = ""
    leases: int = 0


def find(
    spec: ModelSpec,
    held: Mapping[Version, Held],
    configs: Mapping[str, ModelConfig],
    view: ModelView,
    offer: ModelOffer = NO_OFFER,
    reason: str = "",
) -> Held:
    """Find the version that answers a request.

    Args:
        spec: what the request asks for.
        held: the versions there are.
        configs: of the models that are wanted.
        view: what all workers of the service go by for this model.
        offer: what this worker has offered.
        reason: what is wrong with the model's folder.

    Raises:
        NotFound: there is no such model, version or label.
        Unavailable: it is not loaded yet, or could not be loaded.
    """
    if spec.version is None and spec.label is None and view.default is not None:
        usual = held.get((spec.name, view.default))
        if usual is not None and usual.state is State.AVAILABLE:
            return usual
    versions = {version: each for (name, version), each in held.items() if name == spec.name}
    config = configs.get(spec.name)
    reason = "" if versions else reason.rstrip(".")
    if not versions and (config is None or not config.required):
        known = {name for name, each in configs.items() if each.required} | {name for name, _ in held}
        raise NotFound(f"Servable not found for request: {spec}; {reason}." if reason else not_found(spec, known))
    number = spec.version if spec.label is None else _labelled(spec.label, view.labels)
    if number is None:
        default = default_version(versions, view, offer)
        found = None if default is None else versions[default]
    else:
        found = versions.get(number)
        # One that is going counts as gone, so that a client which asked for it by number looks for the next.
        if found is None or found.state in (State.END, State.UNLOADING):
            raise NotFound(f"Servable not found for request: {spec}{_why(found)}; {reason or _available(versions)}.")
    if found is None or found.state is not State.AVAILABLE:
        why = "; ".join(f"version {v}: {h.error or h.state.name}" for v, h in sorted(versions.items()))
        raise Unavailable(f"Model {spec.name} is not ready ({why or reason or 'not loaded yet'}); try again.")
    return found


def default_version(versions: Mapping[int, Held], view: ModelView, offer: ModelOffer) -> int | None:
    """The version of a model that answers requests that name none; None while it is still to be loaded.

    It is the one that all workers agreed on. Before they have, and for a worker that can't have it, it is the best of
    what this worker has, once nothing better is on its way.
    """
    serving = [version for version in versions if _serves(versions[version])]
    if view.default in serving:
        return view.default
    if not serving or not offer.has_target or view.default in offer.coming:
        return None
    return max(serving, key=lambda version: (version in offer.preferred, version))


def offer_of(
    name: str,
    held: Mapping[Version, Held],
    preferred: Set[int],
    wanted: Set[int],
    labels: Mapping[str, int],
    changed: Set[Version],
) -> ModelOffer:
    """What a worker offers of a model.

    Args:
        name: the model.
        held: the versions that it has tried.
        preferred: versions for requests that name none.
        wanted: versions that it should have.
        labels: what the labels should point at.
        changed: versions that failed and will be tried again.
    """
    versions = {version: each for (model, version), each in held.items() if model == name}
    failed = {
        version: Failure(each.error, digest(each.files))
        for version, each in versions.items()
        if each.state is State.END and (name, version) not in changed
    }
    tried = {version for version, each in versions.items() if each.state is not State.LOADING}
    return ModelOffer(
        frozenset(version for version, each in versions.items() if _serves(each)),
        frozenset(wanted - tried) | {version for model, version in changed if model == name and version in wanted},
        failed,
        frozenset(preferred),
        labels,
    )


def statuses(name: str, held: Mapping[Version, Held], view: ModelView, offer: ModelOffer) -> tuple[VersionStatus, ...]:
    """The states of a model's versions for the service as a whole, the highest version first.

    A version is AVAILABLE once every worker has it, and none is before the first default version answers.
    """
    versions = {version: each for (model, version), each in held.items() if model == name}
    default = default_version(versions, view, offer)
    # Where this worker has to go its own way, it tells what it has itself.
    there = view.available if default == view.default else versions.keys()
    stays = offer.preferred | view.named | frozenset(offer.labels.values())
    told = []
    for number, each in sorted(versions.items(), reverse=True):
        state = each.state
        if state is State.AVAILABLE and (default is None or number not in there):
            state = State.LOADING if number in stays else State.UNLOADING
        told.append(VersionStatus(number, state, each.error))
    return tuple(told)


def refused(held: Mapping[Version, Held], view: View) -> set[Version]:
    """Versions that another worker could not load, of the very files that were loaded here, and that can be spared."""
    return {
        (name, version)
        for (name, version), each in held.items()
        if each.state is State.AVAILABLE
        and (failure := view.of(name).failed.get(version)) is not None
        and failure.files == digest(each.files)
        and view.of(name).default in view.of(name).available
    }


def digest(files: Files) -> str:
    """What tells whether two workers speak of the same files of a version."""
    return hashlib.blake2b(repr(sorted(files.items())).encode(), digest_size=16).hexdigest()


def _labelled(label: str, labels: Mapping[str, int]) -> int:
    if label not in labels:
        there = ", ".join(f"{name} = {number}" for name, number in labels.items()) or "none"
        raise NotFound(f"Unrecognized servable version label: {label}; the model's labels: {there}.")
    return labels[label]


def _serves(held: Held) -> bool:
    return held.state is State.AVAILABLE


def _why(held: Held | None) -> str:
    return f" ({held.error})" if held is not None and held.error else ""


def _available(versions: Mapping[int, Held]) -> str:
    serving = [str(version) for version, held in sorted(versions.items()) if _serves(held)]
    return f"available: {', '.join(serving)}" if serving else "no version is available"
