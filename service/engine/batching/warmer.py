"""What has run at every size of batch: on a GPU a first run takes up to a second, as kernels are chosen in it.

Measured on an H100: 70 to 1,000 ms for each size that never ran, while everybody waited (docs/decisions/0106). So
batches have few sizes there, and a kind of requests (the shapes of a row, and the outputs wanted) is *warm* once it has
run at all of them, on each device.

Pure Python and NumPy.
"""

import logging
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import numpy as np

from service.engine.batching.batch import Kind, kind_of, wrong_rows
from service.engine.batching.batcher import Run, Unjoinable
from service.errors import DeviceOutOfMemory, SignpostError
from service.interface import Array

log = logging.getLogger(__name__)

# Kinds of one signature that are warmed at most: a model of texts may see a thousand lengths.
MOST_KINDS: Final = 64
_LOOK_S: Final = 0.5
_STOP_S: Final = 10.0


@dataclass(frozen=True, eq=False)
class Sample:
    """One row of a kind of requests, and the outputs that they want."""

    row: Mapping[str, Array]
    outputs: tuple[str, ...]

    @property
    def kind(self) -> Kind:
        """The kind that it stands for."""
        return kind_of(self.row, self.outputs)


def sample_of(inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> Sample:
    """A copy of the first row of a request."""
    return Sample({name: array[:1].copy() for name, array in inputs.items()}, outputs)


class Used:
    """What requests asked of a model beyond the usual, whichever version answered, so that the next one has run it."""

    def __init__(self) -> None:
        """Nothing was asked for."""
        self._samples: dict[str, dict[Kind, Sample]] = {}
        self._lock = threading.Lock()

    def add(self, signature_name: str, sample: Sample) -> None:
        """Remember a kind of requests of a signature, as long as there are few."""
        with self._lock:
            kinds = self._samples.setdefault(signature_name, {})
            if len(kinds) < MOST_KINDS:
                kinds[sample.kind] = sample

    def of(self, signature_name: str) -> list[Sample]:
        """One sample of each kind."""
        with self._lock:
            return list(self._samples.get(signature_name, {}).values())


def run_sizes(devices: Sequence[Run], sample: Sample, sizes: Sequence[int]) -> int:
    """Run a sample once at every size on each device, the smallest size first.

    Args:
        devices: the function on each of them.
        sample: its row is repeated.
        sizes: of batches.

    Returns:
        The largest size for which every device has memory.

    Raises:
        DeviceOutOfMemory: not even the smallest fits.
        Unjoinable: an output has not one row for each of input.
        SignpostError: the function fails.
    """
    fits = 0
    for size in sizes:
        inputs = {name: np.repeat(row, size, axis=0) for name, row in sample.row.items()}
        try:
            for run in devices:
                if reason := wrong_rows(run(inputs, sample.outputs), size):
                    raise Unjoinable(reason)
        except DeviceOutOfMemory:
            if not fits:
                raise
            break
        fits = size
    return fits


class Warmer:
    """Knows the warm kinds of a signature, and runs others at every size off the requests' path.

    Its thread starts with the first kind that is noted and is ended by `close`. Its death would mean that no further
    kind gets warm, so no error of a run ends it.

    Args:
        devices: the function on each device.
        sizes: of batches, the smallest first.
        limit: told the largest size that fits, where not all do.
        name: of model and signature, for the log.
    """

    def __init__(self, devices: Sequence[Run], sizes: Sequence[int], limit: Callable[[int], None], name: str) -> None:
        """Nothing is warm, and no thread is started."""
        self._devices = devices
        self._sizes = sizes
        self._limit = limit
        self._name = name
        self._warm: set[Kind] = set()
        self._known: set[Kind] = set()  # warm, about to be, or tried in vain
        self._lock = threading.Lock()
        self._samples: queue.Queue[Sample | None] = queue.Queue(MOST_KINDS + 1)  # None only wakes the thread
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def is_warm(self, kind: Kind) -> bool:
        """Whether a kind has run at every size."""
        return kind in self._warm

    def mark(self, kind: Kind) -> None:
        """Note that a kind is warm."""
        self._known.add(kind)
        self._warm.add(kind)

    def warm_up(self, sample: Sample) -> None:
        """Run a sample at every size, unless it is warm; raises as `run_sizes`."""
        if self.is_warm(sample.kind):
            return
        largest = run_sizes(self._devices, sample, self._sizes)
        if largest < self._sizes[-1]:
            self._limit(largest)
        self.mark(sample.kind)

    def note(self, sample: Sample) -> bool:
        """Have a kind warmed that requests use; returns whether it is a new one that will be."""
        kind = sample.kind
        with self._lock:
            if kind in self._known or self._stopping.is_set():
                return False
            if len(self._known) > MOST_KINDS:
                return False
            if len(self._known) == MOST_KINDS:
                log.warning(
                    "%s: requests come in more than %d kinds (shapes of a row, outputs wanted). Those beyond have not "
                    "run at every size beforehand, so some wait for a first run; fewer shapes would help.",
                    self._name, MOST_KINDS,
                )  # fmt: skip
                self._known.add(kind)
                return False
            self._known.add(kind)
            self._samples.put_nowait(sample)
            if self._thread is None:
                self._thread = threading.Thread(target=self._warm_all, name="warmer", daemon=True)
                self._thread.start()
        return True

    def close(self) -> None:
        """End the thread; waits for the batch that runs, some seconds at most."""
        with self._lock:
            self._stopping.set()
        with suppress(queue.Full):  # in which case it looks at once
            self._samples.put_nowait(None)
        if self._thread is not None:
            self._thread.join(_STOP_S)

    def _warm_all(self) -> None:
        while not self._stopping.is_set():
            try:
                sample = self._samples.get(timeout=_LOOK_S)
            except queue.Empty:
                continue
            if sample is None:
                return
            try:
                self.warm_up(sample)
            except (SignpostError, Unjoinable) as error:  # its requests go on beside the queue
                log.debug("%s: a kind of requests was not run at every size: %s", self._name, error)
            except Exception:
                if not self._stopping.is_set():
                    log.exception("%s: a kind of requests was not run at every size.", self._name)
