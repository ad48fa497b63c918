"""The batcher: requests that arrive while the model is busy run together as its next batch.

The rule: whoever finds the model idle runs at once. There is no dispatcher thread; the thread of a request that
finds the model idle *leads*: it runs a batch of its own request and of all that gathered, again until its own request
is answered, then hands the lead to the first that still waits. So a lone request crosses no thread, and a busy model
always gets the largest batch there is. The caller's thread is started and stopped by whoever calls `submit`; a thread
that dies while it leads has failed its batch and passed the lead on before (`finally`), so nobody waits for it.

A result is never cut by guess. A request that runs whole and by itself gets what the model gave, whatever its shapes;
where a batch gives anything but one row for each of its rows, its requests run again one by one.

Pure Python and NumPy: `run` may be anything that maps a batch of inputs to outputs.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from service.engine.batching.batch import (
    Request,
    Slice,
    check_wanted,
    count_rows,
    deliver,
    halve,
    join,
    too_late,
    wrong_rows,
)
from service.engine.batching.parameters import BatchingParameters
from service.engine.batching.room import Room
from service.errors import DeviceOutOfMemory, ModelFailed, SignpostError, Unavailable, without_paths
from service.interface import Answer, Array, Call

log = logging.getLogger(__name__)

Run = Callable[[Mapping[str, Array], tuple[str, ...]], Mapping[str, Array]]
# Told of a batch that several requests shared: its inputs, the outputs wanted, and what the model gave.
Joined = Callable[[Mapping[str, Array], tuple[str, ...], Mapping[str, Array]], None]


class Unjoinable(Exception):
    """What ran can't be shared out among the requests of the batch; the text says why."""


