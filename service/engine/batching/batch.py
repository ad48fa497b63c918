"""A request on its way through a batcher, the slices of requests that make a batch, and how they are joined.

All of a request but its constants is touched only under the batcher's lock.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.errors import Abandoned, DeadlineExceeded, InvalidRequest, SignpostError
from service.interface import Answer, Array, Call

# Only requests of one kind can be joined: the outputs wanted, and of each input its name, dtype and a row's shape.
Kind = tuple[tuple[str, ...], tuple[tuple[str, Any, tuple[int, ...]], ...]]


def kind_of(inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> Kind:
    """The kind of a request for these outputs; in which order its inputs come is all one."""
    items = inputs.items() if len(inputs) == 1 else sorted(inputs.items())
    return (outputs, tuple((name, array.dtype, array.shape[1:]) for name, array in items))


class Request:
    """A request on its way.

    Args:
        inputs: its arrays by name.
        rows: their common first dimension.
        call: deadline, outputs wanted, and whether the caller has left.
        arrived_s: time of arrival, on the batcher's clock.
    """

    __slots__ = (
        "answered_rows", "apart", "arrived_s", "batch_rows", "call", "error", "infer_s", "inputs", "kind", "leads",
        "parts", "rows", "signalled", "started_s", "taken_rows", "wake",
    )  # fmt: skip

    def __init__(self, inputs: Mapping[str, Array], rows: int, call: Call, arrived_s: float) -> None:
        """It has neither run nor failed."""
        self.inputs = inputs
        self.rows = rows
        self.call = call
        self.arrived_s = arrived_s
        self.kind = kind_of(inputs, call.outputs)
        self.taken_rows = 0
        self.answered_rows = 0
        self.parts: list[tuple[int, Mapping[str, Array]]] = []  # (first row, outputs)
        self.apart = False  # it runs whole and by itself; what its slices gave no longer counts
        self.error: SignpostError | None = None
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
        """Whether it is answered or has failed."""
        return self.error is not None or self.answered_rows == self.rows

    def signal(self) -> None:
        """Wake its caller."""
        if not self.signalled:
            self.signalled = True
            self.wake.release()

    def fail(self, error: SignpostError) -> None:
        """End it with an error, unless it is finished."""
        if not self.finished:
            self.error = error
            self.signal()

    def answer_whole(self, outputs: Mapping[str, Array], infer_s: float) -> None:
        """Answer it with what a run of it alone gave, whatever the shapes, unless it is finished."""
        if not self.finished:
            self.parts = [(0, outputs)]
            self.answered_rows = self.batch_rows = self.rows
            self.infer_s += infer_s
            self.signal()

    def outcome(self) -> Answer | SignpostError:
        """Its answer, put together from its slices, or its error if it failed."""
        if self.error is not None:
            return self.error
        self.parts.sort(key=lambda part: part[0])
        outputs = self.parts[0][1]
        if len(self.parts) > 1:
            outputs = {name: np.concatenate([part[name] for _, part in self.parts]) for name in outputs}
        return Answer(outputs, self.started_s - self.arrived_s, self.infer_s, self.batch_rows)


@dataclass(frozen=True)
class Slice:
    """Rows `start` to `stop` of a request, as part of a batch."""

    request: Request
    start: int
    stop: int

    @property
    def whole(self) -> bool:
        """Whether it is all of its request."""
        return self.start == 0 and self.stop == self.request.rows


def halve(batch: Sequence[Slice]) -> tuple[list[Slice], list[Slice]]:
    """Split a batch of two rows or more into two with (about) equally many, in order."""
    left, right = [], []
    room = sum(part.stop - part.start for part in batch) // 2
    for part in batch:
        cut = min(part.start + room, part.stop)
        room -= cut - part.start
        if cut > part.start:
            left.append(Slice(part.request, part.start, cut))
        if cut < part.stop:
            right.append(Slice(part.request, cut, part.stop))
    return left, right


def deliver(batch: Sequence[Slice], outputs: Mapping[str, Array], infer_s: float, batch_rows: int) -> None:
    """Give each request of a batch the outputs of its slice, and wake its caller if it was the last."""
    stop = 0
    for part in batch:
        start, stop = stop, stop + part.stop - part.start
        request = part.request
        if request.finished or request.apart:  # it failed, gave up, or runs whole meanwhile
            continue
        request.parts.append((part.start, {name: array[start:stop] for name, array in outputs.items()}))
        request.answered_rows += part.stop - part.start
        request.infer_s += infer_s
        request.batch_rows = max(request.batch_rows, batch_rows)
        if request.answered_rows == request.rows:
            request.signal()


def count_rows(inputs: Mapping[str, Array]) -> int:
    """The common first dimension of a request's inputs.

    Raises:
        InvalidRequest: there is none, or it is 0.
    """
    counts = {array.shape[0] if array.ndim else 0 for array in inputs.values()}
    if len(counts) != 1:
        raise InvalidRequest(f"The inputs have {sorted(counts)} rows; each must have the same number.")
    rows = counts.pop()
    if rows == 0:
        raise InvalidRequest("The request has no instances; send at least one.")
    return int(rows)


def wrong_rows(outputs: Mapping[str, Array], rows: int) -> str:
    """Which output has not one row for each row of input, in words; empty if all have."""
    for name, array in outputs.items():
        if array.ndim == 0 or len(array) != rows:
            found = "a single value" if array.ndim == 0 else f"{len(array)} row{'s' * (len(array) != 1)}"
            return f"its output {name!r} has {found} for {rows} row{'s' * (rows != 1)} of input"
    return ""


def check_wanted(request: Request, now: float) -> None:
    """Fail a request that nobody is waiting for."""
    if now >= request.call.deadline:
        request.fail(too_late(request, now))
    elif _has_left(request.call):
        request.fail(Abandoned("The caller left before the request ran."))


def _has_left(call: Call) -> bool:
    try:
        return call.abandoned is not None and call.abandoned()
    except Exception:  # in doubt the caller is there; a broken check must not stop the leader
        return False


def too_late(request: Request, now: float) -> DeadlineExceeded:
    """The error of a request whose deadline has passed."""
    where = "while the model ran" if request.taken_rows else "while the request waited for the model"
    spent_ms = (now - request.arrived_s) * 1e3
    return DeadlineExceeded(
        f"No answer within {request.call.limit}: it ended {where}, {spent_ms:.0f} ms after it came."
    )


def join(name: str, batch: list[Slice], rows: int, padded: int) -> Array:
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
