"""The size and the wait of batches that keep an objective, from measurements of a made-up model."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.batching.objective import Objective
from service.engine.batching.pace import FixedPace, TunedPace
from service.engine.batching.parameters import BatchingParameters


def run(pace: TunedPace, batches: int, fixed_s: float, row_s: float, late: bool = False) -> list[int]:
    """Full batches of a model that takes so long for each batch and each row; the sizes that were chosen."""
    sizes = []
    for _ in range(batches):
        rows = pace.rows
        pace.note_batch(rows, fixed_s + row_s * rows, [1.0 if late else 0.0] * rows)
        sizes.append(rows)
    return sizes


def test_without_an_objective_the_pace_is_as_told() -> None:
    pace = BatchingParameters(max_batch_size=8, batch_timeout_micros=1500).make_pace()
    assert isinstance(pace, FixedPace)
    pace.note_batch(8, 100.0, [100.0])
    pace.note_wait(True)
    assert (pace.rows, pace.wait_s, pace.wait_until(3, 10.0, 12.0)) == (8, 0.0015, 10.0015)


def test_with_an_objective_it_is_tuned_within_the_largest_batch() -> None:
    pace = BatchingParameters(max_batch_size=8, objective=Objective(0.99, 0.05)).make_pace()
    assert isinstance(pace, TunedPace)
    assert max(run(pace, 100, 0.0, 0.0001)) == 8


@settings(deadline=None)
@given(
    within_s=st.floats(0.01, 1.0),
    fixed_s=st.floats(0.0001, 0.02),
    row_s=st.floats(0.0001, 0.02),
    most=st.integers(1, 64),
)
def test_batches_become_as_large_as_two_fit_in_the_objective_and_no_larger(
    within_s: float, fixed_s: float, row_s: float, most: int
) -> None:
    pace = TunedPace(Objective(0.99, within_s), most)
    sizes = run(pace, 200, fixed_s, row_s)[100:]
    fits = max(1, min(most, int((within_s / 2 - fixed_s) / row_s)))
    assert max(sizes) <= min(most, fits + 2)  # one to learn that it is too much, one for rounding
    assert min(sizes) >= max(1, int(fits * 0.8))


def test_it_follows_a_model_that_becomes_slower() -> None:
    pace = TunedPace(Objective(0.99, 0.1), 32)
    assert run(pace, 100, 0.0, 0.001)[-1] == 32
    assert run(pace, 100, 0.0, 0.01)[-1] in (4, 5, 6)


def tuned() -> TunedPace:
    """One that knows what batches cost: 10 ms, and 1 ms for each row."""
    pace = TunedPace(Objective(0.99, 0.2), 32)
    for rows in [1, 2, 4, 8, 16] * 40:
        pace.note_batch(rows, 0.01 + 0.001 * rows, [0.0])
    return pace


def test_nobody_waits_before_anything_was_measured() -> None:
    pace = TunedPace(Objective(0.99, 0.2), 32)
    pace.note_wait(True)
    assert (pace.rows, pace.wait_s, pace.wait_until(1, 5.0, 5.0)) == (1, 0.0, 5.0)


def test_nobody_waits_before_somebody_came() -> None:
    pace = tuned()
    assert pace.wait_s == 0
    assert pace.wait_until(1, 5.0, 5.0) == 5.0


def test_a_batch_waits_for_a_row_as_long_as_that_saves_more_than_it_costs() -> None:
    pace = tuned()
    for _ in range(20):
        pace.note_wait(True)
    assert pace.wait_s == pytest.approx(0.01, rel=0.1)
    assert pace.wait_until(1, 5.0, 5.0) == pytest.approx(5.01, abs=0.001)
    assert pace.wait_until(10, 5.0, 5.0) == pytest.approx(5.001, abs=0.0001)
    assert pace.wait_until(1, 4.0, 5.0) < 5  # the first of them has no time left


def test_a_lone_client_soon_waits_no_more() -> None:
    pace = tuned()
    for _ in range(20):
        pace.note_wait(True)
    for _ in range(12):
        pace.note_wait(False)
    assert pace.wait_s < 0.00001


def test_late_answers_make_it_less_patient_but_one_in_a_hundred_is_allowed() -> None:
    pace = tuned()
    for _ in range(20):
        pace.note_wait(True)
    before = pace.wait_s
    pace.note_batch(8, 0.018, [0.3] + [0.1] * 99)
    assert pace.wait_s == pytest.approx(before, rel=0.01)
    pace.note_batch(8, 0.018, [0.3, 0.3])
    assert pace.wait_s == pytest.approx(before / 2, rel=0.05)


def test_where_batches_of_one_size_tell_nothing_of_their_cost_nobody_waits() -> None:
    pace = TunedPace(Objective(0.99, 0.2), 4)
    for _ in range(100):
        pace.note_batch(4, 0.01, [0.0])
        pace.note_wait(True)
    assert pace.wait_s == 0


def test_where_batches_cost_nothing_but_their_rows_nobody_waits() -> None:
    pace = TunedPace(Objective(0.99, 0.2), 32)
    for rows in [1, 2, 4, 8] * 40:
        pace.note_batch(rows, 0.001 * rows, [0.0])
        pace.note_wait(True)
    assert pace.wait_s == pytest.approx(0, abs=1e-5)
