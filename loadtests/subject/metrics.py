"""What the service itself counts: `/metrics` read before and after a run, and what came between."""

import math
from collections import defaultdict
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from loadtests.subject import target
from service.errors import NotFound, Unavailable

_BATCHES: Final = "signpost_batch_instances"

# By model: how many requests ran in batches of at most so many instances, bucket by bucket.
Batches = dict[str, dict[float, float]]


def read(url: str) -> Batches | None:
    """Cumulative counts by model, or None where the service shows none."""
    try:
        page = target.get(url, "/metrics").decode()
    except (NotFound, Unavailable):
        return None
    found: Batches = defaultdict(lambda: defaultdict(float))
    try:
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                if sample.name == f"{_BATCHES}_bucket":
                    found[sample.labels["model"]][float(sample.labels["le"])] += sample.value
    except ValueError:
        return None
    return {model: dict(counts) for model, counts in found.items()}


def between(before: Batches | None, after: Batches | None) -> dict[str, dict[str, float]]:
    """Of each model that was asked: how many requests ran in batches of which size, such as `3-4`."""
    told = {}
    for model, counts in (after or {}).items():
        earlier = (before or {}).get(model, {})
        sizes, least, until = {}, 1, 0.0
        for most in sorted(counts):
            grown = counts[most] - earlier.get(most, 0.0)
            name = f"> {least - 1}" if math.isinf(most) else f"{most:.0f}" if most <= least else f"{least}-{most:.0f}"
            sizes[name], until = grown - until, grown
            least = int(most) + 1 if not math.isinf(most) else least
        if until > 0:
            told[model] = sizes
    return told
