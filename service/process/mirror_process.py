"""The process that keeps the copy of a store in step beside a service, and the one that starts it again.

The library that speaks with buckets has threads, which must not be there when a process forks; so the mirror has a
process of its own, forked before the service starts anything. It is watched by a second one, which does nothing else:
where the mirror ends (killed, out of memory) it is started again, later each time. Meanwhile the copy is served as it
is. Both end with the service, however that ends, by the kernel; what they leave half done is hidden, and cleaned up by
whoever comes next.
"""

import json
import logging
import os
import select
import signal
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

from service.errors import SettingsError, SignpostError, StoreError
from service.objects.bucket import Absent, Forbidden
from service.objects.mirror.configs import Source
from service.objects.mirror.metrics import NUMBERS
from service.objects.mirror.mirror import Look, Mirror
from service.objects.mirror.told import Told
from service.objects.mirror.view import QUIET_S
from service.process.parent import die_with
from service.telemetry import logs

log = logging.getLogger(__name__)

_STDERR: Final = 2
# Seconds for which the mirror may be silent while the service waits for the first models.
_SILENCE_S: Final = 120.0
_BEAT_S: Final = 1.0
# At a start: times that a bucket which can't be reached is asked, and seconds between them.
_ATTEMPTS: Final = 3
# Seconds for which a start waits for what still changes, where it has something else to serve.
_CHANGING_S: Final = 5.0
# Seconds for which it waits for a copy that another service makes, and while nothing in the bucket is whole.
_PATIENCE_S: Final = 600.0
# Between two looks, where they fail, the wait grows to so many times what it is else.
_SLOWEST: Final = 12
# Seconds before a mirror that has ended is started again.
_BACK_OFF_S: Final = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
_WELL_S: Final = 60.0


