"""What should be loaded against what is: the next single thing to do.

A pure function, so that its test is a table. The rule: load what is wanted first, and give up a version that serves
only when a wanted one of the same model serves in its place, or when the model itself is no longer wanted, and never
while requests are led to it.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Literal

from service.interface import State

# A version of a model: its name and number.
Version = tuple[str, int]


@dataclass(frozen=True)
class Action:
    """One thing to do with one version."""

    verb: Literal["load", "unload", "refuse", "forget"]
    version: Version


def next_action(
    wanted: Mapping[str, Set[int]],
    held: Mapping[Version, State],
    changed: Set[Version],
    named: Set[Version] = frozenset(),
    refused: Set[Version] = frozenset(),
) -> Action | None:
    """Decide what to do next.

    Args:
        wanted: for each model the versions that should serve.
        held: the state of every version that is loaded, or that was tried and failed (END).
        changed: versions that failed and whose files have changed since.
        named: versions that answer by default or by a label, in all workers of the service.
        refused: versions that another worker could not load, and that are therefore not served here either.

    Returns:
        The next action, or None when all is as it should be (or can't be better).
    """
    for model, versions in sorted(wanted.items()):
        for version in sorted(versions, reverse=True):
            key = (model, version)
            if key not in held or (held[key] is State.END and key in changed):
                return Action("load", key)
    for (model, version), state in sorted(held.items()):
        if state is State.AVAILABLE and (model, version) in named:
            continue
        if state is State.AVAILABLE and (model, version) in refused:
            return Action("refuse", (model, version))
        if version in wanted.get(model, ()):
            continue
        if state is State.END:
            return Action("forget", (model, version))
        replaced = any(held.get((model, other)) is State.AVAILABLE for other in wanted.get(model, ()))
        if state is State.AVAILABLE and (replaced or not wanted.get(model)):
            return Action("unload", (model, version))
    return None
