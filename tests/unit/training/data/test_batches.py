"""An epoch shows each image once, whatever the threads do."""

import time
from collections.abc import Iterator

import numpy as np
import pytest

from training.data import batches
from training.data.augmentation import Augmentation
from training.data.batches import Batch, Timed, epoch_batches, plain_batches, steps_per_epoch
from training.data.datasets import Dataset, dataset


def numbered(count: int) -> Dataset:
    """Each image is filled with its own number."""
    pixels = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 8, 8, 1))
    return dataset(pixels, np.arange(count) % 3, ["a", "b", "c"])


def made(data: Dataset, epoch: int = 0, seed: int = 0, how: Augmentation | None = None) -> list[Batch]:
    return list(
        epoch_batches(data, size=(8, 8), batch_size=4, how=how or Augmentation(), smoothing=0.3, seed=seed, epoch=epoch)
    )


def test_an_epoch_shows_each_image_once_with_its_own_target() -> None:
    batches_made = made(numbered(12))
    numbers = np.concatenate([images[:, 0, 0, 0] for images, _ in batches_made])
    targets = np.concatenate([targets for _, targets in batches_made])
    assert sorted(numbers) == list(range(12))
    assert targets.argmax(axis=1).tolist() == [int(number) % 3 for number in numbers]
    np.testing.assert_allclose(np.sort(targets, axis=1)[:, ::-1], [[0.8, 0.1, 0.1]] * 12, atol=1e-6)


def test_an_incomplete_batch_is_left_out_unless_it_is_the_only_one() -> None:
    assert [len(images) for images, _ in made(numbered(11))] == [4, 4]
    assert [len(images) for images, _ in made(numbered(3))] == [3]
    assert steps_per_epoch(numbered(11), 4) == 2
    assert steps_per_epoch(numbered(3), 4) == 1


def test_epochs_and_seeds_differ_and_threads_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    how = Augmentation(rotation=20, brightness=0.5)
    data = dataset(np.random.default_rng(0).integers(0, 256, (24, 8, 8, 1), dtype=np.uint8), np.zeros(24, int), ["a"])

    def run(epoch: int, seed: int) -> np.ndarray:
        return np.stack([images for images, _ in made(data, epoch, seed, how)])

    first = run(0, 0)
    assert (run(1, 0) != first).any()
    assert (run(0, 1) != first).any()
    monkeypatch.setattr(batches, "_THREADS", 1)
    monkeypatch.setattr(batches, "_AHEAD", 1)
    np.testing.assert_array_equal(run(0, 0), first)


def test_waiting_for_batches_is_timed() -> None:
    def slow() -> Iterator[Batch]:
        for _ in range(3):
            time.sleep(0.02)
            yield np.zeros((1, 1, 1, 1), dtype=np.uint8), np.zeros((1, 1), dtype=np.float32)

    timed = Timed(slow())
    for _ in timed:
        time.sleep(0.05)
    assert 0.06 <= timed.seconds < 0.15


def test_plain_batches_are_in_order_and_complete() -> None:
    parts = list(plain_batches(numbered(10), (8, 8), batch_size=4))
    assert [at.tolist() for _, at in parts] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert np.concatenate([images[:, 0, 0, 0] for images, _ in parts]).tolist() == list(range(10))
