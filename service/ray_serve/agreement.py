"""Where the replicas of one deployment agree on versions: a small process of its own that all of them tell and ask.

The rule is that of the workers on one host (`service.engine.local.agreement`): what answers by default, and where
labels point, changes once every replica has the version. Replicas can't see a change at one moment as those workers do,
so a version that answered until then is kept until every replica knows of the change and gateways have looked again.

What it knows is told to it: when it ends, the next one begins with the view that a replica has. It imports no Ray.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from service.engine.local.agreement import Offer, View, agree
from service.engine.local.lifecycle import Version

# Seconds after which a replica that says nothing is counted on no longer: it was killed, or its machine is gone.
SILENCE_S: Final = 15.0
# Seconds for which a version that answered until now is kept; gateways look at what there is every second.
KEPT_S: Final = 5.0
# Seconds in which all replicas are heard again by a process that follows another one; before that nothing changes.
GATHER_S: Final = 3.0


@dataclass(frozen=True)
class Known:
    """What holds: a view, and its number among those that there were."""

    generation: int = 0
    view: View = field(default_factory=View)


@dataclass
class _Member:
    offer: Offer
    heard_s: float
    seen: int = 0  # the generation that it goes by


class Agreement:
    """Takes the word of each replica, one call at a time, and says what holds.

    A replica is a number that it has chosen by chance; `known` is what it goes by.

    Args:
        clock: seconds, steady; replaced in tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nobody is known yet."""
        self._clock = clock
        self._known = Known()
        self._members: dict[int, _Member] = {}
        self._replaced: dict[Version, tuple[int, float]] = {}  # what answered: since which generation no more, and when
        self._gathers_until_s = float("-inf")
        self._is_due = False  # whether the offers are to be looked at

    def sync(self, replica: int, known: Known) -> tuple[Known, bool]:
        """Hear from a replica; returns what holds, and whether its offer is known here."""
        self._hear(replica, known)
        return self._known, replica in self._members

    def offer(self, replica: int, known: Known, offer: Offer, without: Version | None = None) -> tuple[Known, bool]:
        """Take a replica's offer, unless it is `without` a version that is still needed; returns whether it is."""
        self._hear(replica, known)
        if without is not None and self._needs(without):
            return self._known, False
        self._take(replica, offer)
        return self._known, True

    def join(self, replica: int, known: Known, offer: Offer, ready: bool) -> tuple[Known, bool]:
        """Count on a replica from now on, if it has all that the others answer with, or is `ready` and the first."""
        self._hear(replica, known)
        others = self._members.keys() - {replica}
        able = self._known.view.is_covered_by(offer) if others else ready
        if able := able and not self._gathers:
            self._take(replica, replace(offer, serves=True))
        return self._known, able

    def leave(self, replica: int) -> None:
        """Count on a replica no longer."""
        self._members.pop(replica, None)
        self._agree()

    def call(self) -> Known:
        """Have every replica look at the store; returns what holds."""
        self._known = replace(self._known, generation=self._known.generation + 1)
        return self._known

    def is_settled(self, generation: int) -> bool:
        """Whether every replica has since looked at the store and found nothing to do."""
        return bool(self._members) and all(each.offer.settled_at >= generation for each in self._members.values())

    def _hear(self, replica: int, known: Known) -> None:
        now_s = self._clock()
        if known.generation > self._known.generation:  # this process has followed another
            self._known = known
            self._gathers_until_s = now_s + GATHER_S
        if replica in self._members:
            self._members[replica].heard_s, self._members[replica].seen = now_s, known.generation
        silent = [each for each, member in self._members.items() if now_s - member.heard_s > SILENCE_S]
        for each in silent:
            del self._members[each]
        if silent or self._is_due:
            self._agree()

    def _take(self, replica: int, offer: Offer) -> None:
        if offer.serves:
            seen = self._members[replica].seen if replica in self._members else self._known.generation
            self._members[replica] = _Member(offer, self._clock(), seen)
            self._agree()

    @property
    def _gathers(self) -> bool:
        return self._clock() < self._gathers_until_s

    def _agree(self) -> None:
        self._is_due = self._gathers
        if self._is_due:
            return
        before = self._known.view
        after = agree(before, {replica: each.offer for replica, each in self._members.items()})
        if after == before:
            return
        self._known = Known(self._known.generation + 1, after)
        named = _named(after)
        for version in _named(before) - named:
            self._replaced[version] = (self._known.generation, self._clock())
        self._replaced = {version: when for version, when in self._replaced.items() if version not in named}

    def _needs(self, version: Version) -> bool:
        """Whether requests may still be led to a version."""
        if version in _named(self._known.view):
            return True
        since, at_s = self._replaced.get(version, (0, float("-inf")))
        return self._clock() - at_s < KEPT_S or any(each.seen < since for each in self._members.values())


def _named(view: View) -> set[Version]:
    return {(name, version) for name, each in view.models.items() for version in each.named}
