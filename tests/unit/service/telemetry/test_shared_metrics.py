"""Several values observed at once count as if each had been by itself."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from service.telemetry import shared_metrics

BOUNDS = (0.1, 1.0, 2.5)
VALUES = st.lists(st.one_of(st.sampled_from([0.0, *BOUNDS]), st.floats(0, 10)), min_size=1)


def counted(observe_all: bool, values: list[float]) -> list[tuple[str, float]]:
    registry = CollectorRegistry()
    histogram = Histogram("seconds", "", buckets=BOUNDS, registry=registry)
    if observe_all:
        shared_metrics.observe(histogram, values)
    else:
        for value in values:
            histogram.observe(value)
    return [
        (f"{sample.name}{sample.labels}", round(sample.value, 6))
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    ]


@given(VALUES)
def test_it_counts_as_the_library_does(values: list[float]) -> None:
    assert counted(True, values) == counted(False, values)
