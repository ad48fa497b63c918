"""What a worker waits with for its connections: a few of those that are ready at a time.

With thousands of requests at once a worker would else read, and mostly refuse, all of them before it answers any. What
is left out is ready the next time, before what comes later: the kernel keeps their order.
"""

import math
import selectors
from typing import Final

_AT_ONCE: Final = 64


class Poller(selectors.EpollSelector):
    """Waits for bytes to read, and tells of `_AT_ONCE` files at most."""

    _selector: "selectors.epoll"  # type: ignore[name-defined]  # not in the stubs

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready within so many seconds; None waits for ever."""
        wait_s = -1.0 if timeout is None else math.ceil(max(0.0, timeout) * 1e3) * 1e-3
        known = self.get_map()
        return [(known[file], selectors.EVENT_READ) for file, _ in self._selector.poll(wait_s, _AT_ONCE)]
