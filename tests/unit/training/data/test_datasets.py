"""Views of labelled pixels: splits, copies and fingerprints."""

import numpy as np
import pytest

from training.data.datasets import dataset, split, without_copies
from training.errors import TrainingError


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 4, 5, 3), dtype=np.uint8)


def test_a_view_shares_pixels_and_keeps_order() -> None:
    data = dataset(images(6), np.array([0, 1, 0, 1, 0, 1]), ["cat", "dog"], [f"{n}.jpg" for n in range(6)])
    part = data.subset(np.array([4, 1])).subset(np.array([1, 0]))
    assert part.pixels is data.pixels
    assert part.targets().tolist() == [1, 0]
    assert [part.name(n) for n in range(2)] == ["1.jpg", "4.jpg"]
    np.testing.assert_array_equal(part.images(), data.pixels[[1, 4]])
    assert part.shape == (4, 5, 3)
    assert part.counts() == {"cat": 1, "dog": 1}


@pytest.mark.parametrize("labels", [[0, 2], [-1, 0], [0]])
def test_labels_that_do_not_fit_are_refused(labels: list[int]) -> None:
    with pytest.raises(TrainingError):
        dataset(images(2), np.array(labels), ["cat", "dog"])


def test_the_split_takes_its_share_of_each_class_and_loses_nothing() -> None:
    labels = np.array([0] * 80 + [1] * 20)
    data = dataset(images(100), labels, ["a", "b"])
    first, second = split(data, 0.25, seed=3)
    assert second.counts() == {"a": 20, "b": 5}
    assert sorted([*first.rows, *second.rows]) == list(range(100))


def test_the_split_depends_on_the_seed_alone() -> None:
    data = dataset(images(50), np.zeros(50, dtype=int), ["a"])
    assert split(data, 0.2, 1)[1].rows.tolist() == split(data, 0.2, 1)[1].rows.tolist()
    assert split(data, 0.2, 1)[1].rows.tolist() != split(data, 0.2, 2)[1].rows.tolist()


def test_copies_of_an_image_stay_on_one_side_of_the_split() -> None:
    pixels = np.repeat(images(30), 3, axis=0)
    first, second = split(dataset(pixels, np.zeros(90, dtype=int), ["a"]), 0.3, seed=0)
    assert len(second)
    assert not set(first.digests()) & set(second.digests())


def test_kin_stay_together_even_when_linked_by_a_copy() -> None:
    pixels = images(60)
    pixels[59] = pixels[0]  # the last clip's last frame is the first clip's first
    kin = [f"clip {n // 3}" for n in range(60)]
    first, second = split(dataset(pixels, np.zeros(60, dtype=int), ["a"], kin=kin), 0.4, seed=1)
    sides = [{part.kin[row] for row in part.rows} for part in (first, second)]
    assert len(second)
    assert not sides[0] & sides[1]
    assert ("clip 0" in sides[0]) == ("clip 19" in sides[0])


def test_a_split_of_too_few_images_is_refused() -> None:
    with pytest.raises(TrainingError, match="too few"):
        split(dataset(images(2), np.array([0, 1]), ["a", "b"]), 0.1, seed=0)


def test_copies_of_test_images_are_left_out() -> None:
    pixels = images(5)
    train, test = (dataset(part, np.zeros(len(part), dtype=int), ["a"]) for part in (pixels, pixels[3:4]))
    rest, left_out = without_copies(train, test)
    assert rest.rows.tolist() == [0, 1, 2, 4]
    assert left_out == 1


def test_the_fingerprint_tells_pixels_and_labels_apart() -> None:
    pixels, labels = images(4), np.array([0, 1, 0, 1])
    other = pixels.copy()
    other[2, 0, 0, 0] ^= 1
    prints = [
        dataset(p, y, ["a", "b"]).fingerprint()
        for p, y in ((pixels, labels), (pixels.copy(), labels), (other, labels), (pixels, labels[::-1]))
    ]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3
