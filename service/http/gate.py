"""The gate: requests that are too many are refused before anything is done for them; see `service.admission`.

Where requests are small, to hand one to a thread costs a good part of what its answer does, and a service that is
overloaded would spend its time on refusals. So they are refused in the thread that waits for all connections.
"""

import re
import time
from collections import deque
from typing import Final

from service.admission import FrontQueue
from service.http.wsgi import Request

# Seconds after which a client learns that it is refused. One that asks again at once, without end, is slowed by it.
_PAUSE_S: Final = 0.05
# Refusals before looking at what has come.
_AT_ONCE: Final = 64
_RUNS: Final = re.compile(r"/v[12]/models/[^ ?]*(?::predict|:classify|:regress|/infer)(?:\?|$)")


class Gate:
    """Holds those that are refused for a moment.

    Args:
        queue: says when too many wait.
    """

    def __init__(self, queue: FrontQueue) -> None:
        """Refuse nothing yet."""
        self._queue = queue
        self._refused: deque[tuple[float, Request]] = deque()  # with the time of their answers

    def stops(self, request: Request) -> bool:
        """Whether a request is refused; it then comes out of `due` in a moment."""
        head = request.head
        if head.method != "POST" or not _RUNS.match(head.target) or not self._queue.is_full():
            return False
        self._refused.append((time.monotonic() + _PAUSE_S, request))
        return True

    @property
    def wait_s(self) -> float:
        """Seconds until the next one is due."""
        return self._refused[0][0] - time.monotonic() if self._refused else float("inf")

    def due(self) -> list[Request]:
        """Those that are to be refused now, a few at a time."""
        now_s = time.monotonic()
        found: list[Request] = []
        while self._refused and len(found) < _AT_ONCE and self._refused[0][0] <= now_s:
            found.append(self._refused.popleft()[1])
        return found

    def __len__(self) -> int:
        """How many it holds."""
        return len(self._refused)
