"""How many connections each worker of a service holds, in memory that all of them share, and how they wake each other.

Whoever makes the workers reserves a place for each before it forks, and frees it once the worker has ended. A worker
writes its own place only and reads the others': each is one machine word, so no lock is needed.
"""

import contextlib
import mmap
import os
from typing import Final

# What is in a place whose worker takes no connections.
_ABSENT: Final = -1
# The part of the fewest by which a worker may hold more, so that many connections at once are taken quickly.
_SLACK: Final = 16
# Places for each worker: another one loads while it ends.
_SPARE: Final = 4


class ConnectionCounts:
    """See the module; made before the workers are forked, by the process that forks them.

    Args:
        workers: how many there should be.
    """

    def __init__(self, workers: int) -> None:
        """Nobody has a place yet."""
        places = _SPARE * workers
        self._counts = memoryview(mmap.mmap(-1, 8 * places)).cast("q")
        self._wakes = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(places)]
        self._free = list(range(places))
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

    def fewer(self, place: int | None, connections: int) -> int | None:
        """The place of the worker with the fewest connections, if so many are more than this worker's share."""
        others = [(count, at) for at, count in enumerate(self._counts) if count != _ABSENT and at != place]
        if place is None or not others:
            return None
        fewest, at = min(others)
        return at if connections > fewest + fewest // _SLACK else None

    def wakes(self, place: int) -> int:
        """The file that becomes readable when a worker is woken."""
        return self._wakes[place]

    def wake(self, place: int) -> None:
        """Have a worker look at the listeners."""
        with contextlib.suppress(BlockingIOError):  # it was told more often than can be counted
            os.eventfd_write(self._wakes[place], 1)

    def woken(self, place: int) -> None:
        """Note that a worker was woken."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wakes[place])
