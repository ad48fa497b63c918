"""Each augmentation does what it says, within its bounds, and the same for the same seed."""

import numpy as np
import pytest

from training.data.augmentation import Augmentation, augment, mix, resize


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def photos(channels: int = 3) -> np.ndarray:
    """Smooth images, so that small geometric changes make small differences."""
    y, x = np.mgrid[0:24, 0:32]
    plane = (4 * y + 3 * x).astype(np.uint8)
    return np.stack([np.stack([plane, plane[::-1], 255 - plane], axis=-1)[..., :channels]] * 6)


def test_nothing_chosen_changes_nothing() -> None:
    np.testing.assert_array_equal(augment(photos(), (24, 32), Augmentation(), rng()), photos())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "how",
    [
        Augmentation(rotation=20),
        Augmentation(zoom=0.2),
        Augmentation(shift=0.2),
        Augmentation(shear=20),
        Augmentation(crop=0.4),
        Augmentation(brightness=0.4),
        Augmentation(contrast=0.4),
        Augmentation(cutout=0.3),
        Augmentation(flip=True),
    ],
)
def test_each_choice_changes_images_and_the_same_seed_the_same_way(how: Augmentation, channels: int) -> None:
    before = photos(channels)
    once, again, other = (augment(before, (24, 32), how, rng(seed)) for seed in (1, 1, 2))
    assert once.shape == before.shape
    assert once.dtype == np.uint8
    assert (once != before).any()
    np.testing.assert_array_equal(once, again)
    assert (once != other).any()
    np.testing.assert_array_equal(before, photos(channels))


def test_a_flip_is_a_mirror_and_nothing_else() -> None:
    before = photos()
    after = augment(before, (24, 32), Augmentation(flip=True), rng())
    mirrored = [bool((image == before[0][:, ::-1]).all()) for image in after]
    assert all(flipped or (image == before[0]).all() for flipped, image in zip(mirrored, after, strict=True))
    assert {True, False} == set(mirrored)


def test_a_rotation_turns_about_the_centre_within_its_angle() -> None:
    dot = np.zeros((200, 41, 41, 1), dtype=np.uint8)
    dot[:, 19:22, 37:40] = 255  # 18 pixels right of the centre
    turned = augment(dot, (41, 41), Augmentation(rotation=30), rng())
    angles = []
    for image in turned[..., 0]:
        y, x = (float(np.average(axis, weights=image.ravel())) for axis in np.mgrid[0:41, 0:41].reshape(2, -1))
        assert np.hypot(y - 20, x - 20) == pytest.approx(18, abs=1.0)
        angles.append(np.degrees(np.arctan2(y - 20, x - 20)))
    assert min(angles) < -20
    assert max(angles) > 20
    assert max(map(abs, angles)) < 31.5


def test_a_shift_moves_within_its_share() -> None:
    dot = np.zeros((100, 40, 40, 1), dtype=np.uint8)
    dot[:, 19:21, 19:21] = 255
    moved = augment(dot, (40, 40), Augmentation(shift=0.1), rng())
    rows = [float(np.average(np.mgrid[0:40, 0:40][0].ravel(), weights=image.ravel())) - 19.5 for image in moved]
    assert max(map(abs, rows)) <= 4.1
    assert max(rows) > 2
    assert min(rows) < -2


def test_crops_keep_at_least_their_share_of_the_area() -> None:
    ramp = np.broadcast_to(np.arange(100, dtype=np.uint8)[None, None, :, None], (60, 100, 100, 1))
    cropped = augment(ramp, (100, 100), Augmentation(crop=0.5, ratio=1.0), rng())
    spans = [(int(image.max()) - int(image.min()) + 1) / 100 for image in cropped]
    assert min(spans) >= np.sqrt(0.5) - 0.03
    assert max(spans) > 0.93
    assert min(spans) < 0.78


def test_grey_takes_the_colour() -> None:
    grey = augment(photos(), (24, 32), Augmentation(grey=1.0), rng())
    assert int(np.ptp(grey.astype(int), axis=-1).max()) <= 1


def test_resize_brings_to_a_size_and_leaves_the_right_size_alone() -> None:
    assert resize(photos(), (12, 16)).shape == (6, 12, 16, 3)
    before = photos()
    assert resize(before, (24, 32)) is before


def test_mixup_blends_pixels_and_targets_alike() -> None:
    images = np.stack([np.full((4, 4, 1), value, dtype=np.uint8) for value in (0, 200)])
    mixed, targets = mix(images, np.eye(2, dtype=np.float32), Augmentation(mixup=1.0), rng(3))
    np.testing.assert_allclose(targets.sum(axis=1), 1.0)
    np.testing.assert_allclose(mixed[:, 0, 0, 0], targets[:, 1] * 200, atol=1.01)
    assert 0.05 < targets[0, 0] < 0.95


def test_cutmix_targets_are_the_share_of_the_pixels() -> None:
    images = np.stack([np.full((40, 40, 1), value, dtype=np.uint8) for value in (0, 255)])
    for seed in range(5):
        mixed, targets = mix(images, np.eye(2, dtype=np.float32), Augmentation(cutmix=1.0), rng(seed))
        np.testing.assert_allclose((mixed == 255).mean(axis=(1, 2, 3)), targets[:, 1], atol=1e-6)


def test_no_mixing_leaves_the_batch_alone() -> None:
    images, targets = photos(), np.eye(6, dtype=np.float32)
    assert mix(images, targets, Augmentation(), rng()) == (images, targets)
