"""A gunicorn worker that refuses requests while more come than its threads can take; see `service.admission`."""

import time
from collections import deque
from typing import Any, Final

from service.gateway.middleware.calls import has_left
from service.http import refusal
from service.http.sharing_worker import SharingWorker

# Refusals before looking at what has come.
_AT_ONCE: Final = 64


class RefusingWorker(SharingWorker):
    """Has a subclass `hand_over` connections to threads, `keep` them afterwards and `_close` them.

    A request is counted from when its first bytes are there. A thread that has it calls `begin` and `end`.
    """

    def init_process(self) -> None:
        """Run."""
        self._refused: deque[tuple[float, Any]] = deque()  # when they are answered, and connections
        super().init_process()

    def hand_over(self, conn: Any) -> None:
        """Have a thread handle the request that a connection brings."""
        raise NotImplementedError

    def keep(self, conn: Any) -> None:
        """Wait for a connection's next request."""
        raise NotImplementedError

    def enqueue_req(self, conn: Any) -> None:
        """Have the request that a connection brings handled, or put it aside if it is to be refused."""
        if _has_ended(conn):  # many that end at once are no load, and must not look like one
            self._close(conn)
        elif self.alive and not self.app.runtime.draining and self.app.front_queue.is_full():
            self._refused.append((time.monotonic() + refusal.PAUSE_S, conn))
        else:
            self._join(conn, refused=False)

    def begin(self, conn: Any) -> None:
        """Called by the thread that has a request."""
        self.app.front_queue.enter(conn.arrival)

    def end(self, conn: Any, was_slow: bool) -> None:
        """Called by it when it has answered; `was_slow` is whether it had to wait for the client."""
        self.app.front_queue.leave(conn.arrival, was_slow)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Do what there is to do, and answer those that are refused once their pause is over."""
        if self._refused:
            timeout = max(0.0, min(timeout, self._refused[0][0] - time.monotonic()))
        super().wait_for_and_dispatch_events(timeout)
        now_s = time.monotonic()
        for _ in range(_AT_ONCE):
            if not self._refused or self._refused[0][0] > now_s:
                break
            self._refuse(self._refused.popleft()[1])

    def _join(self, conn: Any, refused: bool) -> None:
        conn.arrival = self.app.front_queue.join(refused)
        self.hand_over(conn)

    def _refuse(self, conn: Any) -> None:
        """Refuse a request here where that can be done, and leave it to a thread where not."""
        read_ahead = conn.parser is not None and conn.parser.unreader.buf.getvalue()
        try:
            done = not read_ahead and refusal.refuse(conn.sock, self.app.front_queue.wait_s)
        except OSError:  # the client has gone, or does not read
            self._close(conn)
            return
        if done:
            self.app.count_refusal()
            self.keep(conn)
        else:
            self._join(conn, refused=True)


def _has_ended(conn: Any) -> bool:
    """Whether a connection brings no request but its end."""
    if conn.parser is not None and conn.parser.unreader.buf.tell():
        return False
    left = has_left(conn.sock)
    return left is not None and left()
