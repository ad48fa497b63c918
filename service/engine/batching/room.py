"""Whether a batcher has room for one request more, by the rate at which it was measured to work."""

import time
from collections.abc import Callable

from service.admission import Admission, held_always, too_many
from service.engine.batching.parameters import BatchingParameters
from service.errors import Overloaded, TooLarge
from service.interface import Call

# How much the newest batch counts in the measured rate.
_WEIGHT = 0.2


class Room:
    """The bounds of a batcher's queue, in instances, in time and by each request's deadline.

    Args:
        parameters: the bounds.
        clock: seconds, steady; replaced in tests.
    """

    def __init__(self, parameters: BatchingParameters, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing was measured yet."""
        self._most_rows = parameters.max_batch_size * parameters.max_enqueued_batches
        self._most_instances = parameters.max_instances
        self._admission = Admission(held_always(parameters.max_batch_size), parameters.max_queue_s, clock)
        self._clock = clock
        self._rows_per_s = 0.0

    def note(self, rows: int, seconds: float) -> None:
        """Learn from a batch."""
        if seconds > 0:
            self._rows_per_s += (rows / seconds - self._rows_per_s) * (_WEIGHT if self._rows_per_s else 1.0)

    def wait_s(self, queued_rows: int, leaders: int) -> float:
        """Seconds that one more row would wait behind others, with so many batches at a time; 0 if nothing is known."""
        return queued_rows / (self._rows_per_s * max(1, leaders)) if self._rows_per_s else 0.0

    def check(self, rows: int, call: Call, requests: int, queued_rows: int, leaders: int) -> None:
        """Make sure that a request may wait.

        Args:
            rows: of the request.
            call: its deadline.
            requests: how many wait already.
            queued_rows: those that wait already.
            leaders: batches that run at a time.

        Raises:
            TooLarge: the request has more rows than one request may have.
            Overloaded: the queue is full, or too long for everyone or for its deadline.
        """
        if rows > self._most_instances:
            raise TooLarge(
                f"The request has {rows} instances; at most {self._most_instances} are taken (--max-instances). "
                "Send them in several requests."
            )
        wait_s = self.wait_s(queued_rows, leaders)
        if requests and queued_rows + rows > self._most_rows:  # a larger one is taken while nothing else waits
            # Before anything was measured a second is as good a guess as any.
            raise Overloaded(
                f"The queue is full: {queued_rows} instances wait, at most {self._most_rows} may.", wait_s or 1.0
            )
        if requests and 0 < call.deadline - self._clock() <= wait_s:
            raise Overloaded(f"The queue is too long for {call.limit}: it takes about {wait_s:.1f} s.", wait_s)
        if self._admission.refuses(requests, wait_s):
            raise Overloaded(too_many(wait_s), wait_s)
