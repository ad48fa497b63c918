"""Objectives: read, held against latencies, told."""

import math

import numpy as np
import pytest

from loadtests.plan import objective
from service.errors import SettingsError


def test_objectives_are_read_with_their_units() -> None:
    found = objective.parse("p50=10ms, p99.9=1.5s,p99=800us,errors=0.1%")
    assert [(each.percentile, each.limit) for each in found] == [
        (50, pytest.approx(0.01)),
        (99.9, 1.5),
        (99, pytest.approx(0.0008)),
        (None, pytest.approx(0.001)),
    ]
    assert objective.within_s(found) == 1.5  # what the highest percentile allows
    assert objective.parse("") == ()
    assert objective.within_s(objective.parse("errors=1%")) == math.inf


@pytest.mark.parametrize(
    "text", ["p99", "p99=50", "99=50ms", "p99<50ms", "errors=0.1", "p100=1ms", "p99=-1ms", "p99=.ms"]
)
def test_what_is_no_objective_is_told_what_is_one(text: str) -> None:
    with pytest.raises(SettingsError, match=r"--slo takes p99=50ms, errors=0\.1%"):
        objective.parse(text)


def test_an_objective_may_stand_only_once() -> None:
    with pytest.raises(SettingsError, match="names p99 twice"):
        objective.parse("p99=50ms,p99=60ms")


def test_objectives_are_held_against_all_requests() -> None:
    latencies = np.array([0.01] * 98 + [0.2, math.inf])
    found = objective.judge(objective.parse("p50=10ms,p98=10ms,p99=100ms,p99.9=1s,errors=1%"), latencies, errors=1)
    assert [each.held for each in found] == [True, True, False, False, True]
    assert [str(each) for each in found[2:]] == [
        "p99=100ms: missed (200 ms)",
        "p99.9=1s: missed (no answer)",
        "errors=1%: held (1.00% errors)",
    ]


def test_where_nothing_was_due_nothing_is_held() -> None:
    assert not objective.judge(objective.parse("p99=1s"), np.array([]), errors=0)[0].held


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.00123, "1.23 ms"), (0.0123, "12.3 ms"), (1.234, "1,234 ms"), (math.inf, "no answer"), (math.nan, "-")],
)
def test_latencies_are_told_with_the_digits_that_count(seconds: float, text: str) -> None:
    assert objective.milliseconds(seconds) == text
