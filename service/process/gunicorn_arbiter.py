"""Gunicorn's arbiter, which keeps the workers, made to lose no request when a service stops or its workers change.

- SIGTERM: `/readyz` says 503 at once and answers say `Connection: close`; after `--drain-seconds` the listeners close,
  what was accepted is answered, and the process ends with 0. A second one, or SIGINT, ends the drain.
- SIGINT, SIGQUIT: the workers end at once.
- SIGHUP: as many new workers as there are load, then the old ones stop.
- SIGUSR2: a new process, of whatever is installed now, serves on the same sockets; the old one is to be stopped once
  that is ready.
"""

import logging
import os
import signal
import sys
import time
from typing import Any, Final

from gunicorn import sock
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer

from service.parts.runtime import Roster

log = logging.getLogger(__name__)

# The exit code where the service can't do what it was told, as Click's for a flag that is wrong.
SETTINGS_CODE: Final = 2
# Seconds that new workers may take until they are ready; the old ones go on if it takes longer.
REPLACE_S: Final = 600.0


class ServiceArbiter(Arbiter):  # type: ignore[misc]  # gunicorn has no types
    """See the module.

    Args:
        app: has the `settings` and the `runtime` of the service, and says whether it is `supervised`.
    """

    def __init__(self, app: Any) -> None:
        """Start nothing yet."""
        super().__init__(app)
        # Ready-made, as they may come from a process that this one follows.
        self.LISTENERS = sock.create_sockets(self.cfg, self.log)
        # What was typed: `python -m` too has a way back from it.
        self.START_CTX["args"] = [sys.executable, *sys.orig_argv[1:]]
        self._roster = Roster(app.runtime.folder, app.runtime.workers)
        self._stop_at_s: float | None = None
        # Workers that are to go once the others are ready, whether they know it, and until when those may load.
        self._leaving: set[int] = set()
        self._told = False
        self._replace_until_s = 0.0

    def handle_term(self) -> None:
        """Stop: at once where a successor serves already, else after the drain."""
        drain_s = 0.0 if self.reexec_pid or self._stop_at_s is not None else self.app.settings.drain_seconds
        if not self.reexec_pid:  # else the ports go on being served
            self.app.runtime.drain()
        if not drain_s:
            if not self.app.supervised:  # else the supervisor has said so
                log.info("Stopping: no new connections; accepted requests are answered first.")
            raise StopIteration
        log.info("Draining: not ready from now on; new connections are accepted for another %g s.", drain_s)
        self._stop_at_s = time.monotonic() + drain_s

    def handle_int(self) -> None:
        """Cut a drain short, or stop without finishing anything."""
        if self._stop_at_s is not None:
            raise StopIteration
        super().handle_int()

    def wait_for_signals(self, timeout: float = 1.0) -> Any:
        """Wait for signals, not beyond the end of a drain."""
        if self._stop_at_s is not None:
            left_s = self._stop_at_s - time.monotonic()
            if left_s <= 0:
                raise StopIteration
            timeout = min(timeout, left_s)
        return super().wait_for_signals(timeout)

    def reload(self) -> None:
        """Start as many new workers as there should be; `manage_workers` sees to the rest."""
        if self._leaving or self._stop_at_s is not None:
            self.log.warning("SIGHUP is ignored: the workers are already being replaced, or the service is stopping.")
            return
        self.log.warning("SIGHUP: new workers are loading; the old ones serve until they are ready.")
        self._leaving = set(self.WORKERS)
        self._replace_until_s = time.monotonic() + REPLACE_S
        for _ in range(self.num_workers):
            self.spawn_worker()

    def manage_workers(self) -> None:
        """Keep the number of workers, and finish a replacement once the new ones are ready."""
        if why := self.app.runtime.start_refused:
            print(f"Error: {why}", file=sys.stderr)
            raise HaltServer(why, SETTINGS_CODE)
        self._leaving &= self.WORKERS.keys()
        staying = self.WORKERS.keys() - self._leaving
        if not self._leaving:
            self._told = False
            super().manage_workers()
        elif self._told:
            for _ in range(self.num_workers - len(staying)):
                self.spawn_worker()
        elif len(staying) < self.num_workers or time.monotonic() > self._replace_until_s:
            self.log.error("SIGHUP: the new workers did not become ready; the old ones keep serving.")
            self._leaving = staying
            self._dismiss()
        elif all(self._roster.is_ready(pid) for pid in staying):
            self.log.warning("SIGHUP: the new workers are ready; the old ones are stopping.")
            self._dismiss()

    def _dismiss(self) -> None:
        self._told = True
        for pid in list(self._leaving):
            self.kill_worker(pid, signal.SIGTERM)

    def reap_workers(self) -> None:
        """Forget workers that have ended; a new one that can't start must not end those that serve."""
        try:
            super().reap_workers()
        except HaltServer:
            if not self._leaving:
                raise
            self.log.error("SIGHUP: a new worker could not start.")

    def reexec(self) -> None:
        """Start the process that is to follow this one."""
        if self.app.supervised:
            self.log.warning(
                "SIGUSR2 is ignored: with --engine shared only SIGHUP is possible. To run another release, "
                "start it elsewhere and stop this one."
            )
            return
        this = os.getpid()
        self.log.warning(
            "SIGUSR2: another process is starting on the same ports. Once it is ready, send SIGTERM to %d.", this
        )
        try:
            super().reexec()
        finally:
            if os.getpid() != this:
                os._exit(1)  # the new program could not be started, and there must not be two of this one
