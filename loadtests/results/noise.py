"""How sure a figure is: a run is cut into blocks of time, and the blocks are resampled.

Latencies close to each other in time resemble each other, so single requests may not be drawn; blocks longer than that
resemblance may (the block bootstrap: H. Künsch, "The jackknife and the bootstrap for general stationary observations",
Annals of Statistics 17, 1989). Intervals tell the noise within a run, not what differs from one start of a service, or
one hour of a shared machine, to the next.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from loadtests.results import records
from loadtests.results.records import Records

Floats = npt.NDArray[np.float64]

# Latencies are kept as counts in buckets that grow by one percent, from ten microseconds on.
_LEAST_S: Final = 1e-5
_GROWTH: Final = 1.01
_FAILED: Final = 2400  # beyond any latency: 1.01 ** 2400 * 10 us is days
_DRAWS: Final = 1000
_MOST_BLOCKS: Final = 20
_SHORTEST_S: Final = 0.25

Json = dict[str, Any]


def blocks(found: Records, begin_s: float, end_s: float) -> list[Json]:
    """Cut a part of a run into blocks of equal length; each with its answers and its latencies, as JSON."""
    count = max(1, min(_MOST_BLOCKS, int((end_s - begin_s) / _SHORTEST_S)))
    edges = np.linspace(begin_s, end_s, count + 1)
    good = ~records.failed(found)
    buckets = bucket(records.latencies_s(found))
    finished = found["due"] + found["done"]
    cut = []
    for first, last in pairwise(edges.tolist()):
        due = (found["due"] >= first) & (found["due"] < last)
        values, counts = np.unique(buckets[due], return_counts=True)
        answers = int(np.count_nonzero(good & (finished >= first) & (finished < last)))
        latencies = dict(zip(map(str, values.tolist()), counts.tolist(), strict=True))
        cut.append({"seconds": float(last - first), "answers": answers, "latencies": latencies})
    return cut


def bucket(latencies_s: Floats) -> npt.NDArray[np.int64]:
    """The bucket of each latency."""
    kept = np.where(np.isfinite(latencies_s), np.maximum(latencies_s, _LEAST_S), _LEAST_S)
    numbers = np.floor(np.log(kept / _LEAST_S) / math.log(_GROWTH)).astype(np.int64)
    return np.where(np.isfinite(latencies_s), np.minimum(numbers, _FAILED - 1), _FAILED)


def middle_s(number: int) -> float:
    """The latency that stands for a bucket; infinite for that of failures."""
    return math.inf if number >= _FAILED else _LEAST_S * _GROWTH ** (number + 0.5)


def draw(segments: Sequence[Sequence[Mapping[str, Any]]], seed: int = 0) -> dict[str, Floats]:
    """Resample a run's blocks, each time as many from each segment as it has.

    Args:
        segments: the blocks of each part of the run with a load of its own.
        seed: of the draws.

    Returns:
        Draws of `rate` (answers per second), `errors` (a share), `p50`, `p95` and `p99` (seconds).
    """
    random = np.random.default_rng(seed)
    every = [block for each in segments for block in each]
    numbers = sorted({int(number) for block in every for number in block["latencies"]} | {_FAILED})
    column = {number: at for at, number in enumerate(numbers)}
    cells = np.zeros((_DRAWS, len(numbers)))
    answers = np.zeros(_DRAWS)
    seconds = 0.0
    for each in segments:
        chosen = random.multinomial(len(each), np.full(len(each), 1 / len(each)), size=_DRAWS)
        table = np.zeros((len(each), len(numbers)))
        for row, block in enumerate(each):
            for number, count in block["latencies"].items():
                table[row, column[int(number)]] = count
        cells += chosen @ table
        answers += chosen @ np.array([block["answers"] for block in each], dtype=np.float64)
        seconds += sum(block["seconds"] for block in each)
    values = np.array([middle_s(number) for number in numbers])
    running = np.cumsum(cells, axis=1)
    whole = running[:, -1:]
    return {"rate": answers / seconds, "errors": cells[:, -1] / np.maximum(whole[:, 0], 1)} | {
        name: values[np.argmax(running >= at * whole, axis=1)]
        for name, at in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
    }


def interval(drawn: Floats, level: float = 0.95) -> tuple[float, float]:
    """Between which values so large a share of the draws lies."""
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return float(low), float(high)
