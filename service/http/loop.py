"""What a worker's main thread waits in: files that become readable, and calls that other threads hand over.

A few files at a time: with thousands of requests at once a worker would else read, and mostly refuse, all of them
before it answers any. What is left out is ready the next time, before what comes later: the kernel keeps their order.
"""

import contextlib
import logging
import os
import select
from collections import deque
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

_AT_ONCE: Final = 64
_ONCE: Final = select.EPOLLIN | select.EPOLLONESHOT

_Call = Callable[[], None]


class Loop:
    """One thread calls `turn`; only `call_soon` and `wake` may be called by others."""

    def __init__(self) -> None:
        """Wait for nothing yet."""
        self._epoll = select.epoll()
        self._wakes = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._is_woken = False
        self._soon: deque[_Call] = deque()
        self._calls: dict[int, _Call] = {}
        self._once: set[int] = set()  # files that the kernel knows as one-shot
        self.watch(self._wakes, self._woken)

    def watch(self, file: int, call: _Call) -> None:
        """Call whenever a file is readable."""
        self._calls[file] = call
        self._epoll.register(file, select.EPOLLIN)

    def unwatch(self, file: int) -> None:
        """End what `watch` began."""
        if self._calls.pop(file, None) is not None:
            self._epoll.unregister(file)

    def await_bytes(self, file: int, call: _Call) -> None:
        """Call once, when a connection is readable or has ended."""
        self._calls[file] = call
        if file in self._once:
            self._epoll.modify(file, _ONCE)
        else:
            self._epoll.register(file, _ONCE)
            self._once.add(file)

    def disarm(self, file: int) -> None:
        """Do not call for a connection, until it is awaited again."""
        self._calls.pop(file, None)

    def forget(self, file: int) -> None:
        """No longer call for a connection, as it is about to be closed."""
        self._once.discard(file)
        self._calls.pop(file, None)

    def call_soon(self, call: _Call) -> None:
        """Call in the thread of `turn`, without delay."""
        self._soon.append(call)
        self.wake()

    def wake(self) -> None:
        """End a wait; signal handlers may do so too."""
        if not self._is_woken:
            self._is_woken = True
            with contextlib.suppress(OSError, ValueError):  # told more often than can be counted, or closed
                os.eventfd_write(self._wakes, 1)

    def turn(self, wait_s: float) -> None:
        """Wait for so many seconds at most, then do what there is to do."""
        readable = self._epoll.poll(0.0 if self._soon else max(0.0, wait_s), _AT_ONCE)
        for file, call in [(file, self._calls.get(file)) for file, _ in readable]:
            # A call before it may have closed or disarmed it, or the number may be another connection's by now.
            if call is None or self._calls.get(file) is not call:
                continue
            if file in self._once:
                del self._calls[file]
            _run(call)
        for _ in range(len(self._soon)):
            _run(self._soon.popleft())

    def close(self) -> None:
        """Free what it holds; nothing may be called afterwards but `call_soon`, in vain."""
        self._epoll.close()
        wakes, self._wakes = self._wakes, -1
        os.close(wakes)

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wakes)
        self._is_woken = False


def _run(call: _Call) -> None:
    """What goes wrong with one connection must not end the others."""
    try:
        call()
    except Exception:
        log.exception("A connection failed unexpectedly.")
