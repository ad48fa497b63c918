"""Metrics of several worker processes, added up.

prometheus_client can keep its values in files, one for each process; whoever is asked for the page adds them up. The
counts of a worker that has ended stay, as counters must not fall.
"""

import contextlib
import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import add
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, values
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

_ENGINE: Final = "engine.pid"
_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
# Of several processes the earliest start and the lowest limit count; all else adds up.
_LEAST: Final = ("process_start_time_seconds", "process_max_fds")


def share(folder: Path) -> None:
    """Keep the values of all metrics that this process makes from now on in a folder; called after the fork."""
    os.environ[_VARIABLE] = str(folder)
    # The library chooses when it is imported, which may have been in the parent.
    values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]


def forget(folder: Path, pid: int) -> None:
    """Forget the gauges of a process that has ended."""
    mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]


def take_over(folder: Path) -> None:
    """Be the engine process from now on: forget the gauges of the one before, and be found by `engine`."""
    with contextlib.suppress(OSError):  # a full disk; then its memory is not told
        for pid in engine(folder):
            forget(folder, pid)
        (folder / _ENGINE).write_text(str(os.getpid()))


def engine(folder: Path) -> list[int]:
    """The process ID of the service's engine process, where there is one."""
    try:
        return [int((folder / _ENGINE).read_text())]
    except (OSError, ValueError):
        return []


def families(registry: CollectorRegistry) -> Iterable[Metric]:
    """The metrics of a registry, over all processes where they are shared."""
    own = list(registry.collect())
    folder = os.environ.get(_VARIABLE)
    if folder is None:
        return own
    names = {family.name for family in own}
    merged = MultiProcessCollector(None, folder).collect()  # type: ignore[no-untyped-call]
    # Each process knows the metrics that it has made; the files hold those of every registry.
    return sorted((family for family in merged if family.name in names), key=lambda family: str(family.name))


def observe(histogram: Histogram, values: Sequence[float]) -> None:
    """Observe several values at the cost of one; the library's own `observe` writes to its file twice for each."""
    bounds, buckets = histogram._upper_bounds, histogram._buckets
    histogram._sum.inc(sum(values))
    for place, count in Counter(bisect_left(bounds, value) for value in values).items():
        buckets[place].inc(count)


class Processes(Collector):
    """Memory, CPU seconds and file descriptors of several processes, added up.

    Args:
        pids: tells which processes.
    """

    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        """Look at nothing yet."""
        self._pids = pids

    def collect(self) -> Iterator[Metric]:
        """The sums now; a process that has just ended has no part in them."""
        sums: dict[str, Metric] = {}
        for pid in self._pids():
            for family in _process(pid).collect():
                known = sums.setdefault(family.name, family)
                if known is not family:
                    pairs = zip(known.samples, family.samples, strict=True)
                    known.samples = [
                        one._replace(value=(min if family.name in _LEAST else add)(one.value, other.value))
                        for one, other in pairs
                    ]
        yield from sums.values()


def _process(pid: int) -> ProcessCollector:
    return ProcessCollector(pid=lambda: pid, registry=None)  # with a registry it would register itself
