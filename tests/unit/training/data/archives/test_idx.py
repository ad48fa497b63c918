"""IDX files are read as they are published, and what is wrong with them is said."""

import gzip
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from training.data.archives import idx
from training.errors import TrainingError

CLASSES = ("zero", "one", "two")


def written(array: np.ndarray, kind: int = 8) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape) + array.tobytes()


def files(at: Path, *, suffix: str = "", **changed: bytes) -> Path:
    at.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for part, count in (("train", 6), ("t10k", 3)):
        images = written(rng.integers(0, 256, (count, 4, 5), dtype=np.uint8))
        labels = written(np.arange(count, dtype=np.uint8) % 3)
        for name, content in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
            content = changed.get(name.split("-idx")[0].replace("-", "_"), content)
            (at / f"{name}{suffix}").write_bytes(gzip.compress(content) if suffix else content)
    return at


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_folder_of_the_four_files_is_read(tmp_path: Path, suffix: str) -> None:
    data = idx.load([files(tmp_path / "mnist", suffix=suffix)], CLASSES)
    assert (data.train.shape, len(data.train), len(data.test)) == ((4, 5, 1), 6, 3)
    assert data.train.counts() == {"zero": 2, "one": 2, "two": 2}
    expected = np.random.default_rng(0).integers(0, 256, (6, 4, 5), dtype=np.uint8)
    assert (data.train.images()[..., 0] == expected).all()


def test_a_zip_and_single_files_are_read(tmp_path: Path) -> None:
    folder = files(tmp_path / "mnist", suffix=".gz")
    with zipfile.ZipFile(tmp_path / "mnist.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"raw/{file.name}")
    for paths in ([tmp_path / "mnist.zip"], list(folder.iterdir())):
        assert len(idx.load(paths, CLASSES).test) == 3


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"train_images": b"label,pixel1\n"}, "is not an IDX file"),
        (
            {"train_images": written(np.zeros((6, 4, 5), np.uint8), kind=13)},
            "type 0x0d; images and labels must be bytes",
        ),
        (
            {"train_images": written(np.zeros((6, 4, 5), np.uint8))[:-1]},
            "119 bytes of values",
        ),
        ({"train_images": written(np.zeros((6, 4, 5), np.uint8))[:9]}, "ends within its header"),
        ({"t10k_labels": written(np.zeros(2, np.uint8))}, r"the shape \[3, 4, 5\] and .* \[2\]"),
        ({"t10k_labels": written(np.full(3, 9, np.uint8))}, "the label 9; the recipe has 0 to 2"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, changed: dict[str, bytes], says: str) -> None:
    with pytest.raises(TrainingError, match=says):
        idx.load([files(tmp_path / "mnist", **changed)], CLASSES)


def test_a_file_that_lacks_is_named(tmp_path: Path) -> None:
    folder = files(tmp_path / "mnist")
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(TrainingError, match="no t10k-labels-idx"):
        idx.load([folder], CLASSES)
    with pytest.raises(TrainingError, match="nothing at"):
        idx.load([tmp_path / "nowhere"], CLASSES)
    (tmp_path / "broken-idx3.gz").write_bytes(b"\x1f\x8bno")
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8bno")
    with pytest.raises(TrainingError, match="not a complete gzip file"):
        idx.load([tmp_path / "train-images-idx3-ubyte.gz"], CLASSES)
