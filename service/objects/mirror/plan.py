"""What belongs into the copy of a model: a pure function, so that its test is a table.

The rule: what is wanted comes first. Only where a version of the copy can take over does anything leave it. What left
the bucket is then hidden, so that the engines change to what is wanted, and goes once none of them has it;
what is merely not wanted stays until then as it is.
"""

from collections.abc import Set
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """What becomes of the copies of a model's versions.

    Attributes:
        shown: as the engines see them.
        hidden: kept, but not seen.
        removed: deleted, unless another service of this host uses them.
    """

    shown: frozenset[int]
    hidden: frozenset[int] = frozenset()
    removed: frozenset[int] = frozenset()


def plan(
    copied: Set[int],
    there: Set[int],
    wanted: Set[int],
    held: Set[int],
    failed: Set[int] = frozenset(),
    is_named: bool = True,
) -> Plan:
    """Decide.

    Args:
        copied: versions of which there is a copy.
        there: versions that lie in the bucket, whole.
        wanted: those of them that should be served.
        held: versions that the engines of this service have loaded, or are loading.
        failed: versions that they could not load.
        is_named: whether the configuration still has this model.
    """
    copied = frozenset(copied)
    if is_named and not (wanted & copied) - failed:
        return Plan(copied)  # nothing can take over: the last good state stays
    kept = copied & (wanted | held)
    hidden = kept - wanted - there if is_named else frozenset()
    return Plan(kept - hidden, hidden, copied - kept)
