"""How requests are batched, by TF Serving's names."""

import math
from dataclasses import dataclass, replace

from service.engine.batching.objective import Objective
from service.engine.batching.pace import FixedPace, Pace, TunedPace
from service.engine.batching.size_search import LEAST_ROWS, SearchingPace


@dataclass(frozen=True)
class BatchingParameters:
    """How requests are batched, by TF Serving's names (`tensorflow.serving.BatchingParameters`) where it has them.

    Attributes:
        max_batch_size: rows of a batch at most; a larger request is split. Where no sizes are told, smaller batches
            are made if a row takes less time in them.
        batch_timeout_micros: how long a batch that is not full waits for more; 0 is greedy.
        max_enqueued_batches: how many full batches may wait; beyond that requests are refused.
        num_batch_threads: how many batches may run at the same time.
        pairs: whether twice as many may where that measures quicker while a version is loaded on a GPU.
        allowed_batch_sizes: batches are padded to the next of these; empty means any size.
        max_batch_memory_mb: MiB that the model may take for a batch, beside its weights; 0 for no bound. Where sizes
            are told they count.
        row_bytes: what it takes for each row, about; 0 where that is not known.
        max_queue_s: how long a request may wait, by estimate; beyond that requests are refused.
        max_instances: rows of one request at most. One with more than may wait is taken while nothing else waits.
        row_test: whether requests are joined only where a signature has passed the row test, or is an image
            classifier's; without it they are joined wherever the declared shapes allow it, as in TF Serving.
        recheck_share: share of the joined batches that are run again row by row and compared.
        objective: the latency to keep; where there is one, size and wait are chosen by measuring, within the above.
    """

    max_batch_size: int = 32
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 100
    num_batch_threads: int = 1
    pairs: bool = False
    allowed_batch_sizes: tuple[int, ...] = ()
    max_batch_memory_mb: int = 0
    row_bytes: int = 0
    max_queue_s: float = math.inf
    max_instances: int = 100_000
    row_test: bool = True
    recheck_share: float = 0.0
    objective: Objective | None = None

    def __post_init__(self) -> None:
        """Check that the parameters fit each other."""
        for name, least in (("max_batch_size", 1), ("batch_timeout_micros", 0), ("max_enqueued_batches", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")
        if self.num_batch_threads < 1:
            raise ValueError(f"num_batch_threads must be at least 1, not {self.num_batch_threads}")
        sizes = self.allowed_batch_sizes
        if sizes and (sizes[0] < 1 or list(sizes) != sorted(set(sizes)) or sizes[-1] != self.max_batch_size):
            raise ValueError(
                f"allowed_batch_sizes must rise and end with max_batch_size ({self.max_batch_size}), not {list(sizes)}"
            )

    def padded(self, rows: int) -> int:
        """The size of the batch in which `rows` rows run."""
        return next((size for size in self.allowed_batch_sizes if size >= rows), rows)

    def below(self, rows: int) -> int:
        """The size to keep to where the device has no memory for a batch of `rows` rows, at least 1."""
        padded = self.padded(rows)
        return next((size for size in reversed(self.allowed_batch_sizes) if size < padded), max(1, rows // 2))

    def with_sizes(self) -> "BatchingParameters":
        """The same, with batches padded to powers of two up to the maximum where no sizes are told."""
        return self if self.allowed_batch_sizes else replace(self, allowed_batch_sizes=self.sizes())

    def counting(self, row_bytes: int) -> "BatchingParameters":
        """The same for a model that takes so much memory for each row, with batches that keep within their memory."""
        if self.allowed_batch_sizes or not row_bytes:
            return self
        fit = self.max_batch_memory_mb * 2**20 // row_bytes if self.max_batch_memory_mb else self.max_batch_size
        return replace(self, row_bytes=row_bytes, max_batch_size=max(1, min(self.max_batch_size, fit)))

    def make_pace(self, search: bool = True) -> Pace:
        """The pace that they ask for; `search` allows smaller batches where those are quicker."""
        wait_s = self.batch_timeout_micros / 1e6
        if self.objective is not None:
            return TunedPace(self.objective, self.max_batch_size)
        if search and not self.allowed_batch_sizes and self.max_batch_size >= 2 * LEAST_ROWS:
            return SearchingPace(self.max_batch_size, wait_s, self.row_bytes)
        return FixedPace(self.max_batch_size, wait_s)

    def sizes(self, few: bool = False) -> tuple[int, ...]:
        """The batch sizes to warm up: those allowed, or else the powers of two up to the maximum.

        Args:
            few: of the latter only one image and several. On a CPU a size that has never run costs some milliseconds
                more once, on a GPU hundreds of them.
        """
        if self.allowed_batch_sizes:
            return self.allowed_batch_sizes
        if few:
            return (1,) if self.max_batch_size == 1 else (1, 2)
        return (
            *(2**n for n in range(self.max_batch_size.bit_length()) if 2**n < self.max_batch_size),
            self.max_batch_size,
        )
