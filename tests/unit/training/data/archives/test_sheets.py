"""Sheets of images are cut into their images, row by row."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data.archives import sheets
from training.errors import TrainingError


def sheet(first: int, count: int) -> bytes:
    """Images that are each of one brightness: their number."""
    rows = -(-count // sheets.ACROSS)
    pixels = np.zeros((rows * sheets.SIDE, sheets.ACROSS * sheets.SIDE, 3), dtype=np.uint8)
    for at in range(count):
        y, x = divmod(at, sheets.ACROSS)
        pixels[y * 32 : (y + 1) * 32, x * 32 : (x + 1) * 32] = first + at
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def tree(at: Path, **files: bytes) -> Path:
    for name, content in files.items():
        part, label, first = name.split("_")
        path = at / part / label / f"{first}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return at


def whole(at: Path) -> Path:
    return tree(
        at,
        **{"train_cat_000-049": sheet(0, 50), "train_cat_050-052": sheet(50, 3), "train_dog_000-000": sheet(7, 1)},
        **{"test_cat_000-001": sheet(90, 2), "test_dog_000-000": sheet(95, 1)},
    )


def test_every_image_of_every_sheet_is_read_in_order(tmp_path: Path) -> None:
    path = whole(tmp_path / "small")
    assert sheets.looks_like(path)
    data = sheets.load([path])
    assert data.train.counts() == {"cat": 53, "dog": 1}
    assert data.test.counts() == {"cat": 2, "dog": 1}
    assert data.train.images()[:, 0, 0, 0].tolist() == [*range(53), 7]
    assert data.train.shape == (32, 32, 3)
    assert (data.train.images()[41] == 41).all()


def test_what_is_no_sheet_is_refused(tmp_path: Path) -> None:
    wrong = tree(whole(tmp_path / "wrong"), **{"train_dog_001-080": sheet(0, 5)})
    with pytest.raises(TrainingError, match="1280x32 pixels; a sheet of 80 images is 1280x64"):
        sheets.load([wrong])
    other = tree(whole(tmp_path / "other"), **{"train_dog_photo": sheet(0, 5)})
    assert not sheets.looks_like(other)
    with pytest.raises(TrainingError, match="those have names such as 0000-0999"):
        sheets.load([other])
    broken = tree(whole(tmp_path / "broken"), **{"train_dog_001-080": b"no image"})
    with pytest.raises(TrainingError, match="can't be read as an image"):
        sheets.load([broken])
    with pytest.raises(TrainingError, match="no test part"):
        sheets.load([tree(tmp_path / "part", **{"train_cat_0-0": sheet(0, 1), "train_dog_0-0": sheet(0, 1)})])


def test_images_are_brought_to_a_size_and_to_grey() -> None:
    images = np.full((2, 32, 32, 3), (200, 100, 0), dtype=np.uint8)
    assert sheets.resized(images, (8, 6), 3).shape == (2, 8, 6, 3)
    grey = sheets.resized(images, (8, 6), 1)
    assert (grey.shape, set(grey.ravel())) == ((2, 8, 6, 1), {118})
