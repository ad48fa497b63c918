"""The process of a worker: what gunicorn asks of it, and nothing more.

`gunicorn.workers.base.Worker` is gunicorn's place for workers of others : it is told what to serve, has
to run until it is told to stop, and to show now and then that it lives.
"""

import os
import time
from typing import Any, Final

from gunicorn.workers import base

from service.http.front import Front

# Seconds between two signs of life.
_NOTIFY_S: Final = 1.0
# Seconds between checks of whether all is answered.
_STOPPING_S: Final = 0.1


class FrontWorker(base.Worker):  # type: ignore[misc]  # gunicorn has no types
    """See the module.

    `app` has to have `front_parts()` and `drain_s`, and is told by `stop_accepting()` when the worker is to stop;
    `place` is where the worker counts its connections.
    """

    place: int | None = None
    _front: Front | None = None

    def run(self) -> None:
        """Serve until told to stop, then finish what was accepted."""
        front = self._front = Front(self.app.front_parts(), self.sockets, self.place)
        try:
            while self.alive and os.getppid() == self.ppid:
                self.notify()
                front.turn(_NOTIFY_S)
            self.app.stop_accepting()
            front.stop()
            until_s = time.monotonic() + self.app.drain_s
            while front.is_busy and time.monotonic() < until_s:
                self.notify()
                front.turn(_STOPPING_S)
        finally:
            front.close()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Stop, once what was accepted is answered; a signal handler."""
        super().handle_exit(sig, frame)
        if self._front is not None:
            self._front.wake()
