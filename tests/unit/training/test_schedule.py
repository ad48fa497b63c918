"""Rates and sizes over time."""

import pytest

from training.schedule import Phase, learning_rate, phase_of, stretch

PHASES = (Phase(2, 64), Phase(3, 96, mix=False))


@pytest.mark.parametrize(("epoch", "size"), [(0, 64), (1, 64), (2, 96), (4, 96), (9, 96)])
def test_the_phase_of_an_epoch(epoch: int, size: int) -> None:
    assert phase_of(PHASES, epoch).size == size


@pytest.mark.parametrize("epochs", [1, 2, 5, 7, 50])
def test_stretching_keeps_the_number_of_epochs_and_the_order(epochs: int) -> None:
    stretched = stretch(PHASES, epochs)
    assert sum(phase.epochs for phase in stretched) == epochs
    assert [phase.size for phase in stretched] in ([64, 96], [96], [64])
    assert all(phase.epochs for phase in stretched)
    assert stretch(PHASES, 5) == PHASES


def test_the_rate_rises_to_its_peak_and_falls_to_its_end() -> None:
    rates = [learning_rate(step / 100, peak=0.5, warmup=0.1, last=0.02) for step in range(101)]
    assert 0 < rates[0] < 0.01
    assert rates[5] == pytest.approx(0.25)
    assert max(rates) == rates[10] == pytest.approx(0.5)
    assert rates[55] == pytest.approx(0.5 * 0.51)
    assert rates[100] == pytest.approx(0.01)
    assert sorted(rates[:11]) == rates[:11]
    assert sorted(rates[10:], reverse=True) == rates[10:]


def test_no_warm_up_starts_at_the_peak() -> None:
    assert learning_rate(0.0, peak=0.1, warmup=0.0) == pytest.approx(0.1)
