"""Two children, kept as one service: the engine process and the gateways (gunicorn).

A dead engine process is started again, later each time; meanwhile the gateways answer 503. Where it can't be started,
or the gateways end, both stop and the command fails. On SIGTERM the gateways finish what they accepted, then the engine
stops; a second SIGTERM, or SIGINT, is passed on to them. SIGHUP has the gateways replace their workers. Neither child
can outlive the supervisor, however it ends: the kernel tells the gateways, and the engine sees its
pipe close.

The supervisor is a single thread that sleeps until a signal comes; it imports nothing of the service's parts.
"""

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Final

from service.errors import SignpostError
from service.parts.runtime import Runtime
from service.process.parent import die_with
from service.telemetry import tensorflow_noise

log = logging.getLogger(__name__)

# Deaths in a row, each before the engine was ready, after which it is not started again.
ATTEMPTS: Final = 5
# Seconds to wait before the engine is started again: none the first time, then these.
_BACK_OFF_S: Final = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
# An engine that ran this many seconds is well: the next death is a first one again.
_WELL_S: Final = 60.0
# Seconds that the engine may take to stop, and gateways beyond their own limit, before they are killed.
_STOP_S: Final = 25.0
_SETTINGS_CODE: Final = 2  # what a command ends with whose settings are wrong

_STOPPING: Final = (signal.SIGTERM, signal.SIGINT)
_AWAITED: Final = (*_STOPPING, signal.SIGCHLD, signal.SIGHUP, signal.SIGUSR2)


class Supervisor:
    """See the module.

    Args:
        run_engine: runs the engine in its process until the pipe with this number is closed.
        run_gateways: runs the gateways in theirs.
        gateways_started: called once in the supervisor after that.
        runtime: tells where the engine notes that it was ready.
        drain_s: seconds that the gateways may take to finish what they accepted.
    """

    def __init__(
        self,
        *,
        run_engine: Callable[[int], None],
        run_gateways: Callable[[], None],
        gateways_started: Callable[[], None],
        runtime: Runtime,
        drain_s: float,
    ) -> None:
        """Start nothing yet."""
        self._run_engine = run_engine
        self._run_gateways = run_gateways
        self._gateways_started = gateways_started
        self._runtime = runtime
        self._drain_s = drain_s
        self._engine = self._gateways = 0  # process IDs; 0 where there is none
        self._lifeline = -1
        self._engine_since_s = 0.0
        self._start_engine_at_s: float | None = None
        self._deaths = 0  # of the engine, in a row
        self._failures = 0  # those before it was ready

    def run(self) -> int:
        """Start both and keep them until told to stop; the exit code of the command."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
        self._gateways = self._fork(self._gateways_process)
        self._gateways_started()
        self._start_engine()
        while True:
            got = self._next_signal()
            if got in _STOPPING:
                log.info("Stopping: first the gateways, then the engine.")
                self._stop()
                log.info("Stopped.")
                return 0
            if got == signal.SIGHUP:
                log.info("SIGHUP: the gateways are being replaced; the engine process keeps running.")
                os.kill(self._gateways, got)
            if got == signal.SIGUSR2:
                log.warning(
                    "SIGUSR2 is ignored with --engine shared; "
                    "to run another release, start it elsewhere and stop this one."
                )
            code = self._reap()
            if code is not None:
                self._stop()
                return code
            if self._start_engine_at_s is not None and time.monotonic() >= self._start_engine_at_s:
                self._start_engine()

    def _next_signal(self) -> int | None:
        if self._start_engine_at_s is None:
            return signal.sigwaitinfo(_AWAITED).si_signo
        got = signal.sigtimedwait(_AWAITED, max(0.0, self._start_engine_at_s - time.monotonic()))
        return None if got is None else got.si_signo

    def _reap(self) -> int | None:
        """Look at the children that have ended; the exit code if the service has to end for it."""
        if self._gateways and (status := _ended(self._gateways)) is not None:
            self._gateways = 0
            log.error("The gateways ended (%s); stopping the engine.", _why(status))
            return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) and os.WEXITSTATUS(status) else 1
        if self._engine and (status := _ended(self._engine)) is not None:
            tensorflow_noise.show_left(self._runtime.folder, self._engine)
            self._engine = 0
            return self._engine_died(status)
        return None

    def _engine_died(self, status: int) -> int | None:
        self._cut_lifeline()
        was_ready = self._runtime.engine_ready.exists()
        if not was_ready and os.waitstatus_to_exitcode(status) == _SETTINGS_CODE:
            return _SETTINGS_CODE  # its message is out
        self._deaths = 1 if time.monotonic() - self._engine_since_s >= _WELL_S else self._deaths + 1
        self._failures = 0 if was_ready else self._failures + 1
        if self._failures >= ATTEMPTS:
            log.error(
                "The engine process ended (%s) %d times before it was ready; giving up.", _why(status), self._failures
            )
            return 1
        wait_s = _BACK_OFF_S[min(self._deaths, len(_BACK_OFF_S)) - 1]
        log.error("The engine process ended (%s); restarting it in %g s.", _why(status), wait_s)
        self._start_engine_at_s = time.monotonic() + wait_s
        return None

    def _start_engine(self) -> None:
        self._runtime.engine_ready.unlink(missing_ok=True)
        self._start_engine_at_s = None
        self._engine_since_s = time.monotonic()
        reading, self._lifeline = os.pipe()
        self._engine = self._fork(lambda: self._run_engine(reading))
        os.close(reading)

    def _gateways_process(self) -> None:
        die_with(self._parent)
        self._run_gateways()

    def _fork(self, run: Callable[[], None]) -> int:
        self._parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child:
            return child
        code = 1
        try:
            self._cut_lifeline()  # this child must not keep it open
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _AWAITED)
            run()
            code = 0
        except SignpostError as error:
            print(f"Error: {error}", file=sys.stderr)
            code = _SETTINGS_CODE
        except SystemExit as error:  # gunicorn's way to end
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        except BaseException:
            log.exception("A process of the service failed unexpectedly.")
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code & 0xFF)  # what lies further up belongs to the supervisor

    def _stop(self) -> None:
        if self._gateways:
            os.kill(self._gateways, signal.SIGTERM)
            _await_end(self._gateways, self._drain_s + _STOP_S, "gateways")
        self._cut_lifeline()
        if self._engine:
            _await_end(self._engine, _STOP_S, "engine")

    def _cut_lifeline(self) -> None:
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1


def _ended(pid: int) -> int | None:
    found, status = os.waitpid(pid, os.WNOHANG)
    return status if found else None


def _await_end(pid: int, limit_s: float, name: str) -> None:
    until = time.monotonic() + limit_s
    while _ended(pid) is None:
        remaining_s = until - time.monotonic()
        if remaining_s <= 0:
            log.error("The %s did not stop within %g s; killing them.", name, limit_s)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return
        got = signal.sigtimedwait((signal.SIGCHLD, *_STOPPING), remaining_s)
        if got is not None and got.si_signo in _STOPPING:
            os.kill(pid, got.si_signo)  # whoever stops the service is in a hurry; the engine ignores it


def _why(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}"
    return f"exit code {os.waitstatus_to_exitcode(status)}"
