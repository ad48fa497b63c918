"""A version that is loaded, being loaded, or has failed, and which of them answers a request."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from service.engine.folders import Files
from service.engine.interface import ModelSpec, Queue, Servable, State
from service.engine.lifecycle import Version
from service.errors import NotFound, Unavailable
from service.model_config import ModelConfig
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
    defaults: Mapping[str, Set[int]],
) -> Held:
    """Find the version that answers a request.

    Args:
        spec: what the request asks for.
        held: the versions there are.
        configs: of the models that are wanted.
        defaults: for each model the versions for requests that name none.

    Raises:
        NotFound: there is no such model, version or label.
        Unavailable: it is not loaded yet, or could not be loaded.
    """
    versions = {version: each for (name, version), each in held.items() if name == spec.name}
    config = configs.get(spec.name)
    if not versions and config is None:
        raise NotFound(not_found(spec, {*configs, *(name for name, _ in held)}))
    number = spec.version if spec.label is None else _labelled(spec.label, config)
    if number is None:
        serving = [v for v in versions if _serves(versions[v])]
        preferred = defaults.get(spec.name, ())
        # While none of those preferred is loaded yet, the one that is to be replaced still serves.
        found = versions[max(serving, key=lambda v: (v in preferred, v))] if serving else None
    else:
        found = versions.get(number)
        # One that is going counts as gone, so that a client which asked for it by number looks for the next.
        if found is None or found.state in (State.END, State.UNLOADING):
            raise NotFound(f"Servable not found for request: {spec}{_why(found)}; {_available(versions)}.")
    if found is None or found.state is not State.AVAILABLE:
        why = "; ".join(f"version {v}: {h.error or h.state.name}" for v, h in sorted(versions.items()))
        raise Unavailable(f"Model {spec.name} is not ready ({why or 'not loaded yet'}); try again.")
    return found


def _labelled(label: str, config: ModelConfig | None) -> int:
    labels = config.labels if config is not None else {}
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
