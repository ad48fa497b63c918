"""Open arrivals: when each request is due, whatever became of those before it.

People do not wait for one another. A loop that sends its next request when the last was answered asks less of a slow
service than they do, and never sees how long they would have waited ("coordinated omission": G. Tene, "How NOT to
measure latency", 2013). So the times at which requests are due are made beforehand, and latency counts from them.
"""

import random
from collections.abc import Iterator, Sequence

from loadtests.plan.shapes import Stage


def due_times(
    stages: Sequence[Stage], *, poisson: bool, part: int = 0, parts: int = 1, seed: int = 0
) -> Iterator[float]:
    """Seconds after the start of the run at which requests are due, in order.

    A process with a changing rate is one with the rate 1, seen through the inverse of the rate's integral (Cinlar,
    "Introduction to Stochastic Processes", 1975, 4.7). Parts together have the rate of the whole: each takes every
    `parts`-th request of a constant process, and a Poisson process of `1 / parts` of the rate.

    Args:
        stages: the rate, in requests per second, over the time.
        poisson: arrivals at random, as from many independent people; otherwise evenly spaced.
        part: which of the processes that generate load this is, from 0.
        parts: how many there are.
        seed: the same seed gives the same times.
    """
    draw = random.Random(f"{seed} {part}")
    before = 0.0  # requests that were due before the stage
    due = draw.expovariate(1.0) * parts if poisson else part + 0.5
    for stage in stages:
        while due - before < stage.requests:
            yield stage.when_due(due - before)
            due += draw.expovariate(1.0) * parts if poisson else parts
        before += stage.requests
