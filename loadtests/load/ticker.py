"""Sleep to a point in time, in a gevent loop: exactly.

gevent's own timers are as coarse as the milliseconds of `epoll_wait`; a timer of the kernel's that wakes the loop
through a file descriptor is late by some ten microseconds.
"""

import ctypes
import os
import time
from typing import Any, Final

import gevent.hub

_CLOCK_MONOTONIC: Final = 1
_ABSOLUTE: Final = 1
_FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC


class _Times(ctypes.Structure):
    """`struct itimerspec`: interval and first expiry, each in seconds and nanoseconds."""

    _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "first_s", "first_ns")]


class Ticker:
    """One timer, for one greenlet."""

    def __init__(self) -> None:
        """Make the timer."""
        self._c = ctypes.CDLL(None, use_errno=True)
        self._file = self._c.timerfd_create(_CLOCK_MONOTONIC, _FLAGS)
        if self._file < 0:
            raise OSError(ctypes.get_errno(), "The kernel offers no timer")
        hub: Any = gevent.hub.get_hub()
        self._hub = hub
        self._watcher = hub.loop.io(self._file, 1)

    def sleep_until(self, when_s: float) -> None:
        """Let other greenlets run until a time of `time.monotonic()`."""
        while when_s > time.monotonic():
            seconds, nanoseconds = divmod(int(when_s * 1e9), 1_000_000_000)
            times = _Times(0, 0, seconds, nanoseconds)
            if self._c.timerfd_settime(self._file, _ABSOLUTE, ctypes.byref(times), None):
                raise OSError(ctypes.get_errno(), "The kernel's timer can't be set")
            self._hub.wait(self._watcher)
            os.read(self._file, 8)

    def close(self) -> None:
        """Give the timer back."""
        self._watcher.close()
        os.close(self._file)
