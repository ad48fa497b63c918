"""Shapes, and when the requests of open arrivals are due."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtests.plan import shapes
from loadtests.plan.arrivals import due_times
from loadtests.plan.shapes import Stage
from service.errors import SettingsError

loads = st.floats(0, 500)


@st.composite
def stages(draw: st.DrawFn) -> tuple[Stage, ...]:
    found: list[Stage] = []
    for _ in range(draw(st.integers(1, 4))):
        begin_s = found[-1].end_s if found else 0.0
        found.append(Stage(begin_s, draw(st.floats(0.1, 10)), draw(loads), draw(loads)))
    return tuple(found)


@pytest.mark.parametrize("name", shapes.names())
def test_a_shape_of_ours_takes_its_seconds_and_its_load_at_most(name: str) -> None:
    found = shapes.read(name, 40.0, 60.0)
    assert found[-1].end_s == pytest.approx(60)
    assert max(max(stage.first, stage.last) for stage in found) == 40
    assert shapes.load_at(found, -1) == shapes.load_at(found, 60.5) == 0


def test_stages_follow_each_other_and_a_load_may_rise() -> None:
    found = shapes.read("ramp", 100, 10)
    assert [shapes.load_at(found, at) for at in (0, 2.5, 9)] == [0, 25, 90]
    steps = shapes.read("steps", 8, 4)
    assert [shapes.load_at(steps, at + 0.5) for at in range(4)] == [1, 2, 4, 8]


def test_a_warm_up_comes_before_at_the_first_load() -> None:
    found = shapes.after_warm_up(shapes.read("steps", 8, 4), 2.0)
    assert [shapes.load_at(found, at + 0.5) for at in range(6)] == [1, 1, 1, 2, 4, 8]
    assert shapes.after_warm_up(shapes.read("ramp", 8, 4), 1.0)[0].first == 8  # it would not warm up at 0
    assert shapes.after_warm_up(found, 0) == found


def test_a_shape_may_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "noon.toml"
    path.write_text("seconds = 10\nstages = [{ share = 1, from = 0.5, to = 1 }, { share = 4, from = 1, to = 1 }]\n")
    assert shapes.read(str(path), 10) == (Stage(0, 2, 5, 10), Stage(2, 8, 10, 10))


@pytest.mark.parametrize(
    "text",
    ["", "seconds = 10", "seconds = 1\nstages = []", "seconds = 1\nstages = [{ share = 0, from = 1, to = 1 }]", "="],
)
def test_a_file_that_is_no_shape_is_refused_by_what_it_needs(tmp_path: Path, text: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match="it needs `seconds`, and `stages`"):
        shapes.read(str(path), 1)


def test_an_unknown_shape_is_told_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="constant, steps, ramp, spike, soak or a file"):
        shapes.read("zigzag", 1)


@settings(deadline=None)
@given(stages(), st.booleans(), st.integers(1, 4))
def test_requests_are_due_in_order_and_within_the_run(found: tuple[Stage, ...], poisson: bool, parts: int) -> None:
    for part in range(parts):
        times = list(due_times(found, poisson=poisson, part=part, parts=parts))
        assert times == sorted(times)
        assert all(0 <= at <= found[-1].end_s + 1e-6 for at in times)


@settings(deadline=None)
@given(stages(), st.integers(1, 4))
def test_constant_arrivals_of_all_parts_are_those_of_one(found: tuple[Stage, ...], parts: int) -> None:
    together = sorted(at for part in range(parts) for at in due_times(found, poisson=False, part=part, parts=parts))
    assert together == pytest.approx(list(due_times(found, poisson=False)))


@settings(deadline=None)
@given(stages())
def test_so_many_constant_arrivals_are_due_as_the_rate_sums_up_to(found: tuple[Stage, ...]) -> None:
    assert abs(len(list(due_times(found, poisson=False))) - sum(stage.requests for stage in found)) <= 1


def test_constant_arrivals_are_evenly_spaced() -> None:
    assert list(due_times([Stage(0, 1, 4, 4)], poisson=False)) == pytest.approx([0.125, 0.375, 0.625, 0.875])


def test_poisson_arrivals_vary_as_such_a_process_does() -> None:
    """Counts in a second have a variance equal to their mean; those of parts add up to the same."""
    found = [Stage(0, 2000, 50, 50)]
    for parts in (1, 3):
        counts = [0] * 2000
        for part in range(parts):
            for at in due_times(found, poisson=True, part=part, parts=parts, seed=7):
                counts[int(at)] += 1
        mean = sum(counts) / 2000
        assert mean == pytest.approx(50, rel=0.02)
        assert sum((count - mean) ** 2 for count in counts) / 2000 == pytest.approx(50, rel=0.15)


def test_the_same_seed_gives_the_same_times_and_another_does_not() -> None:
    def times(seed: int, part: int = 0) -> list[float]:
        return list(due_times([Stage(0, 5, 20, 20)], poisson=True, seed=seed, part=part, parts=2))

    assert times(1) == times(1)
    assert times(1) != times(2)
    assert times(1, 0) != times(1, 1)


def test_a_rising_rate_brings_requests_closer_together() -> None:
    times = list(due_times([Stage(0, 10, 0, 20)], poisson=False))
    assert len(times) == 100
    assert sum(at < 5 for at in times) == 25  # a quarter of the area lies in the first half
