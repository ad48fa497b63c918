"""The batcher: requests that arrive while the model is busy run together as its next batch.

The rule: whoever finds the model idle runs at once. There is no dispatcher thread; the thread of a request that
finds the model idle *leads*: it runs a batch of its own request and of all that gathered, again until its own request
is answered, then hands the lead to the first that still waits. So a lone request crosses no thread, and a busy model
always gets the largest batch there is. The caller's thread is started and stopped by whoever calls `submit`; a thread
that dies while it leads has failed its batch and passed the lead on before (`finally`), so nobody waits for it.

Pure Python and NumPy: `run` may be anything that maps a batch of inputs to outputs.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from service.engine.interface import Answer, Array, Call
from service.errors import (
    Abandoned,
    DeadlineExceeded,
    InvalidRequest,
    ModelFailed,
    Overloaded,
    SignpostError,
    TooLarge,
    Unavailable,
)

Run = Callable[[Mapping[str, Array], tuple[str, ...]], Mapping[str, Array]]

# How much the newest batch counts in the measured rate.
_RATE_WEIGHT = 0.2


@dataclass(frozen=True)
class BatchingParameters:
    """How requests are batched, by TF Serving's names (`tensorflow.serving.BatchingParameters`).

    Attributes:
        max_batch_size: rows of a batch at most; a larger request is split.
        batch_timeout_micros: how long a batch that is not full waits for more; 0 is greedy.
        max_enqueued_batches: how many full batches may wait; beyond that requests are refused.
        num_batch_threads: how many batches may run at the same time.
        allowed_batch_sizes: batches are padded to the next of these; empty means any size.
    """

    max_batch_size: int = 32
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 100
    num_batch_threads: int = 1
    allowed_batch_sizes: tuple[int, ...] = ()

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

    def sizes(self) -> tuple[int, ...]:
        """The batch sizes to warm up: those allowed, or else the powers of two up to the maximum."""
        if self.allowed_batch_sizes:
            return self.allowed_batch_sizes
        return (
            *(2**n for n in range(self.max_batch_size.bit_length()) if 2**n < self.max_batch_size),
            self.max_batch_size,
        )


class _Request:
    """A request on its way; all but its constants is touched only under the batcher's lock."""

    __slots__ = (
        "answered_rows", "arrived_s", "batch_rows", "call", "error", "infer_s", "inputs", "key", "leads", "parts",
        "rows", "signalled", "started_s", "taken_rows", "wake",
    )  # fmt: skip

    def __init__(self, inputs: Mapping[str, Array], rows: int, call: Call, arrived_s: float) -> None:
        self.inputs = inputs
        self.rows = rows
        self.call = call
        self.arrived_s = arrived_s
        # Only requests of one key can be joined.
        self.key = (call.outputs, tuple((name, a.dtype, a.shape[1:]) for name, a in inputs.items()))
        self.taken_rows = 0
        self.answered_rows = 0
        self.parts: list[tuple[int, Mapping[str, Array]]] = []  # (first row, outputs)
        self.error: BaseException | None = None
        self.leads = False
        self.started_s = 0.0
        self.infer_s = 0.0
        self.batch_rows = 0
        # A lock used as a signal is the quickest way to wake one certain thread.
        self.wake = threading.Lock()
        self.wake.acquire()
        self.signalled = False

    @property
    def finished(self) -> bool:
        return self.error is not None or self.answered_rows == self.rows

    def signal(self) -> None:
        if not self.signalled:
            self.signalled = True
            self.wake.release()

    def fail(self, error: BaseException) -> None:
        if not self.finished:
            self.error = error
            self.signal()

    def answer(self) -> Answer:
        if self.error is not None:
            raise self.error
        self.parts.sort(key=lambda part: part[0])
        outputs = self.parts[0][1]
        if len(self.parts) > 1:
            outputs = {name: np.concatenate([part[name] for _, part in self.parts]) for name in outputs}
        return Answer(outputs, self.started_s - self.arrived_s, self.infer_s, self.batch_rows)


@dataclass(frozen=True)
class _Slice:
    """Rows `start` to `stop` of a request, as part of a batch."""

    request: _Request
    start: int
    stop: int


