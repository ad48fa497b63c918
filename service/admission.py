"""Which requests are turned away when more come than the host can carry.

A queue that is longer than it needs to be to keep the host busy adds waiting and no answers, and a request that waits
until its caller has gone is work for nothing. So a queue is bounded in time, not in requests alone. The rule of
`Admission` is a simple relative of CoDel (Nichols and Jacobson, "Controlling Queue Delay", ACM Queue 2012) as servers
use it (Maurer, "Fail at Scale", ACM Queue 2015): patient with a burst, strict with a queue that stands.
"""

import math
import mmap
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

# Seconds of refusals after which they are no longer a burst, and without one after which the overload is over.
BURST_S: Final = 0.1
CALM_S: Final = 1.0
# Where the gateway finds how the current request arrived.
ARRIVAL: Final = "signpost.arrival"
# How the text of such a refusal begins; a gateway knows by it that an engine elsewhere refused.
TOO_MANY: Final = "More requests arrive than can be answered"
# How much the newest request counts in the time that requests take.
_WEIGHT: Final = 1 / 32

# Full batches that are held before anything is refused: one runs, and the next begins to gather.
_BATCHES: Final = 1.25
# So many times what is always held is a burst. A quick model would else take thousands before time becomes the bound.
_BURST: Final = 16


class Admission:
    """The rule.

    - Fewer than `always` requests at once are never refused.
    - Beyond that a request is refused when its wait is estimated to be longer than `most_s`, or where sixteen times as
      many are held.
    - While refusals go on for longer than a burst, `always` is the bound: the host is busy with so many, and whoever
      waits longer only waits longer. A second without a refusal ends that.

    Args:
        always: requests that are held at once, at least.
        most_s: seconds that a request may wait.
        clock: seconds, steady; replaced in tests.
        refusals: when the first and the last of the present overload were; see `no_refusals`. Workers share it: where
            one refuses, another must not let requests wait long, only because the refused come back to the first.
    """

    def __init__(
        self,
        always: int,
        most_s: float,
        clock: Callable[[], float] = time.monotonic,
        refusals: "memoryview[float] | None" = None,
    ) -> None:
        """Refuse nothing yet."""
        self._always = always
        self._most_s = most_s
        self._clock = clock
        self._refusals = no_refusals() if refusals is None else refusals

    def refuses(self, held: int, wait_s: float) -> bool:
        """Whether one more request is refused, and if so, note it.

        Args:
            held: requests that wait or run.
            wait_s: how long it would wait, by estimate.
        """
        has_room = wait_s <= self._most_s and held < _BURST * self._always and not self.overloaded
        if held < self._always or has_room:
            return False
        now = self._clock()
        if now - self._refusals[1] > CALM_S:
            self._refusals[0] = now
        self._refusals[1] = now
        return True

    def sheds(self, held: int) -> bool:
        """Whether a request that waited so far is refused after all, as it was taken before the overload showed."""
        return held > self._always and self.overloaded

    @property
    def overloaded(self) -> bool:
        """Whether refusals have gone on for longer than a burst, and still do."""
        first_s, last_s = self._refusals[0], self._refusals[1]
        return last_s - first_s >= BURST_S and self._clock() - last_s <= CALM_S


def no_refusals() -> "memoryview[float]":
    """When the first and the last refusal were, in memory that processes share which are forked later: never."""
    times_s = memoryview(mmap.mmap(-1, 16)).cast("d")
    times_s[0] = times_s[1] = -math.inf
    return times_s


def held_always(max_batch_size: int, shares: int = 1) -> int:
    """How many requests are never refused: a little more than a full batch, over all that share them."""
    return math.ceil(_BATCHES * max_batch_size / shares)


def too_many(wait_s: float) -> str:
    """What a client is told that is refused."""
    # While an overload lasts the queue is kept short, so that the wait says nothing.
    wait = f": a new one would wait about {wait_s:.1f} s" if wait_s >= 0.05 else ""
    return f"{TOO_MANY}{wait}; try again later."


@dataclass(slots=True)
class Arrival:
    """A request's arrival.

    Attributes:
        at_s: when, on the monotonic clock.
        refused: whether it is refused if it asks for a model to run.
        taken_s: how long it took, once a thread had it.
    """

    at_s: float
    refused: bool = False
    taken_s: float = 0.0


class FrontQueue:
    """The requests of a worker process that wait for one of its threads: a queue that the batcher never sees.

    Args:
        threads: requests that are handled at the same time.
        admission: which are refused; none by default.
        clock: seconds, steady; replaced in tests.
    """

    def __init__(
        self,
        threads: int,
        admission: Admission | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nobody waits."""
        self._threads = threads
        self._admission = admission or Admission(sys.maxsize, math.inf)
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting = self._inside = 0
        self._taken_s = 0.0  # by a request, once a thread has it
        self._local = threading.local()

    @property
    def wait_s(self) -> float:
        """Seconds that a request would wait for a thread now, by what the last ones took."""
        return self._waiting * self._taken_s / self._threads

    def is_full(self) -> bool:
        """Whether a request that arrives now is refused, if it asks for a model to run."""
        return self._admission.refuses(self._held, self.wait_s)

    def join(self, refused: bool = False) -> Arrival:
        """Note that a request begins to wait; one that is refused waits too, for its refusal."""
        with self._lock:
            self._waiting += 1
        return Arrival(self._clock(), refused)

    def enter(self, arrival: Arrival) -> None:
        """Note that this thread has the request."""
        with self._lock:
            self._waiting -= 1
            self._inside += 1
        self._local.arrival = arrival
        if not arrival.refused and self._admission.sheds(self._held):
            arrival.refused = True

    def leave(self, arrival: Arrival, was_slow: bool = False) -> None:
        """Note that the request was answered, and learn from the time that it took.

        Args:
            arrival: the request's.
            was_slow: whether another thread took this one's place while it waited for a slow client.
        """
        self._local.arrival = None
        with self._lock:
            self._inside -= 1
            if arrival.taken_s and not was_slow:
                self._taken_s += (arrival.taken_s - self._taken_s) * (_WEIGHT if self._taken_s else 1.0)

    @property
    def _held(self) -> int:
        """Requests that wait or are worked on; who waits for a slow client works on nothing."""
        return self._waiting + self._inside

    def step_aside(self) -> None:
        """Note that a thread waits for a slow client and another has its place: that request is not worked on."""
        with self._lock:
            self._inside -= 1

    def step_back(self) -> None:
        """End what `step_aside` began."""
        with self._lock:
            self._inside += 1

    def arrival(self) -> Arrival | None:
        """How the request that this thread has arrived; told once, as a connection may bring several requests."""
        arrival: Arrival | None = getattr(self._local, "arrival", None)
        self._local.arrival = None
        return arrival


class CountedPool(ThreadPoolExecutor):
    """Threads whose work waits in a `FrontQueue`, for a server that has none of its own."""

    def __init__(self, queue: FrontQueue, threads: int, name: str) -> None:
        """Start no thread yet."""
        super().__init__(threads, thread_name_prefix=name)
        self._queue = queue

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function once a thread is free."""
        arrival = self._queue.join(self._queue.is_full())

        def run() -> Any:
            self._queue.enter(arrival)
            try:
                return fn(*args, **kwargs)
            finally:
                self._queue.leave(arrival)

        return super().submit(run)