@contextmanager
def mirroring(source: Source, service: Path, poll_s: float) -> Iterator[None]:
    """Keep the copy of a store in step; it holds what is wanted, or what it held last, when the block begins.

    Args:
        source: what is mirrored.
        service: the service's private folder.
        poll_s: seconds between checks.

    Raises:
        StoreError: there is nothing to serve: no copy, and the bucket can't be read or holds no model.
        SettingsError: the bucket can't be reached as the environment says, or its configuration has an error.
    """
    reading, writing = os.pipe()
    log.info("%s is copied to %s.", source.where, source.root)
    maker = os.getpid()
    guard = os.fork()
    if not guard:
        _run_and_exit(lambda: _guard(maker, writing, lambda report: run(source, service, poll_s, report)))
    handle = os.pidfd_open(guard)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb", buffering=0) as pipe:
            await_start(pipe.fileno(), source.where)
        yield
    finally:
        if os.getpid() == maker:  # a worker that ends comes by here, too
            with suppress(OSError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        os.close(handle)


def await_start(pipe: int, where: str) -> None:
    """Wait until the mirror says that the service may start.

    Args:
        pipe: where it says so: dots while it works, then a line.
        where: what is mirrored.

    Raises:
        StoreError: there is nothing to serve, or the mirror is no longer heard from.
    """
    told = b""
    while not told.endswith(b"\n"):
        if not select.select([pipe], [], [], _SILENCE_S)[0]:
            raise StoreError(f"{where} could not be copied: nothing arrived for {_SILENCE_S:.0f} seconds.")
        piece = os.read(pipe, 4096)
        if not piece:
            raise StoreError(f"{where} could not be copied: the process that copies it has ended.")
        told = (told + piece).lstrip(b".")
    if error := json.loads(told)["error"]:
        raise StoreError(error)


def run(source: Source, service: Path, poll_s: float, report: int | None) -> None:
    """Look again and again; ends with the process.

    Args:
        source: what is mirrored.
        service: the service's private folder.
        poll_s: seconds between checks.
        report: a pipe on which a start waits; None where nobody does.
    """
    logs.name_process(f"mirror {os.getpid()}", service)
    start = _Start(report)
    mirror = Mirror(source, service, told=Told(source.where, service / NUMBERS), beat=start.beat)
    failures = 0
    while True:
        look = _look(mirror, start)
        failures = failures + 1 if look is None or look.failure else 0
        if failures:
            wait_s = poll_s * min(2 ** (failures - 1), _SLOWEST)
        else:
            assert look is not None
            wait_s = poll_s if look.complete and not look.changing else min(poll_s, QUIET_S)
        start.beat()
        # What changes is looked at again as soon as it can be quiet; a start does not wait for the next look.
        time.sleep(min(wait_s, QUIET_S) if start.waits else wait_s)


def _look(mirror: Mirror, start: "_Start") -> Look | None:
    """One look, None where the bucket can't be looked at; says so to a start that waits."""
    look, error = None, None
    try:
        look = mirror.look()
    except SignpostError as caught:
        error = caught
        if not start.waits or mirror.has_copy:
            mirror.fail(caught)
    except Exception as caught:
        log.exception("A check of the store failed unexpectedly; checks continue.")
        error = StoreError(f"A check of the store failed: {caught}.")
    if start.waits:
        start.judge(look, error, mirror.has_copy)
    return look


class _Start:
    """A service that waits to start.

    Args:
        report: where it waits; None where none does.
    """

    def __init__(self, report: int | None) -> None:
        self._report = report
        self._attempts = 0
        self._since_s = time.monotonic()
        self._beat_s = 0.0

    @property
    def waits(self) -> bool:
        """Whether it still does."""
        return self._report is not None

    def beat(self) -> None:
        """Say that something happens."""
        now = time.monotonic()
        if self._report is not None and now - self._beat_s >= _BEAT_S:
            self._beat_s = now
            self._say(b".")

    def judge(self, look: Look | None, error: SignpostError | None, has_copy: bool) -> None:
        """Let it start, or fail, if that is clear after this look."""
        self._attempts += 1
        verdict = judge(look, error, has_copy, self._attempts, time.monotonic() - self._since_s)
        if verdict is not None and self._report is not None:
            self._say(json.dumps({"error": verdict}).encode() + b"\n")
            os.close(self._report)
            self._report = None

    def _say(self, what: bytes) -> None:
        assert self._report is not None
        with suppress(BrokenPipeError):  # whoever waited is gone, and takes this process along
            os.write(self._report, what)


def judge(look: Look | None, error: SignpostError | None, has_copy: bool, attempts: int, seconds: float) -> str | None:
    """Whether a service may start now.

    Args:
        look: the last look at the bucket; None where it failed.
        error: why.
        has_copy: whether there is anything to serve without the bucket.
        attempts: looks so far.
        seconds: since the first of them.

    Returns:
        Empty when it may; why it can't; or None where that is not clear yet.
    """
    if error is not None:
        if has_copy:
            return ""  # the last good state
        for_good = isinstance(error, Absent | Forbidden | SettingsError)
        return str(error) if for_good or attempts >= _ATTEMPTS else None
    assert look is not None
    if look.failure and attempts >= _ATTEMPTS:
        return "" if has_copy else look.failure
    if (look.changing and seconds < _CHANGING_S) or look.failure or not look.complete:
        return None if seconds < _PATIENCE_S else "" if has_copy else "There is nothing to serve yet."
    if look.without and not look.changing:
        first = look.without[0]
        return f"The model {first.name} has no version at {first.url} (<version>/saved_model.pb)."
    if has_copy:
        return ""
    return None if look.changing and seconds < _PATIENCE_S else "No model has a complete version yet."


def _guard(parent: int, report: int, work: Callable[[int | None], None]) -> None:
    """Run the mirror in a process of its own, again and again."""
    _become(parent)
    deaths, waiting = 0, report
    while True:
        own, since_s = os.getpid(), time.monotonic()
        child = os.fork()
        if not child:
            _run_and_exit(partial(_mirror, own, waiting, work))
        if waiting >= 0:
            os.close(waiting)
            waiting = -1
        _, status = os.waitpid(child, 0)
        deaths = 1 if time.monotonic() - since_s >= _WELL_S else deaths + 1
        wait_s = _BACK_OFF_S[min(deaths, len(_BACK_OFF_S)) - 1]
        log.error(
            "The process that copies the store ended (%s). It will be restarted in %g s; the copy is served meanwhile.",
            f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit code {os.WEXITSTATUS(status)}",
            wait_s,
        )
        time.sleep(wait_s)


def _mirror(parent: int, report: int, work: Callable[[int | None], None]) -> None:
    _become(parent)
    work(report if report >= 0 else None)


def _become(parent: int) -> None:
    """Be a process that ends with its parent and by nothing else, and keeps no socket of the service open."""
    die_with(parent, signal.SIGKILL)
    for meant in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(meant, signal.SIG_IGN)
    for each in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        with suppress(OSError):  # the one that listed them is closed already
            if stat.S_ISSOCK(os.fstat(each).st_mode) and each > _STDERR:
                os.close(each)


def _run_and_exit(work: Callable[[], None]) -> None:
    """Run a child; nothing that lies further up is its business."""
    try:
        work()
    except BaseException:
        log.exception("A process that copies the store failed unexpectedly.")
    finally:
        os._exit(1)
