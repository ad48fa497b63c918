"""How large a batch may be, and how long one that is not full waits for more: as told, or found by measuring.

The size that keeps an objective is found as in Clipper (Crankshaw et al., "Clipper: A Low-Latency Online Prediction
Serving System", NSDI 2017): it grows by a row while batches stay within their time, and shrinks by a tenth when one
does not. It follows the time of batches, not of requests: were it to shrink because of a long queue, the queue would
only get longer. All of this is touched under the batcher's lock.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from service.engine.batching.objective import Objective

# Who comes when a batch has just begun waits for it and for the next one.
_BATCHES: Final = 2
_SHRINK: Final = 0.9
_PATIENCE_STEP: Final = 0.1
# How much the newest batch counts in what batches cost.
_WEIGHT: Final = 1 / 32


class Pace(Protocol):
    """What the batcher asks before a batch, and tells after it."""

    @property
    def rows(self) -> int:
        """Rows of a batch at most."""
        ...

    @property
    def wait_s(self) -> float:
        """Seconds that a batch of one row waits for another at most."""
        ...

    def wait_until(self, rows: int, arrived_s: float, now_s: float) -> float:
        """Time until which a batch waits for one row more.

        Args:
            rows: those that it has.
            arrived_s: when the first of them came.
            now_s: the time.
        """
        ...

    def note_wait(self, gained: bool) -> None:
        """Learn whether more came while a batch waited, or before it had to."""
        ...

    def note_batch(self, rows: int, seconds: float, latencies_s: Sequence[float]) -> None:
        """Learn from a batch.

        Args:
            rows: how many it had.
            seconds: how long the model took.
            latencies_s: of the requests that it answered, from their arrival in the batcher.
        """
        ...


class FixedPace:
    """As told: a batch waits until it is full or its first request has waited so long; without a wait it is greedy.

    Args:
        rows: of a batch at most.
        wait_s: seconds.
    """

    def __init__(self, rows: int, wait_s: float) -> None:
        """Keep them."""
        self.rows = rows
        self.wait_s = wait_s

    def wait_until(self, rows: int, arrived_s: float, now_s: float) -> float:  # noqa: ARG002 - as the protocol has it
        """Time until which a batch waits for more."""
        return arrived_s + self.wait_s

    def note_wait(self, gained: bool) -> None:
        """Nothing is learnt."""

    def note_batch(self, rows: int, seconds: float, latencies_s: Sequence[float]) -> None:
        """Nothing is learnt."""


class TunedPace:
    """Keeps an objective: chooses size and wait by what it measures.

    The wait: a batch of n rows takes a + b n seconds, so one row more saves the a that it would cost later, and makes n
    rows wait. That pays where it comes within a / n, so no batch waits longer for a row. A share of that is waited, the
    patience: more of it whenever somebody came, half of it when nobody did. So where batches cost nothing but their
    rows, and where there is only one client, nobody waits.

    Args:
        objective: what to keep.
        max_rows: of a batch at most.
    """

    def __init__(self, objective: Objective, max_rows: int) -> None:
        """Begin with single rows and no wait."""
        self._objective = objective
        self._max_rows = max_rows
        self._window = max(1, round(1 / (1 - objective.share)))
        self._seen = self._late = 0
        self._patience = 0.0
        self._costs = _Line()
        self.rows = 1

    @property
    def wait_s(self) -> float:
        """Seconds that a batch of one row waits for another."""
        return self._patience * self._costs.fixed

    def wait_until(self, rows: int, arrived_s: float, now_s: float) -> float:
        """Time until which a batch waits for one row more; see `Pace`."""
        slack_s = self._objective.within_s - _BATCHES * self._costs.mean
        return min(now_s + self.wait_s / max(1, rows), arrived_s + slack_s)

    def note_wait(self, gained: bool) -> None:
        """Learn whether more came while a batch waited, or before it had to."""
        self._patience = min(1.0, self._patience + _PATIENCE_STEP) if gained else self._patience / 2

    def note_batch(self, rows: int, seconds: float, latencies_s: Sequence[float]) -> None:
        """Learn from a batch; see `Pace`."""
        self._costs.note(rows, seconds)
        if seconds > self._objective.within_s / _BATCHES:
            self.rows = max(1, int(min(self.rows, rows) * _SHRINK))
        elif rows >= self.rows:
            self.rows = min(self._max_rows, self.rows + 1)
        self._seen += len(latencies_s)
        self._late += sum(latency_s > self._objective.within_s for latency_s in latencies_s)
        if self._late > 1:  # one in a window is what the objective allows
            self._patience /= 2
        if self._late > 1 or self._seen >= self._window:
            self._seen = self._late = 0


class _Line:
    """What a batch costs: a + b n seconds for n rows, fitted to the newest batches (weighted least squares)."""

    def __init__(self) -> None:
        self._rows = self._squares = self._products = 0.0
        self.mean = 0.0  # seconds
        self._known = False

    def note(self, rows: int, seconds: float) -> None:
        weight = _WEIGHT if self._known else 1.0
        self._known = True
        self._rows += (rows - self._rows) * weight
        self._squares += (rows * rows - self._squares) * weight
        self._products += (rows * seconds - self._products) * weight
        self.mean += (seconds - self.mean) * weight

    @property
    def fixed(self) -> float:
        """The part that does not depend on the rows; 0 while batches of one size tell nothing of it."""
        variance = self._squares - self._rows * self._rows
        if variance <= 0.01 * self._squares:
            return 0.0
        slope = max(0.0, (self._products - self._rows * self.mean) / variance)
        return min(self.mean, max(0.0, self.mean - slope * self._rows))
