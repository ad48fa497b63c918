"""The search before services whose capacity is known."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtests import capacity


@settings(deadline=None)
@given(st.floats(0.5, 20_000), st.floats(1, 2_000))
def test_without_noise_the_search_ends_within_its_precision(true: float, start: float) -> None:
    probes: list[float] = []

    def holds(rate: float) -> bool:
        probes.append(rate)
        return rate <= true

    found = capacity.search(holds, start, precision=0.05, repeats=1)
    if start * 0.01 < true / 4:
        assert true / 1.05 * 0.999 <= found.rate == found.low <= true < found.high
    assert found.rate == 0 or found.rate in probes
    assert len(probes) < 40


@pytest.mark.parametrize("seed", range(5))
def test_with_noise_the_median_is_close_and_the_range_tells_how_sure_it_is(seed: int) -> None:
    draw = random.Random(seed)

    def holds(rate: float) -> bool:
        """The chance to hold falls from one to nothing around 300 requests per second."""
        return draw.random() < 1 / (1 + math.exp((rate - 300) / 8))

    found = capacity.search(holds, 40.0, precision=0.03, repeats=5)
    assert 265 < found.low <= found.rate < found.high < 360
    assert found.confidence == 1 - 2**-4
    assert f"{found.low:,.1f} and {found.high:,.1f} with 94% confidence" in str(found)


def test_a_single_hiccup_does_not_make_a_rate_too_high() -> None:
    probes = 0

    def holds(rate: float) -> bool:
        nonlocal probes
        probes += 1
        return rate <= 100 and probes != 2

    assert capacity.search(holds, 50.0, repeats=1).rate > 95


def test_where_no_rate_holds_that_is_told_and_not_searched_again() -> None:
    probes: list[float] = []

    def holds(rate: float) -> bool:
        probes.append(rate)
        return False

    found = capacity.search(holds, 100.0, repeats=3)
    assert found.rate == 0
    assert str(found) == "The objectives are met at no rate."
    assert min(probes) >= 1  # a hundredth of where it began
