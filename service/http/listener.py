"""Which worker takes a new connection: the one that holds the fewest.

Workers wait on the same listening sockets, and the kernel wakes them in no fair order: the one that is idle at the
moment takes most of the connections, which then stay with it, and one core is busy while another has nothing to do. A
worker with more than its share does not look at the listeners for a moment, and wakes the one with the fewest. What
that has not taken by then, it takes: one that hangs costs a client that moment, no more.
"""

import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol

from service.http.loop import Loop

# Seconds for which a worker leaves a connection to the others.
_LEAVE_S: Final = 0.025
# Connections to accept before looking at those there are.
_MOST_AT_ONCE: Final = 64


class Counts(Protocol):
    """How many connections each worker of the service holds; see `service.parts.connection_counts`."""

    def note(self, place: int | None, connections: int) -> None:
        """Note how many this worker holds."""

    def leave(self, place: int | None) -> None:
        """Note that this worker takes no more."""

    def fewer(self, place: int | None, connections: int) -> int | None:
        """The place of the worker with the fewest, if this one has more than its share."""

    def wakes(self, place: int) -> int:
        """The file that becomes readable when a worker is woken."""

    def wake(self, place: int) -> None:
        """Have a worker look at the listeners."""

    def woken(self, place: int) -> None:
        """Note that this worker was woken."""


class Listener:
    """See the module.

    Args:
        sockets: that listen; whoever made them closes them, unless `close` is called.
        loop: of this worker.
        counts: shared with the other workers.
        place: of this worker in them; None if it has none.
        take: accepts a connection; False if there is none.
        held: how many connections this worker holds.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        *,
        loop: Loop,
        counts: Counts,
        place: int | None,
        take: Callable[[socket.socket], bool],
        held: Callable[[], int],
    ) -> None:
        """Take nothing yet."""
        self._sockets = sockets
        self._loop = loop
        self._counts = counts
        self._place = place
        self._take = take
        self._held = held
        self._is_open = False
        self._leaves_until_s = float("-inf")
        for each in sockets:
            each.setblocking(False)
        if place is not None:
            loop.watch(counts.wakes(place), self._woken)

    def look(self, has_room: bool) -> float:
        """Look at the listeners or not; for how many seconds that holds."""
        self._counts.note(self._place, self._held())
        left_s = self._leaves_until_s - time.monotonic()
        wanted = has_room and left_s <= 0
        if wanted != self._is_open:
            self._is_open = wanted
            for each in self._sockets:
                if wanted:
                    self._loop.watch(each.fileno(), partial(self._accept, each))
                else:
                    self._loop.unwatch(each.fileno())
        return left_s if left_s > 0 else float("inf")

    def close(self) -> None:
        """Take what the kernel took before, and refuse connections from now on.

        Left open until the last request is answered, the listeners would take connections that nobody ever reads, and
        a client would wait for the whole drain instead of trying another server.
        """
        self.look(has_room=False)
        self._counts.leave(self._place)
        for each in self._sockets:
            while self._take(each):
                pass
            each.close()

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_MOST_AT_ONCE):
            now_s = time.monotonic()
            had_their_chance = now_s < self._leaves_until_s + _LEAVE_S
            fewer = None if had_their_chance else self._counts.fewer(self._place, self._held())
            if fewer is not None:
                self._leaves_until_s = now_s + _LEAVE_S
                self._counts.wake(fewer)
                return
            self._leaves_until_s = float("-inf")
            if not self._take(listening):
                return
            self._counts.note(self._place, self._held())

    def _woken(self) -> None:
        """Look at the listeners again, as a worker with more connections wants it."""
        if self._place is not None:
            self._counts.woken(self._place)
        self._leaves_until_s = float("-inf")