class Batcher:
    """The queue of one signature of one servable.

    Args:
        run: maps named inputs of a batch and the names of the outputs wanted (empty: all) to named outputs; called by
            at most `at_once` threads at a time.
        parameters: sizes and bounds.
        clock: seconds, steady; replaced in tests.
        joined: told of each batch that was shared.
        unjoinable: told why a batch could not be shared out, each time that its requests have to run one by one.

    Attributes:
        pace: the size of batches and their wait.
        at_once: batches that may run at the same time.
        queued_rows, running: rows that wait for a batch now, and batches that run or are about to.
    """

    def __init__(
        self,
        run: Run,
        parameters: BatchingParameters,
        *,
        clock: Callable[[], float] = time.monotonic,
        joined: Joined | None = None,
        unjoinable: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Make an empty queue; no thread is started."""
        self._run = run
        self._joined = joined
        self._unjoinable = unjoinable
        self._joins = True
        self._parameters = parameters
        self._clock = clock
        self._lock = threading.Lock()
        self._filled = threading.Condition(self._lock)  # waited for only where a batch waits to fill
        self._queue: deque[Request] = deque()
        self.queued_rows = 0
        self.running = 0
        self._device_rows = parameters.max_batch_size  # fewer once the device ran out of memory
        self._room = Room(parameters, clock)
        self.pace = parameters.make_pace()
        self.at_once = parameters.num_batch_threads
        self._closed = False

    @property
    def most_rows(self) -> int:
        """Rows of a batch at most, now."""
        return min(self._device_rows, self.pace.rows)

    @property
    def wait_s(self) -> float:
        """Seconds that one more row would wait for its batch, by the rate that was measured; 0 before anything was."""
        return self._room.wait_s(self.queued_rows, self.running)

    def check_room(self, call: Call) -> None:
        """Make sure that a request with this call would be taken now; raises as `submit`."""
        with self._lock:
            self._admit(1, call)

    def submit(self, inputs: Mapping[str, Array], call: Call) -> Answer:
        """Run a request as part of a batch and wait for its answer, at most until its deadline.

        Args:
            inputs: arrays with the same number of rows (first dimension), at least one.
            call: deadline, outputs wanted, and how to find out that the caller has left.

        Raises:
            InvalidRequest: inputs with no rows, or of differing numbers.
            TooLarge: more rows than `max_instances`.
            Overloaded: the queue is full, or so long that the deadline would pass.
            DeadlineExceeded: the deadline passed first.
            Abandoned: the caller left before the request ran.
            Unavailable: the batcher is closed.
            ModelFailed: `run` failed on this request.
        """
        [outcome] = self.submit_all([(inputs, call)])
        if isinstance(outcome, SignpostError):
            raise outcome
        return outcome

    def submit_all(self, wanted: Sequence[tuple[Mapping[str, Array], Call]]) -> list[Answer | SignpostError]:
        """Run several requests for one thread, each as `submit` does, so that they are ready for the same batch.

        Returns for each its answer, or the error that `submit` would raise.
        """
        begun: list[Request | SignpostError] = []
        try:
            with self._lock:
                for inputs, call in wanted:
                    begun.append(self._begin(inputs, call))
            for each in begun:
                while isinstance(each, Request) and self._wait(each):
                    self._lead(each)
            return [each.outcome() if isinstance(each, Request) else each for each in begun]
        finally:
            self._give_up([each for each in begun if isinstance(each, Request) and (each.leads or not each.finished)])

    def limit(self, rows: int) -> None:
        """Make no larger batches than this from now on: the device has no memory for them."""
        with self._lock:
            if rows >= self._device_rows:
                return
            self._device_rows = rows
        log.warning("The device is short of memory: batches have at most %d instances from now on.", rows)

    def count_memory(self, row_bytes: int) -> int | None:
        """Choose the size of batches by the memory that each row takes too; before any has run.

        Returns:
            Rows of a batch at most, where its memory allows fewer than were asked for.
        """
        parameters = self._parameters.counting(row_bytes)
        with self._lock:
            self.pace = parameters.make_pace()
            self._device_rows = min(self._device_rows, parameters.max_batch_size)
        return parameters.max_batch_size if parameters.max_batch_size < self._parameters.max_batch_size else None

    def stop_joining(self) -> None:
        """Run each request whole and by itself from now on, those that wait too."""
        with self._lock:
            self._joins = False

    def close(self) -> None:
        """Refuse new requests and fail those that wait; what runs is finished by its leader."""
        with self._lock:
            self._closed = True
            while self._queue:
                self._queue.popleft().fail(Unavailable("The model is being unloaded; try again."))
            self.queued_rows = 0
            self._filled.notify_all()

    def invoke(
        self, inputs: Mapping[str, Array], outputs: tuple[str, ...], calls: Sequence[Call], joined: bool
    ) -> Mapping[str, Array]:
        """Call `run`; overridden where it matters whose `calls` are in the batch, and until when they wait for it.

        Args:
            inputs: of the batch.
            outputs: those wanted.
            calls: of the requests in it.
            joined: whether it is anything but one request as it came.

        Raises:
            Unjoinable: this signature must not be run on several requests at once.
        """
        del calls, joined
        return self._run(inputs, outputs)

    def isolates(self, error: Exception) -> bool:
        """Whether the requests of a batch that failed so are tried one by one; overridden where that can't help."""
        del error
        return True

    def _begin(self, inputs: Mapping[str, Array], call: Call) -> Request | SignpostError:
        """Put a request in the queue; where the model is idle it gets the lead, which its thread takes as it waits."""
        try:
            request = Request(inputs, count_rows(inputs), call, self._clock())
            self._admit(request.rows, call)
        except SignpostError as error:
            return error
        request.leads = self.running < self.at_once
        self.running += request.leads
        self._queue.append(request)
        self.queued_rows += request.rows
        self._filled.notify()
        return request

    def _give_up(self, requests: list[Request]) -> None:
        """Fail requests whose thread was torn away before it waited for them, and pass on the lead they have."""
        for request in requests:
            with self._lock:
                if not request.finished:
                    self._withdraw(request, ModelFailed("The request was interrupted; try again."))
                if request.leads:
                    self._hand_over(request)

    def _admit(self, rows: int, call: Call) -> None:
        if self._closed:
            raise Unavailable("The model is being unloaded; try again.")
        self._room.check(rows, call, len(self._queue), self.queued_rows, self.running)

    def _wait(self, request: Request) -> bool:
        """Wait until the request has the lead (True) or is finished (False); past its deadline it is failed."""
        woken = False
        while True:
            with self._lock:
                if woken:
                    request.signalled = False
                if request.leads:  # even when it is finished: the lead must be passed on
                    return True
                if not request.finished and self._clock() >= request.call.deadline:
                    self._withdraw(request, too_late(request, self._clock()))
                if request.finished:
                    return False
            remaining_s = request.call.deadline - self._clock()
            woken = request.wake.acquire(timeout=min(max(0.0, remaining_s), threading.TIMEOUT_MAX))

    def _withdraw(self, request: Request, error: SignpostError) -> None:
        """Fail a request and take what is left of it from the queue."""
        request.fail(error)
        if request.taken_rows < request.rows:
            self._queue.remove(request)
            self.queued_rows -= request.rows - request.taken_rows

    def _lead(self, own: Request) -> None:
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

    def _hand_over(self, leader: Request) -> None:
        leader.leads = False
        heir = next((request for request in self._queue if not request.leads and not request.finished), None)
        if heir is None:
            self.running -= 1
        else:
            heir.leads = True
            heir.signal()

    def _take(self) -> list[Slice]:
        """Take the next batch from the queue: the first request that still wants to run, and all that fit with it."""
        self._wait_to_fill()
        batch: list[Slice] = []
        rows = 0
        passed_over: list[Request] = []
        now = self._clock()
        while self._queue and rows < self.most_rows:
            request = self._queue.popleft()
            if not request.finished and request.taken_rows == 0:
                check_wanted(request, now)
            if request.finished:
                self.queued_rows -= request.rows - request.taken_rows
                continue
            if batch and request.kind != batch[0].request.kind:
                passed_over.append(request)
                continue
            if not self._joins:
                request.started_s = now
                self._take_whole(request)
                return [Slice(request, 0, request.rows)]
            start = request.taken_rows
            stop = min(request.rows, start + self.most_rows - rows)
            if start == 0:
                request.started_s = now
            request.taken_rows = stop
            self.queued_rows -= stop - start
            rows += stop - start
            batch.append(Slice(request, start, stop))
            if stop < request.rows:
                self._queue.appendleft(request)
        self._queue.extendleft(reversed(passed_over))
        return batch

    def _wait_to_fill(self) -> None:
        """Wait for a full batch as long as the pace says."""
        gained = len(self._queue) > 1
        while self._queue and self.queued_rows < self.most_rows:
            head, rows, now = self._queue[0], self.queued_rows, self._clock()
            remaining_s = min(self.pace.wait_until(rows, head.arrived_s, now), head.call.deadline) - now
            if remaining_s <= 0 or not self._filled.wait(remaining_s):
                break
            gained = gained or self.queued_rows > rows
        self.pace.note_wait(gained)

    def _run_batch(self, batch: list[Slice]) -> None:
        rows = sum(part.stop - part.start for part in batch)
        started_s = self._clock()
        try:
            outputs = self._call_model(batch, rows)
        except Unjoinable as error:
            self._unjoinable(str(error))
            self._run_one_by_one(batch)
            return
        except Exception as error:
            if isinstance(error, DeviceOutOfMemory) and rows > 1 and self._joins:
                self.limit(self._parameters.below(rows))
                for half in halve(batch):
                    self._run_batch(half)
            elif len(batch) == 1 or not self.isolates(error):
                self._fail(batch, error)
            else:  # one bad request must not cost the others their answers
                for part in batch:
                    self._run_batch([part])
            return
        elapsed_s = self._clock() - started_s
        with self._lock:
            self._room.note(rows, elapsed_s)
            ended_s = started_s + elapsed_s
            self.pace.note_batch(rows, elapsed_s, [ended_s - part.request.arrived_s for part in batch])
            if len(batch) == 1 and batch[0].whole:
                batch[0].request.answer_whole(outputs, elapsed_s)
            else:
                deliver(batch, outputs, elapsed_s, rows)

    def _call_model(self, batch: list[Slice], rows: int) -> Mapping[str, Array]:
        """Run a batch.

        Raises:
            Unjoinable: it gave anything but one row for each of its rows, or must not be shared.
        """
        head = batch[0].request
        alone = len(batch) == 1 and batch[0].whole
        padded = self._parameters.padded(rows) if self._joins else rows
        inputs = head.inputs
        if not alone or padded != rows:
            inputs = {name: join(name, batch, rows, padded) for name in inputs}
        outputs = self.invoke(inputs, head.call.outputs, [part.request.call for part in batch], joined=not alone)
        if alone and padded == rows:
            if self._joined is not None and head.call.joined and not wrong_rows(outputs, rows):
                self._joined(inputs, head.call.outputs, outputs)
            return outputs
        if reason := wrong_rows(outputs, padded):
            raise Unjoinable(reason)
        if self._joined is not None and len(batch) > 1:
            self._joined(inputs, head.call.outputs, outputs)
        return outputs if padded == rows else {name: array[:rows] for name, array in outputs.items()}

    def _run_one_by_one(self, batch: list[Slice]) -> None:
        """Run the requests of a batch again, each whole and by itself."""
        for part in batch:
            request = part.request
            with self._lock:
                if request.finished or request.apart:
                    continue
                if request.taken_rows < request.rows:
                    self._queue.remove(request)
                self._take_whole(request)
            started_s = self._clock()
            try:
                outputs = self.invoke(request.inputs, request.call.outputs, [request.call], joined=False)
            except Exception as error:
                self._fail([part], error)
                continue
            with self._lock:
                request.answer_whole(outputs, self._clock() - started_s)

    def _take_whole(self, request: Request) -> None:
        """Note that a request, which is in the queue no more, runs whole, whatever of it has run in slices."""
        self.queued_rows -= request.rows - request.taken_rows
        request.taken_rows = request.rows
        request.apart = True

    def _fail(self, batch: list[Slice], error: Exception) -> None:
        shown = (
            error if isinstance(error, SignpostError) else ModelFailed(f"The model failed: {without_paths(str(error))}")
        )
        if shown is not error:
            shown.__cause__ = error
        with self._lock:
            for part in batch:
                if not part.request.finished:
                    self._withdraw(part.request, shown)
