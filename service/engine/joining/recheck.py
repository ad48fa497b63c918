"""A second look at joined batches: a small share of them runs again row by row, off the requests' path.

The row test shows a few rows of a signature to be independent; this goes on asking while it serves. One thread for each
signature does it, started with the first batch that is chosen and ended by `close`; while it is busy no further batch
is chosen. Its death would mean no more second looks, so no error of a run ends it.
"""

import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from service.engine.batching.batch import wrong_rows
from service.engine.batching.batcher import Run
from service.engine.joining.row_test import differ, rounding
from service.errors import SignpostError
from service.interface import Array

log = logging.getLogger(__name__)

_LOOK_S: Final = 0.5
_STOP_S: Final = 10.0
# Batches that are all looked at: what depends on values shows in the first of them, if at all.
_EAGER: Final = 100

_Batch = tuple[Mapping[str, Array], tuple[str, ...], Mapping[str, Array]]


class Recheck:
    """Compares what joined batches gave with what their rows give one by one.

    Args:
        run: the function.
        share: of the joined batches, from 0 to 1.
        tolerance: how far numbers may differ that are the same but for rounding; see `row_test.rounding`.
        differed: told what was found, the first time that a row's answer depended on others.
        eager: whether the first batches are all looked at, as far as half of the thread's time goes.
    """

    def __init__(
        self, run: Run, *, share: float, tolerance: float, differed: Callable[[str], None], eager: bool = False
    ) -> None:
        """Start nothing yet."""
        self._eager_left = _EAGER if eager and share else 0
        self._run = run
        self._share = share
        self._tolerance = tolerance
        self._differed = differed
        self._lock = threading.Lock()
        self._batches: queue.Queue[_Batch | None] = queue.Queue(1)  # None only wakes the thread
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def note(self, inputs: Mapping[str, Array], outputs: tuple[str, ...], answered: Mapping[str, Array]) -> None:
        """Take a batch that ran joined, or leave it.

        Args:
            inputs: of the batch.
            outputs: those that were wanted.
            answered: what the model gave, one row for each.
        """
        if self._stopping.is_set() or not (self._eager_left or random.random() < self._share):
            return
        # Both may lie in memory that is another's once the requests are answered (see `Servable.predict`).
        batch = (_copied(inputs), outputs, _copied(answered))
        try:
            self._batches.put_nowait(batch)
        except queue.Full:
            return
        self._eager_left = max(0, self._eager_left - 1)
        with self._lock:
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._compare_all, name="recheck", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """End the thread; waits for the row that runs, some seconds at most."""
        with self._lock:
            self._stopping.set()
        with suppress(queue.Full):  # in which case it runs, and looks next
            self._batches.put_nowait(None)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_STOP_S)

    def _compare_all(self) -> None:
        while not self._stopping.is_set():
            try:
                batch = self._batches.get(timeout=_LOOK_S)
            except queue.Empty:
                continue
            if batch is None:
                return
            began_s = time.monotonic()
            try:
                found = self._find(*batch)
            except SignpostError as error:  # the device may be out of memory; nothing is shown by that
                log.debug("A joined batch could not be rerun: %s", error)
                continue
            except Exception:
                log.exception("A joined batch could not be rerun.")
                continue
            if found:
                self._stopping.set()
                self._differed(found)
            self._stopping.wait(time.monotonic() - began_s)  # half of the time belongs to the requests

    def _find(self, inputs: Mapping[str, Array], outputs: tuple[str, ...], answered: Mapping[str, Array]) -> str:
        bounds = {name: rounding(array, self._tolerance) for name, array in answered.items()}
        for row in range(len(next(iter(inputs.values())))):
            if self._stopping.is_set():
                break
            alone = self._run({name: array[row : row + 1] for name, array in inputs.items()}, outputs)
            if reason := wrong_rows(alone, 1):
                return reason
            for name, array in alone.items():
                if differ(answered[name][row : row + 1], array, bounds[name]):
                    return f"a row of its output {name!r} depended on the other rows of a batch"
        return ""


def _copied(arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name: array.copy() for name, array in arrays.items()}
