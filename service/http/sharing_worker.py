"""A gunicorn worker that leaves new connections to the others while it holds more than they do.

Workers wait on the same listening sockets, and the kernel wakes them in no fair order: the one that is idle at the
moment takes most of the connections, which then stay with it, and one core is busy while another has nothing to do. A
worker with more than its share does not look at the listeners for a moment, and wakes the one with the fewest. What
that has not taken by then, it takes: one that hangs costs a client that moment, no more.
"""

import selectors
import time
from typing import Any, Final

from gunicorn.workers import gthread

from service.http.poller import Poller

# Seconds for which a worker leaves a connection to the others.
_LEAVE_S: Final = 0.025
# Connections to accept before looking at those there are.
_MOST_AT_ONCE: Final = 64


class SharingWorker(gthread.ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Has a subclass `take` connections. `self.place` is where `self.app.runtime.connections` counts them."""

    place: int | None = None
    poller: Any

    def init_process(self) -> None:
        """Run."""
        self._leaves_until_s = float("-inf")
        super().init_process()

    def run(self) -> None:
        """Serve until told to stop."""
        self.poller.close()
        self.poller = Poller()
        if self.place is not None:
            self.poller.register(self.app.runtime.connections.wakes(self.place), selectors.EVENT_READ, self._look)
        super().run()

    def take(self, listener: Any) -> bool:
        """Accept a connection; False if there is none."""
        raise NotImplementedError

    def accept(self, listener: Any) -> None:
        """Accept connections, or leave them to the others."""
        connections = self.app.runtime.connections
        for _ in range(_MOST_AT_ONCE):
            now_s = time.monotonic()
            had_their_chance = now_s < self._leaves_until_s + _LEAVE_S
            fewer = None if had_their_chance else connections.fewer(self.place, self.nr_conns)
            if fewer is not None:
                self._leaves_until_s = now_s + _LEAVE_S
                self.set_accept_enabled(False)
                connections.wake(fewer)
                return
            self._leaves_until_s = float("-inf")
            if not self.take(listener):
                return
            connections.note(self.place, self.nr_conns)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Do what there is to do, and look at the listeners again in time."""
        if self.alive:
            self.app.runtime.connections.note(self.place, self.nr_conns)
        if (left_s := self._leaves_until_s - time.monotonic()) > 0:
            timeout = min(timeout, left_s)
        super().wait_for_and_dispatch_events(timeout)

    def set_accept_enabled(self, enabled: bool) -> None:
        """Look at the listeners or not; a worker that is to stop never does again."""
        if not self.alive:
            self.app.runtime.connections.leave(self.place)
        if not enabled or time.monotonic() >= self._leaves_until_s:
            super().set_accept_enabled(enabled)

    def _look(self, _: Any) -> None:
        """Look at the listeners again, as a worker with more connections wants it."""
        if self.place is not None:
            self.app.runtime.connections.woken(self.place)
        self._leaves_until_s = float("-inf")
