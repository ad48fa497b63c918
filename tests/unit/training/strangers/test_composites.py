"""What stands before a plain background is pasted onto others."""

import numpy as np
import pytest

from training.data.datasets import dataset
from training.strangers.composites import composites, cut_out


def hand(background: tuple[int, int, int]) -> np.ndarray:
    pixels = np.full((40, 40, 3), background, dtype=np.uint8)
    pixels[12:40, 14:26] = (200, 150, 120)
    return pixels


@pytest.mark.parametrize("background", [(20, 150, 40), (250, 250, 250), (0, 0, 0)])
def test_plain_backgrounds_are_told_from_the_hand(background: tuple[int, int, int]) -> None:
    mask = cut_out(hand(background))
    assert mask is not None
    assert mask[20:, 15:25].all()
    assert not mask[:10].any()


def test_other_images_are_left_alone() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    assert cut_out(noise) is None
    assert cut_out(np.zeros((40, 40, 3), dtype=np.uint8)) is None


def test_hands_lie_before_the_given_backgrounds_and_keep_class_and_kin() -> None:
    images = np.stack([hand((0, 0, 0)), np.full((40, 40, 3), 90, np.uint8), hand((20, 150, 40))])
    data = dataset(images, np.array([0, 1, 1]), ("rock", "paper"), ["a", "b", "c"], ["x", "y", "z"])
    background = np.full((1, 10, 10, 3), (10, 20, 200), dtype=np.uint8)
    made = composites(data, background, 10, seed=3)
    assert sorted(zip(made.kin, made.targets().tolist(), strict=True)) == [("x", 0), ("z", 1)]
    assert made.shape == (40, 40, 3)
    for pixels in made.images():
        assert ((pixels == (10, 20, 200)).all(axis=-1)).mean() > 0.2
        assert (pixels[..., 0] > 90).any()
    assert composites(data, background, 10, seed=3).digests() == made.digests()
    assert len(composites(data, background, 1, seed=3)) == 1
    assert len(composites(data.subset(np.array([1])), background, 5, seed=0)) == 0