class Batcher:
    """The queue of one signature of one servable.

    Args:
        run: maps named inputs of a batch and the names of the outputs wanted (empty: all) to named outputs with as
            many rows; called by one thread at a time for each of `num_batch_threads`.
        parameters: sizes and bounds.
        clock: seconds, steady; replaced in tests.
    """

    def __init__(self, run: Run, parameters: BatchingParameters, clock: Callable[[], float] = time.monotonic) -> None:
        """Make an empty queue; no thread is started."""
        self._run = run
        self._parameters = parameters
        self._clock = clock
        self._lock = threading.Lock()
        self._filled = threading.Condition(self._lock)  # used only where a batch waits to fill
        self._queue: deque[_Request] = deque()
        self._queued_rows = 0
        self._leaders = 0
        self._rows_per_s = 0.0
        self._closed = False

    @property
    def queued_rows(self) -> int:
        """Rows that wait for a batch now."""
        return self._queued_rows

    def submit(self, inputs: Mapping[str, Array], call: Call) -> Answer:
        """Run a request as part of a batch and wait for its answer, at most until its deadline.

        Args:
            inputs: arrays with the same number of rows (first dimension), at least one.
            call: deadline, outputs wanted, and how to find out that the caller has left.

        Raises:
            InvalidRequest: inputs with no rows, or of differing numbers.
            TooLarge: more rows than the whole queue holds.
            Overloaded: the queue is full.
            DeadlineExceeded: the deadline passed first.
            Abandoned: the caller left before the request ran.
            Unavailable: the batcher is closed.
            ModelFailed: `run` failed on this request.
        """
        request = _Request(inputs, _rows(inputs), call, self._clock())
        with self._lock:
            self._admit(request)
            request.leads = self._leaders < self._parameters.num_batch_threads
            self._leaders += request.leads
            self._queue.append(request)
            self._queued_rows += request.rows
            if self._queued_rows >= self._parameters.max_batch_size:
                self._filled.notify()
        while self._wait(request):
            self._lead(request)
        return request.answer()

    def close(self) -> None:
        """Refuse new requests and fail those that wait; what runs is finished by its leader."""
        with self._lock:
            self._closed = True
            while self._queue:
                self._queue.popleft().fail(Unavailable("The model is being unloaded; try again."))
            self._queued_rows = 0
            self._filled.notify_all()

    def invoke(self, inputs: Mapping[str, Array], outputs: tuple[str, ...], deadline: float) -> Mapping[str, Array]:
        """Call `run`; overridden where the call can be ended at `deadline`, when nobody in the batch waits any more."""
        del deadline
        return self._run(inputs, outputs)

    def isolates(self, error: Exception) -> bool:
        """Whether the requests of a batch that failed so are tried one by one; overridden where that can't help."""
        del error
        return True

    def _admit(self, request: _Request) -> None:
        if self._closed:
            raise Unavailable("The model is being unloaded; try again.")
        room = self._parameters.max_batch_size * self._parameters.max_enqueued_batches
        if request.rows > room:
            raise TooLarge(f"The request has {request.rows} instances; at most {room} are taken.")
        if self._queued_rows + request.rows > room:
            # Before anything was measured a second is as good a guess as any.
            wait_s = self._queued_rows / self._rows_per_s if self._rows_per_s > 0 else 1.0
            raise Overloaded(f"The queue is full: {self._queued_rows} instances wait, at most {room} may.", wait_s)

    def _wait(self, request: _Request) -> bool:
        """Wait until the request has the lead (True) or is finished (False); past its deadline it is failed."""
        woken = False
        while True:
            with self._lock:
                if woken:
                    request.signalled = False
                if request.leads:  # even when it is finished: the lead must be passed on
                    return True
                if not request.finished and self._clock() >= request.call.deadline:
                    self._withdraw(request, _too_late(request))
                if request.finished:
                    return False
            remaining_s = request.call.deadline - self._clock()
            woken = request.wake.acquire(timeout=min(max(0.0, remaining_s), threading.TIMEOUT_MAX))

    def _withdraw(self, request: _Request, error: BaseException) -> None:
        """Fail a request and take what is left of it from the queue."""
        request.fail(error)
        if request.taken_rows < request.rows:
            self._queue.remove(request)
            self._queued_rows -= request.rows - request.taken_rows

    def _lead(self, own: _Request) -> None:
        """Run batches until `own` is finished or wholly in other leaders' batches, then pass the lead on."""
        try:
            while True:
                with self._lock:
                    batch = [] if own.finished else self._take()
                if not batch:
                    return
                try:
                    self._run_batch(batch)
                except BaseException:  # whatever happened, nobody in the batch waits for ever
                    self._fail(batch, ModelFailed("The model was interrupted; try again."))
                    raise
        finally:
            with self._lock:
                self._hand_over(own)

    def _hand_over(self, leader: _Request) -> None:
        leader.leads = False
        heir = next((request for request in self._queue if not request.leads and not request.finished), None)
        if heir is None:
            self._leaders -= 1
        else:
            heir.leads = True
            heir.signal()

    def _take(self) -> list[_Slice]:
        """Take the next batch from the queue: the first request that still wants to run, and all that fit with it."""
        self._wait_to_fill()
        batch: list[_Slice] = []
        rows = 0
        passed_over: list[_Request] = []
        now = self._clock()
        while self._queue and rows < self._parameters.max_batch_size:
            request = self._queue.popleft()
            if not request.finished and request.taken_rows == 0:
                _check_wanted(request, now)
            if request.finished:
                self._queued_rows -= request.rows - request.taken_rows
                continue
            if batch and request.key != batch[0].request.key:
                passed_over.append(request)
                continue
            start = request.taken_rows
            stop = min(request.rows, start + self._parameters.max_batch_size - rows)
            if start == 0:
                request.started_s = now
            request.taken_rows = stop
            self._queued_rows -= stop - start
            rows += stop - start
            batch.append(_Slice(request, start, stop))
            if stop < request.rows:
                self._queue.appendleft(request)
        self._queue.extendleft(reversed(passed_over))
        return batch

    def _wait_to_fill(self) -> None:
        """With a batch timeout, wait for a full batch until the first request has waited that long."""
        timeout_s = self._parameters.batch_timeout_micros / 1e6
        while timeout_s > 0 and self._queue and self._queued_rows < self._parameters.max_batch_size:
            head = self._queue[0]
            remaining_s = min(head.arrived_s + timeout_s, head.call.deadline) - self._clock()
            if remaining_s <= 0:
                return
            self._filled.wait(remaining_s)

    def _run_batch(self, batch: list[_Slice]) -> None:
        rows = sum(part.stop - part.start for part in batch)
        started_s = self._clock()
        try:
            outputs = self._call_model(batch, rows)
        except Exception as error:
            if len(batch) == 1 or not self.isolates(error):
                self._fail(batch, error)
            else:  # one bad request must not cost the others their answers
                for part in batch:
                    self._run_batch([part])
            return
        elapsed_s = self._clock() - started_s
        with self._lock:
            if elapsed_s > 0:
                rate = rows / elapsed_s
                self._rows_per_s += (rate - self._rows_per_s) * (_RATE_WEIGHT if self._rows_per_s else 1.0)
            first = 0
            for part in batch:
                last = first + part.stop - part.start
                _deliver(part, {name: array[first:last] for name, array in outputs.items()}, elapsed_s, rows)
                first = last

    def _call_model(self, batch: list[_Slice], rows: int) -> Mapping[str, Array]:
        padded = self._parameters.padded(rows)
        head = batch[0].request
        inputs = head.inputs
        if not head.rows == rows == padded or len(batch) > 1:
            inputs = {name: _join(name, batch, rows, padded) for name in inputs}
        outputs = self.invoke(inputs, head.call.outputs, max(part.request.call.deadline for part in batch))
        for name, array in outputs.items():
            if array.ndim == 0 or len(array) != padded:
                found = "a single value" if array.ndim == 0 else f"{len(array)} rows"
                raise ModelFailed(f"The model gave {found} of {name!r} for {padded} rows of input; it needs one each.")
        return outputs

    def _fail(self, batch: list[_Slice], error: Exception) -> None:
        shown = error if isinstance(error, SignpostError) else ModelFailed(f"The model failed: {error}")
        if shown is not error:
            shown.__cause__ = error
        with self._lock:
            for part in batch:
                if not part.request.finished:
                    self._withdraw(part.request, shown)


