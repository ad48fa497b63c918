"""The threads that handle HTTP requests: a fixed number at work, and one more for each that waits for a slow client.

Whoever waits for the bytes of a slow client works on nothing, so its place is taken by another thread for that time. So
any number of slow clients, up to a limit, leave `size` threads for the others.
"""

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

log = logging.getLogger(__name__)


class RequestThreads:
    """See the module. The threads are daemons and end with `shutdown`; a job must not raise.

    Args:
        size: threads at work.
        most_slow: threads at most that wait for slow clients at the same time.
    """

    def __init__(self, size: int, most_slow: int) -> None:
        """Start nothing yet."""
        self._size = size
        self._most_slow = most_slow
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._alive = 0
        self._slow = 0

    def submit(self, job: Callable[[], None]) -> None:
        """Have a thread do a job, once one has time."""
        if self._alive < self._size:
            with self._lock:
                self._fill()
        self._jobs.put(job)

    def step_aside(self) -> bool:
        """Note that the calling thread waits for a slow client until `step_back`; False if too many do.

        Also False where the host has no other thread that could take its place.
        """
        with self._lock:
            if self._slow >= self._most_slow:
                return False
            self._slow += 1
            if not self._fill():
                self._slow -= 1
                return False
            return True

    def step_back(self) -> None:
        """End what `step_aside` began; a thread that is then too many ends after its job."""
        with self._lock:
            self._slow -= 1

    def shutdown(self) -> None:
        """End each thread after its job; waits for none."""
        with self._lock:
            for _ in range(self._alive):
                self._jobs.put(None)

    def _fill(self) -> bool:
        """Start the threads that are missing; False if the host has none to give, which the next job tries again."""
        while self._alive < self._size + self._slow:
            try:
                threading.Thread(target=self._work, name="request", daemon=True).start()
            except RuntimeError as error:
                log.error("Only %d threads for requests: %s; raise the process limit (ulimit -u).", self._alive, error)
                return False
            self._alive += 1
        return True

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            if self._alive > self._size + self._slow and self._leave():
                return

    def _leave(self) -> bool:
        with self._lock:
            if self._alive <= self._size + self._slow:
                return False
            self._alive -= 1
            return True
