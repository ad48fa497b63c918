"""The highest rate of arrivals at which a service holds its objectives, and how sure that is.

A probe runs a rate for some seconds and says whether the objectives held; a miss counts when a second probe misses too,
as what else a machine does only makes a service slower. A search goes up (or down) by a factor until the answer
changes, and then halves the gap on a logarithmic scale until it is narrow enough; it finds the highest rate that held.
Near the limit the answer is partly chance, so the search is done several times, each from where the others ended.

The median of what they found is the capacity. The lowest and the highest of n searches enclose the median of all
possible ones with the probability 1 - 2 ** (1 - n), whatever their distribution (each lies above it with probability
one half; H. A. David, H. N. Nagaraja, "Order Statistics", 2003, 7.1): 75 % for 3, 94 % for 5. As a search knows the
limit only to lie between a rate that held and one that missed, the range goes up to the highest of the latter.
"""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

# A search that goes down ends at such a share of where it began: there is no rate that holds.
_LEAST_SHARE: Final = 0.01
_LARGEST_STEP: Final = 4.0
_FIRST_STEP: Final = 1.5
_NEXT_STEP: Final = 1.15


@dataclass(frozen=True)
class Capacity:
    """What the searches found.

    Attributes:
        rate: requests per second, the median of the searches; 0 where no rate met the objectives.
        low: the least that a search found to hold.
        high: the most that ended a search by missing.
        confidence: with which the median of all possible searches lies between them.
        searches: what each found.
    """

    rate: float
    low: float
    high: float
    confidence: float
    searches: tuple[float, ...]

    def __str__(self) -> str:
        """For people."""
        if not self.rate:
            return "The objectives are met at no rate."
        sure = f"between {self.low:,.1f} and {self.high:,.1f} with {self.confidence:.0%} confidence"
        return f"{self.rate:,.1f} requests/s" + (f" ({sure})" if len(self.searches) > 1 else " (one search)")


def search(
    holds: Callable[[float], bool],
    start: float,
    precision: float = 0.05,
    repeats: int = 3,
    ended: Callable[[int, float, float], None] = lambda _number, _held, _missed: None,
) -> Capacity:
    """Search for the capacity.

    Args:
        holds: the probe; takes requests per second.
        start: the rate of the first probe.
        precision: the relative gap at which a search ends.
        repeats: how many searches.
        ended: told of each search, counted from 1, what held (0 for nothing) and the least above it that missed twice.
    """
    found: list[float] = []
    missed: list[float] = []
    for number in range(repeats):
        begin = statistics.median(found) if number else start
        step = max(1 + precision, _NEXT_STEP if number else _FIRST_STEP)
        low, high = _search_once(lambda rate: holds(rate) or holds(rate), begin, step, precision)
        found.append(low)
        missed.append(high)
        ended(number + 1, low, high)
        if not found[-1]:
            break
    confidence = 1 - 2.0 ** (1 - len(found))
    return Capacity(statistics.median(found), min(found), max(missed), confidence, tuple(found))


def _search_once(holds: Callable[[float], bool], begin: float, step: float, precision: float) -> tuple[float, float]:
    """The highest rate that held, or 0, and the lowest above it that missed."""
    rate, low, high = begin, 0.0, math.inf
    while high > low * (1 + precision):
        if holds(rate):
            low = rate
        else:
            high = rate
        if low and high < math.inf:
            rate = math.sqrt(low * high)
            continue
        rate = low * step if low else high / step
        if rate < begin * _LEAST_SHARE:
            return 0.0, high
        step = min(step * step, _LARGEST_STEP)  # far away, larger steps
    return low, high
