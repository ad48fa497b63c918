"""A run in numbers: records in, a document out that the report shows and `compare` reads.

Latencies count from when a request was due. A request that failed has an infinite one, so that a service can't look
quick by refusing; where a percentile falls on a failure, the document says null.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np

from loadtests.plan import objective
from loadtests.plan.objective import Objective
from loadtests.plan.plan import Plan
from loadtests.plan.shapes import Stage
from loadtests.results import noise, records
from loadtests.results.records import Records

Json = dict[str, Any]

PERCENTILES: Final = (50, 90, 95, 99, 99.9)
# A request that was sent so long after it was due is late.
_LATE_S: Final = 0.005
# Parts of a stage whose load changes, and points of the curves over the time, at most.
_PARTS: Final = 10
_POINTS: Final = 300
# A generator that is so busy, or sends so late, measures itself.
_BUSY: Final = 0.8
_LAG_S: Final = 0.002
_LAG_SHARE: Final = 0.1
_WAITED_SHARE: Final = 0.01


def make(plan: Plan, found: Records, beside: Sequence[Json], warm_up_s: float, objectives: Sequence[Objective]) -> Json:
    """Turn the records of a run into numbers.

    Args:
        plan: what was done; its first stage is the warm-up if there is one.
        found: all records.
        beside: what each process of the generator wrote beside its records.
        warm_up_s: seconds at the start that do not count.
        objectives: what the service is held to.
    """
    stages = [stage for stage in plan.stages if stage.begin_s >= warm_up_s]
    within_s = objective.within_s(objectives)
    begin_s, end_s = stages[0].begin_s, stages[-1].end_s
    counted = found[(found["due"] >= begin_s) & (found["due"] < end_s)]
    total = part(plan, found, begin_s, end_s, within_s)
    latencies = records.latencies_s(counted)
    verdicts = objective.judge(objectives, latencies, total["failed"])
    segments = [
        {"load": load, **part(plan, found, first, last, within_s), "blocks": noise.blocks(found, first, last)}
        for load, first, last in _segments(stages)
    ]
    drawn = noise.draw([each["blocks"] for each in segments])
    return {
        "total": total,
        "intervals": {name: [_finite(value) for value in noise.interval(values)] for name, values in drawn.items()},
        "objectives": [
            {
                "text": each.objective.text,
                "measured": _finite(each.measured),
                "held": each.held,
                "found": each.found,
                "says": str(each),
            }
            for each in verdicts
        ],
        "segments": segments,
        "kinds": {
            str(kind): part(plan, found[found["kind"] == at], begin_s, end_s, within_s)
            for at, kind in enumerate(plan.kinds)
        },
        "over_time": list(_over_time(plan, found)),
        "stages": {str(kind): _stages(counted[counted["kind"] == at]) for at, kind in enumerate(plan.kinds)},
        "errors": _errors(beside),
        "generator": _generator(plan, counted, beside, begin_s, end_s),
    }


def part(plan: Plan, found: Records, begin_s: float, end_s: float, within_s: float) -> Json:
    """The numbers of a part of a run.

    `due`, `failed`, `late` and the latencies are of the requests that were due in it; `rate`, `images_per_s` and
    `goodput` of the good answers that came in it, per second.
    """
    due = found[(found["due"] >= begin_s) & (found["due"] < end_s)]
    finished = found["due"] + found["done"]
    came = found[~records.failed(found) & (finished >= begin_s) & (finished < end_s)]
    latencies = records.latencies_s(due)
    images = np.array([kind.images for kind in plan.kinds])
    seconds = end_s - begin_s
    good = latencies[np.isfinite(latencies)]
    return {
        "from_s": begin_s,
        "until_s": end_s,
        "due": len(due),
        "failed": len(due) - len(good),
        "never_sent": int(np.count_nonzero(due["status"] == records.NEVER_SENT)),
        "late": int(np.count_nonzero(due["sent"] > _LATE_S)),
        "rate": len(came) / seconds,
        "images_per_s": float(images[came["kind"]].sum() / seconds),
        "goodput": float(np.count_nonzero(came["done"] <= within_s) / seconds),
        "mean_s": _finite(good.mean()) if len(good) else None,
        "max_s": _finite(latencies.max()) if len(latencies) else None,
        **{f"p{at}_s": _finite(objective.percentile(latencies, at)) for at in PERCENTILES},
    }


def _segments(stages: Sequence[Stage]) -> Iterator[tuple[float, float, float]]:
    """Load, begin and end of parts in which the load is about the same."""
    for stage in stages:
        parts = 1 if stage.first == stage.last else _PARTS
        edges = np.linspace(stage.begin_s, stage.end_s, parts + 1).tolist()
        for first, last in pairwise(edges):
            yield stage.load((first + last) / 2), first, last


def _over_time(plan: Plan, found: Records) -> Iterator[Json]:
    width_s = max(1.0, plan.end_s / _POINTS)
    for number in range(math.ceil(plan.end_s / width_s)):
        first, last = number * width_s, min((number + 1) * width_s, plan.end_s)
        if last - first < width_s / 2:  # a sliver at the end has no percentiles
            break
        yield {**part(plan, found, first, last, math.inf), "at_s": (first + last) / 2}


def _stages(found: Records) -> Json:
    """What the service says of the time in each stage, and what of the latency it does not see."""
    told = found[~records.failed(found) & np.isfinite(found["total"])]
    if not len(told):
        return {}
    outside = told["done"] - told["total"]
    columns = {stage: told[stage] for stage in records.STAGES} | {"outside": outside}
    known = {name: values[np.isfinite(values)] for name, values in columns.items()}
    return {
        name: {
            "mean_s": float(values.sum() / len(told)),  # so that the stages add up; one that is missing took no time
            **{f"p{at}_s": objective.percentile(values, at) for at in (50, 99)},
        }
        for name, values in known.items()
        if len(values)
    }


def _errors(beside: Sequence[Json]) -> list[Json]:
    counts: Counter[tuple[int, str]] = Counter()
    for each in beside:
        for status, text, count in each["errors"]:
            counts[status, text] += count
    return [
        {"status": records.status_name(status), "text": text, "count": count}
        for (status, text), count in counts.most_common()
    ]


def _generator(plan: Plan, found: Records, beside: Sequence[Json], begin_s: float, end_s: float) -> Json:
    """The generator's own load, and what of the figures it may have spoilt."""
    shares = [_share(each["load"], begin_s, end_s) for each in beside]
    sent = found[found["status"] != records.NEVER_SENT]
    lag_s = sent["sent"][~sent["waited"]]
    lag = {f"p{at}_s": _finite(objective.percentile(lag_s, at)) for at in (50, 99)}
    waited = float(found["waited"].mean()) if len(found) else 0.0
    told = {"processes": plan.processes, "cpu_shares": shares, "lag": lag, "waited": waited}
    p99_s = objective.percentile(records.latencies_s(found), 99)
    return {**told, "warnings": list(_warnings(plan, max(shares, default=0.0), lag["p99_s"] or 0.0, waited, p99_s))}


def _warnings(plan: Plan, busy: float, lag_s: float, waited: float, p99_s: float) -> Iterator[str]:
    more = f"--processes {2 * plan.processes}"
    if busy > _BUSY:
        yield (
            f"The generator was the limit, or close to it: one of its processes was busy {busy:.0%} of the time. "
            f"Use {more}, on another machine if this one has no more cores."
        )
    if plan.is_open and lag_s > max(_LAG_S, _LAG_SHARE * p99_s):
        yield (
            f"The generator itself sent 1 % of the requests {objective.milliseconds(lag_s)} late or more, which "
            f"counts as latency. Use {more}, on another machine if this one is busy."
        )
    if waited > _WAITED_SHARE:
        yield (
            f"{waited:.0%} of the requests found all {plan.users} connections busy and waited for one: the service did "
            "not keep up with the rate, or --connections is too low for it."
        )


def _share(load: Iterable[tuple[float, float]], begin_s: float, end_s: float) -> float:
    """Seconds of CPU per second, between two times."""
    times, cpu_s = np.array([(at, cpu) for at, cpu in load]).T
    first, last = np.interp([begin_s, end_s], times, cpu_s)
    return float((last - first) / max(1e-9, min(end_s, times[-1]) - max(begin_s, times[0])))


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
