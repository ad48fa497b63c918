"""Outsiders are drawn and read; what judges is never what was learned from."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from tests.unit.training.data.archives.test_sheets import whole
from training.strangers.outsiders import read_backgrounds, read_outsiders


def photos(at: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(20):
        out = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(out, "PNG")
        (at / "things").mkdir(parents=True, exist_ok=True)
        (at / "things" / f"{number}.png").write_bytes(out.getvalue())
    return at


def test_some_are_drawn_and_some_read(tmp_path: Path) -> None:
    paths = (photos(tmp_path / "garden"), whole(tmp_path / "small"))
    found = read_outsiders(paths, (12, 10), 3, tmp_path / "cache", lambda _: None)
    assert found.train.classes == found.test.classes == ("noise", "blank", "text", "drawings", "garden", "small")
    assert found.train.shape == (12, 10, 3)
    assert (found.train.counts()["garden"], found.test.counts()["garden"]) == (16, 4)
    assert (found.train.counts()["small"], found.test.counts()["small"]) == (54, 3)
    read = [set(part.subset(np.flatnonzero(part.targets() >= 4)).digests()) for part in (found.train, found.test)]
    assert not read[0] & read[1]


def test_folders_called_like_a_class_are_no_outsiders(tmp_path: Path) -> None:
    paths = (photos(tmp_path / "garden"), whole(tmp_path / "small"))
    found = read_outsiders(paths, (12, 10), 3, tmp_path / "cache", lambda _: None, ("Cat", "Fish"))
    assert (found.train.counts()["small"], found.test.counts()["small"]) == (1, 1)
    assert found.train.counts()["garden"] == 16


def test_backgrounds_are_photographs(tmp_path: Path) -> None:
    paths = (photos(tmp_path / "garden"), whole(tmp_path / "small"))
    assert read_backgrounds(paths, (12, 10), tmp_path / "cache", lambda _: None).shape == (16, 12, 10, 3)
    assert len(read_backgrounds((), (12, 10), tmp_path / "cache", lambda _: None)) == 0
