"""One function on several devices, each with a copy of the model: every call goes to the least busy one."""

import threading
from collections.abc import Mapping, Sequence

from service.engine.batching.batcher import Run
from service.interface import Array


class Replicas:
    """Runs a call on the device that runs the fewest; of equally busy ones, on the one that has run the fewest so far.

    Args:
        runs: the function on each device.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        """All devices are idle."""
        self._runs = runs
        self._lock = threading.Lock()
        self._running = [0] * len(runs)
        self._begun = [0] * len(runs)

    def __call__(self, inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> Mapping[str, Array]:
        """Run one call; see `service.engine.batching.batcher.Run`."""
        with self._lock:
            chosen = min(range(len(self._runs)), key=lambda n: (self._running[n], self._begun[n]))
            self._running[chosen] += 1
            self._begun[chosen] += 1
        try:
            return self._runs[chosen](inputs, outputs)
        finally:
            with self._lock:
                self._running[chosen] -= 1
