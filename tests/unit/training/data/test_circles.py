"""The drawn images hold as many circles as their class says."""

import numpy as np
import pytest

from training.data.circles import draw_dataset
from training.errors import TrainingError


def blobs(pixels: np.ndarray) -> int:
    """How many connected bright areas an image has."""
    left = {(int(y), int(x)) for y, x in zip(*np.nonzero(pixels > pixels[0, 0]), strict=True)}
    found = 0
    while left:
        found += 1
        edge = [left.pop()]
        while edge:
            y, x = edge.pop()
            for near in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                if near in left:
                    left.remove(near)
                    edge.append(near)
    return found


def test_each_image_shows_as_many_circles_as_its_class_says() -> None:
    data = draw_dataset(100, seed=5)
    assert [blobs(image[..., 0]) for image in data.pixels] == [int(data.classes[label]) for label in data.labels]
    assert data.counts() == {"1": 20, "2": 20, "3": 20, "4": 20, "5": 20}


def test_radii_are_of_varying_size() -> None:
    data = draw_dataset(50, seed=1, counts=range(1, 2))
    areas = {int((image > image[0, 0]).sum()) for image in data.pixels}
    assert len(areas) >= 4


def test_the_seed_decides_the_images() -> None:
    prints = [draw_dataset(20, seed=seed).fingerprint() for seed in (1, 1, 2)]
    assert prints[0] == prints[1] != prints[2]


def test_what_can_not_be_drawn_is_refused() -> None:
    with pytest.raises(TrainingError, match="too few"):
        draw_dataset(4, seed=0)
    with pytest.raises(TrainingError, match="do not fit"):
        draw_dataset(10, seed=0, side=20, counts=range(9, 10), radii=(6, 7))
