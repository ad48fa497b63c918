"""A gunicorn worker that leaves new connections to the others while it holds more than they do.

Workers wait on the same listening sockets, and the kernel wakes them in no fair order: the one that is idle at the
moment takes most of the connections, which then stay with it, and one core is busy while another has nothing to do. A
worker with more than its share does not look at the listeners for a moment. What the others have not taken by then, it
takes: one that hangs costs a client that moment, no more.
"""

import time
from typing import Any, Final

from gunicorn.workers import gthread

# Seconds for which a worker leaves a connection to the others.
_LEAVE_S: Final = 0.002


class SharingWorker(gthread.ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Has a subclass `take` connections. `self.place` is where `self.app.runtime.connections` counts them."""

    place: int | None = None

    def init_process(self) -> None:
        """Run."""
        self._leaves_until_s = float("-inf")
        super().init_process()

    def take(self, listener: Any) -> None:
        """Accept a connection, if there still is one."""
        raise NotImplementedError

    def accept(self, listener: Any) -> None:
        """Accept a connection, or leave it to the others."""
        now_s = time.monotonic()
        had_their_chance = now_s < self._leaves_until_s + _LEAVE_S
        if not had_their_chance and self.app.runtime.connections.exceeds(self.place, self.nr_conns):
            self._leaves_until_s = now_s + _LEAVE_S
            self.set_accept_enabled(False)
        else:
            self.take(listener)
            self.app.runtime.connections.note(self.place, self.nr_conns)

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