def _deliver(part: _Slice, outputs: Mapping[str, Array], infer_s: float, batch_rows: int) -> None:
    request = part.request
    if request.finished:  # it failed or gave up meanwhile
        return
    request.parts.append((part.start, outputs))
    request.answered_rows += part.stop - part.start
    request.infer_s += infer_s
    request.batch_rows = max(request.batch_rows, batch_rows)
    if request.answered_rows == request.rows:
        request.signal()


def _rows(inputs: Mapping[str, Array]) -> int:
    counts = {array.shape[0] if array.ndim else 0 for array in inputs.values()}
    if len(counts) != 1:
        raise InvalidRequest(f"The inputs have {sorted(counts)} rows; each must have the same number.")
    rows = counts.pop()
    if rows == 0:
        raise InvalidRequest("The request has no instances; send at least one.")
    return int(rows)


def _check_wanted(request: _Request, now: float) -> None:
    """Fail a request that nobody waits for any more."""
    if now >= request.call.deadline:
        request.fail(_too_late(request))
    elif _has_left(request.call):
        request.fail(Abandoned("The caller left before the request ran."))


def _has_left(call: Call) -> bool:
    try:
        return call.abandoned is not None and call.abandoned()
    except Exception:  # in doubt the caller is there; a broken check must not stop the leader
        return False


def _too_late(request: _Request) -> DeadlineExceeded:
    allowed_ms = (request.call.deadline - request.arrived_s) * 1e3
    return DeadlineExceeded(f"No answer within the deadline ({allowed_ms:.0f} ms in the queue and the model).")


def _join(name: str, batch: list[_Slice], rows: int, padded: int) -> Array:
    """Join the rows of a batch; padding repeats the first row, so that the model only sees values it was sent."""
    first = batch[0].request.inputs[name]
    joined = np.empty((padded, *first.shape[1:]), dtype=first.dtype)
    at = 0
    for part in batch:
        count = part.stop - part.start
        joined[at : at + count] = part.request.inputs[name][part.start : part.stop]
        at += count
    joined[rows:] = joined[0]
    return joined
