"""The size of batches is searched on models whose costs are known."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.batching.objective import Objective
from service.engine.batching.pace import FixedPace, TunedPace
from service.engine.batching.parameters import BatchingParameters
from service.engine.batching.size_search import LEAST_ROWS, SearchingPace

Cost = Callable[[int], float]  # seconds of a batch


def small_caches(rows: int) -> float:
    """A row costs more in larger batches, as in MobileNetV2 on a CPU."""
    return rows * {32: 1.15, 16: 1.07}.get(rows, 1.0)


def even(rows: int) -> float:
    return float(rows)


def dear_calls(rows: int) -> float:
    return 4.0 + rows


def run(pace: SearchingPace, cost: Cost, batches: int, waiting: int = 1000, noise: float = 0.0) -> list[int]:
    """Let a load of so many waiting rows be answered; the sizes of the batches."""
    rng = random.Random(0)
    sizes = []
    for _ in range(batches):
        rows = min(pace.rows, waiting)
        pace.note_batch(rows, cost(rows) * rng.uniform(1 - noise, 1 + noise), [])
        sizes.append(rows)
    return sizes


@pytest.mark.parametrize(
    ("cost", "waiting", "size"),
    [(small_caches, 1000, 8), (small_caches, 16, 8), (even, 1000, 32), (dear_calls, 1000, 32)],
    ids=["forms", "single images", "even", "dear calls"],
)
@pytest.mark.parametrize("noise", [0.0, 0.04], ids=["quiet", "noisy"])
def test_it_finds_the_size_at_which_a_row_takes_least_time(cost: Cost, waiting: int, size: int, noise: float) -> None:
    pace = SearchingPace(32, 0.0)
    run(pace, cost, 200, waiting, noise)
    assert pace.rows == size


def test_trials_become_rare_where_they_change_nothing() -> None:
    pace = SearchingPace(32, 0.0)
    sizes = run(pace, dear_calls, 20_000)
    assert sum(size < 32 for size in sizes) < 0.01 * len(sizes)


def test_it_notices_when_larger_batches_cost_no_more_than_smaller_ones() -> None:
    pace = SearchingPace(32, 0.0)
    run(pace, small_caches, 200)
    assert pace.rows == 8
    run(pace, dear_calls, 1000)
    assert pace.rows == 32


def test_a_light_load_tells_nothing_and_is_left_alone() -> None:
    pace = SearchingPace(32, 0.0)
    assert set(run(pace, small_caches, 1000, waiting=LEAST_ROWS)) == {LEAST_ROWS}
    assert pace.rows == 32


def test_a_trial_ends_when_the_load_does() -> None:
    pace = SearchingPace(32, 0.0)
    run(pace, even, 17)
    assert pace.rows == 16  # a trial has begun
    run(pace, even, 100, waiting=4)
    assert pace.rows == 32


def test_a_clock_that_stands_still_changes_nothing() -> None:
    pace = SearchingPace(32, 0.0)
    run(pace, lambda _: 0.0, 500)
    assert pace.rows == 32


def some_gain(rows: int) -> float:
    """A row costs 4 % less in twice as many."""
    return rows * {32: 0.92, 16: 0.96}.get(rows, 1.0)


@pytest.mark.parametrize(
    ("row_bytes", "begins", "ends"), [(0, 32, 32), (2**20, 32, 32), (2**21, 16, 16), (2**23, 8, 8)]
)
def test_more_memory_is_not_taken_for_a_little_time(row_bytes: int, begins: int, ends: int) -> None:
    pace = SearchingPace(32, 0.0, row_bytes)
    assert pace.rows == begins
    run(pace, some_gain, 2000)
    assert pace.rows == ends


def test_more_memory_is_taken_where_it_is_worth_it() -> None:
    pace = SearchingPace(32, 0.0, 2**23)
    assert run(pace, dear_calls, 500)[0] == 8
    assert pace.rows == 32


def test_sizes_that_are_never_worth_their_memory_are_rarely_tried() -> None:
    pace = SearchingPace(32, 0.0, 2**23)
    sizes = run(pace, even, 20_000)
    assert max(sizes) == 16
    assert sum(size > 8 for size in sizes) < 0.01 * len(sizes)


@pytest.mark.parametrize(
    ("told", "row_bytes", "size"),
    [
        ({"max_batch_memory_mb": 256}, 2**20, 32),
        ({"max_batch_memory_mb": 256}, 20 * 2**20, 12),
        ({"max_batch_memory_mb": 256}, 2**30, 1),
        ({"max_batch_memory_mb": 256}, 0, 32),  # not known
        ({"max_batch_memory_mb": 0}, 2**30, 32),
        ({"max_batch_memory_mb": 256, "allowed_batch_sizes": (8, 32)}, 2**30, 32),
    ],
)
def test_batches_keep_within_their_memory_where_sizes_are_not_told(
    told: dict[str, Any], row_bytes: int, size: int
) -> None:
    assert BatchingParameters(**told).counting(row_bytes).max_batch_size == size


@given(
    st.integers(16, 300),
    st.lists(st.tuples(st.integers(1, 400), st.floats(0, 10, allow_nan=False)), max_size=300),
)
def test_whatever_happens_the_size_is_one_of_the_halvings(most: int, batches: list[tuple[int, float]]) -> None:
    pace = SearchingPace(most, 0.0)
    halvings = {most >> times for times in range(9) if most >> times >= LEAST_ROWS}
    for waiting, seconds in batches:
        pace.note_batch(min(pace.rows, waiting), seconds, [])
        assert pace.rows in halvings


def test_it_searches_only_where_sizes_are_its_to_choose() -> None:
    assert isinstance(BatchingParameters().make_pace(), SearchingPace)
    assert type(BatchingParameters().make_pace(search=False)) is FixedPace
    assert type(BatchingParameters(max_batch_size=8).make_pace()) is FixedPace
    assert type(BatchingParameters(allowed_batch_sizes=(8, 32)).make_pace()) is FixedPace
    assert isinstance(BatchingParameters(objective=Objective(0.99, 0.1)).make_pace(), TunedPace)
