"""The memory that a process holds beyond what it uses: how the C library lays it out, and when it is given back."""

import ctypes
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

# Of glibc's <malloc.h>.
_M_ARENA_MAX: Final = -8
# A process that uses less than this share of a core for so many seconds is at rest.
_REST_SHARE: Final = 0.1
_REST_S: Final = 5.0


def limit_arenas(environment: Mapping[str, str] = os.environ) -> None:
    """Let the C library divide the memory into no more arenas than cores that this process may use.

    By default each thread gets one of its own, up to eight for each core, and each keeps what was freed in it. Whoever
    sets the number by the environment is left alone. Only memory that is taken later is laid out so.
    """
    if "MALLOC_ARENA_MAX" in environment or "arena_max" in environment.get("GLIBC_TUNABLES", ""):
        return
    with suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, len(os.sched_getaffinity(0)))


class AfterLoad:
    """Gives back the memory that load has left behind, once it is over.

    Args:
        give_back: what does so.
        clock: seconds, steady; replaced in tests.
        cpu_clock: seconds of CPU that the process has used.
    """

    def __init__(
        self,
        give_back: Callable[[], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.process_time,
    ) -> None:
        """Begin with nothing to give back."""
        self._give_back = give_back
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._was_busy = False
        self._since_s, self._cpu_s = clock(), cpu_clock()

    def look(self) -> None:
        """Give back what there is if load has just ended; called about once a second or more often."""
        elapsed_s = self._clock() - self._since_s
        if elapsed_s < _REST_S:
            return
        is_busy = self._cpu_clock() - self._cpu_s > _REST_SHARE * elapsed_s
        if self._was_busy and not is_busy:
            self._give_back()
        self._was_busy = is_busy
        self._since_s, self._cpu_s = self._clock(), self._cpu_clock()
