"""The size of batches at which a row takes least time, found by trying.

On a CPU a batch whose activations no longer fit the caches costs more a row than smaller ones do: MobileNetV2 answered
forms of 32 images a fifth more quickly in batches of 8 (docs/decisions/0082). To other models it is all one, and a GPU
wants all it can get. So it is measured, on the batches that run anyway.

What a model takes of the memory for a batch grows with its rows, and TensorFlow never gives back what it once took. So
sizes that take little are as good as each other, and one that takes more has to be worth it: the search begins below
those, and keeps one only if a row takes clearly less time in it (docs/decisions/0150). All of this is touched under the
batcher's lock.
"""

from collections.abc import Sequence
from statistics import median
from typing import Final

from service.engine.batching.pace import FixedPace

# Smaller batches than this are not tried: they pay for each call more than caches can give back.
LEAST_ROWS: Final = 8
# Batches of either size in a trial; one alone is noise, most of all where other programs run.
_TIMES: Final = 9
# A trial ends without a verdict where the load has no batches for it.
_PATIENCE: Final = 8 * _TIMES
# A smaller size must take so much less time a row, a larger one may take about as much: fewer calls are simpler.
_BETTER: Final = 0.95
_AS_GOOD: Final = 0.98
# By so much more where it takes twice the memory.
_WORTH_MEMORY: Final = 1.1
# Bytes of a batch that nobody need save: a tenth of what TensorFlow takes before any model.
_LITTLE: Final = 32 * 2**20
# Batches between two trials: twice as many after each that changed nothing.
_FIRST: Final = 16
_LAST: Final = 4096


class SearchingPace(FixedPace):
    """As told, but for the size of batches, which is `max_rows` or that halved, whatever a row takes least time in.

    Args:
        max_rows: of a batch at most.
        wait_s: seconds that a batch which is not full waits for more.
        row_bytes: what the model takes of the memory for each row, about; 0 where that is not known.
    """

    def __init__(self, max_rows: int, wait_s: float, row_bytes: int = 0) -> None:
        """Begin with the largest size that takes little memory."""
        super().__init__(max_rows, wait_s)
        self._sizes = [max_rows]
        while self._sizes[-1] // 2 >= LEAST_ROWS:
            self._sizes.append(self._sizes[-1] // 2)
        self._row_bytes = row_bytes
        little = [size for size in self._sizes if not self._takes_much(size)]
        self._size = self.rows = next(iter(little), self._sizes[-1])
        self._pause = _FIRST
        self._since_trial = 0
        self._smaller_next = True
        self._trial: _Trial | None = None

    def note_batch(self, rows: int, seconds: float, latencies_s: Sequence[float]) -> None:
        """Learn from a batch; see `Pace`."""
        del latencies_s
        if self._trial is None:
            self._begin(rows)
            return
        self._trial.note(rows, seconds)
        if not self._trial.over:
            self.rows = self._trial.next_size
            return
        better = self._trial.better
        self._pause = min(_LAST, 2 * self._pause) if better in (None, self._size) else _FIRST
        self._size = self.rows = better or self._size
        self._trial = None

    def _begin(self, rows: int) -> None:
        """Begin a trial of a size that would matter to batches like this one, when it is time."""
        if rows < self._sizes[-1]:
            return
        smaller = next((size for size in self._sizes if size < rows), None)
        larger = next((size for size in reversed(self._sizes) if size > self._size == rows), None)
        if smaller is None and larger is None:
            return
        self._since_trial += 1
        if self._since_trial < self._pause:
            return
        self._since_trial = 0
        if smaller is not None and (self._smaller_next or larger is None):
            self._trial = self._make_trial(smaller, self._size)
        elif larger is not None:
            self._trial = self._make_trial(self._size, larger)
        self._smaller_next = not self._smaller_next

    def _make_trial(self, small: int, large: int) -> "_Trial":
        return _Trial(small, large, _WORTH_MEMORY if self._takes_much(large) else 1.0)

    def _takes_much(self, rows: int) -> bool:
        return rows * self._row_bytes > _LITTLE


class _Trial:
    """Batches of two sizes in turn; `worth` is how many times as quick the larger one has to be."""

    def __init__(self, small: int, large: int, worth: float) -> None:
        self.small, self.large = small, large
        self._worth = worth
        self._small_s: list[float] = []  # seconds for a row
        self._large_s: list[float] = []
        self._left = _PATIENCE

    def note(self, rows: int, seconds: float) -> None:
        self._left -= 1
        if self.small <= rows <= self.large:
            (self._small_s if rows == self.small else self._large_s).append(seconds / rows)

    @property
    def _enough(self) -> bool:
        return min(len(self._small_s), len(self._large_s)) >= _TIMES

    @property
    def over(self) -> bool:
        return self._enough or self._left <= 0

    @property
    def next_size(self) -> int:
        return self.small if len(self._small_s) <= len(self._large_s) else self.large

    @property
    def better(self) -> int | None:
        """The size to keep; None where neither is clearly the better one, or too little was seen."""
        large_s = median(self._large_s) if self._enough else 0.0
        if not large_s:
            return None
        share = median(self._small_s) / large_s / self._worth
        return self.small if share < _BETTER else self.large if share > _AS_GOOD else None
