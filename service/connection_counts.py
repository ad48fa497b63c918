"""How many connections each worker of a service holds, in memory that all of them share.

Whoever makes the workers reserves a place for each before it forks, and frees it once the worker has ended. A worker
writes its own place only and reads the others': each is one machine word, so no lock is needed.
"""

import mmap
from typing import Final

# Workers that can be counted; those beyond have no place.
_PLACES: Final = 128
# What is in a place whose worker takes no connections.
_ABSENT: Final = -1
# The part of the fewest by which a worker may hold more, so that many connections at once are taken quickly.
_SLACK: Final = 8


class ConnectionCounts:
    """See the module; made before the workers are forked, by the process that forks them."""

    def __init__(self) -> None:
        """Nobody has a place yet."""
        self._counts = memoryview(mmap.mmap(-1, 8 * _PLACES)).cast("q")
        self._free = list(range(_PLACES))
        for place in self._free:
            self._counts[place] = _ABSENT

    def reserve(self) -> int | None:
        """A place for a worker that is about to be forked; None if there is none."""
        return self._free.pop() if self._free else None

    def free(self, place: int | None) -> None:
        """Take back the place of a worker that has ended."""
        if place is not None:
            self._counts[place] = _ABSENT
            self._free.append(place)

    def note(self, place: int | None, connections: int) -> None:
        """Note how many connections a worker holds; it takes further ones."""
        if place is not None:
            self._counts[place] = connections

    def leave(self, place: int | None) -> None:
        """Note that a worker takes no further connections."""
        self.note(place, _ABSENT)

    def exceeds(self, place: int | None, connections: int) -> bool:
        """Whether a worker that holds so many has more than its share, as another has fewer."""
        others = [count for other, count in enumerate(self._counts) if count != _ABSENT and other != place]
        if place is None or not others:
            return False
        fewest = min(others)
        return connections > fewest + fewest // _SLACK
