"""Strangers are drawn from a seed, at any size and in grey."""

from training.strangers.drawn import KINDS, draw_strangers


def test_each_kind_is_drawn_anew_by_each_seed_and_alike_by_the_same() -> None:
    first, again, other = (draw_strangers(5, (20, 24), 3, seed) for seed in (1, 1, 2))
    assert first.counts() == dict.fromkeys(KINDS, 5)
    assert first.shape == (20, 24, 3)
    assert first.digests() == again.digests()
    assert not set(first.digests()) & set(other.digests())
    assert draw_strangers(1, (8, 8), 1, 0).shape == (8, 8, 1)
