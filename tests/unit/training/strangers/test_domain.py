"""The domain lets a network's own images in and keeps others out, also such as nothing was fitted to."""

import numpy as np
import pytest

from training.strangers.domain import PASSING, Domain, auroc, fit_domain

WIDTH = 24


def clusters(count: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """Features as a network has them: a cluster for each of three classes."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(0, 2, (3, WIDTH))
    return (centres[rng.integers(0, 3, count)] + rng.normal(shift, 1, (count, WIDTH))).astype(np.float32)


@pytest.fixture(scope="module")
def domain() -> Domain:
    others = np.random.default_rng(5).normal(1.0, 1.5, (600, WIDTH)).astype(np.float32)
    return fit_domain(clusters(900, 1), clusters(400, 2), others, np.zeros(600, np.int32), seed=0)


def test_own_images_pass_and_outsiders_do_not(domain: Domain) -> None:
    own, others = domain.tell(clusters(500, 3)), domain.tell(np.random.default_rng(6).normal(1.0, 1.5, (500, WIDTH)))
    assert own.dtype == np.float32
    assert (own >= 0.5).mean() == pytest.approx(PASSING, abs=0.04)
    assert (others >= 0.5).mean() < 0.05
    assert auroc(own, others) > 0.97


def test_what_resembles_no_outsider_is_kept_out_too(domain: Domain) -> None:
    """As features of noise are: in a direction of their own, and on the own side of the plane."""
    along = domain.weights / np.linalg.norm(domain.weights) * 30 * domain.deviation
    strange = domain.mean + along + np.random.default_rng(7).normal(0, 0.1, (50, WIDTH))
    assert (domain.tell(strange.astype(np.float32)) < 0.5).all()


def test_the_same_seed_finds_the_same_domain(domain: Domain) -> None:
    others = np.random.default_rng(5).normal(1.0, 1.5, (600, WIDTH)).astype(np.float32)
    again = fit_domain(clusters(900, 1), clusters(400, 2), others, np.zeros(600, np.int32), seed=0)
    assert (again.tell(clusters(9, 9)) == domain.tell(clusters(9, 9))).all()


def test_auroc_counts_pairs() -> None:
    assert auroc(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1.0
    assert auroc(np.array([0.0, 3.0]), np.array([1.0, 2.0])) == 0.5
    assert auroc(np.array([1.0]), np.array([1.0])) == 0.5
