"""Outsiders: images of other things than a model's classes, to learn from and, apart, to judge with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from training.data import sources
from training.data.archives import sheets
from training.data.cache import decoded
from training.data.datasets import Dataset, Pixels, Rows, dataset
from training.data.sources import File
from training.strangers.drawn import draw_strangers

DRAWN: Final = 200  # of each kind to learn from; a third of it to judge with
READ: Final = 2000  # of each source to learn from, at most; a quarter of it to judge with
_TEST_SHARE: Final = 5  # one file of so many is for judging where a source has no test part


@dataclass(frozen=True)
class Outsiders:
    """Images of other things.

    Attributes:
        train: to learn from; its classes are the kinds.
        test: of the same kinds, to judge with; drawn from other seeds, or the test parts of their sources.
    """

    train: Dataset
    test: Dataset


def read_outsiders(
    paths: Sequence[Path],
    size: tuple[int, int],
    channels: int,
    cache: Path,
    say: Callable[[str], None],
    classes: Sequence[str] = (),
) -> Outsiders:
    """Draw outsiders, and read a sample of those that sources hold.

    Args:
        paths: folders or zip archives of images in class folders; may be none.
        size: height and width, in pixels.
        channels: 3 (RGB) or 1 (L).
        cache: folder for decoded pixels.
        say: hears how it goes.
        classes: the model's; folders that are called like one are left out.

    Raises:
        TrainingError: a source can't be read.
    """
    own = frozenset(name.casefold() for name in classes)
    train = draw_strangers(DRAWN, size, channels, seed=1)
    test = draw_strangers(DRAWN // 3, size, channels, seed=2)
    for path in paths:
        learned, judged = _read(path, size, channels, cache, say, own)
        train, test = _with(train, learned, path.stem), _with(test, judged, path.stem)
    return Outsiders(train, test)


def read_backgrounds(paths: Sequence[Path], size: tuple[int, int], cache: Path, say: Callable[[str], None]) -> Pixels:
    """Photographs of other things to paste hands onto: uint8 (M, *size, 3), of those to learn from.

    Raises:
        TrainingError: a source can't be read.
    """
    read = [_read(path, size, 3, cache, say)[0] for path in paths if not sheets.looks_like(path)]
    return np.concatenate(read) if read else np.zeros((0, *size, 3), dtype=np.uint8)


def _read(
    path: Path,
    size: tuple[int, int],
    channels: int,
    cache: Path,
    say: Callable[[str], None],
    own: frozenset[str] = frozenset(),
) -> tuple[Pixels, Pixels]:
    """Images to learn from and to judge with, but for those in folders called as one of `own`."""

    def label(folder: str) -> str | None:
        return None if folder.casefold() in own else folder

    if sheets.looks_like(path):
        data = sheets.load([path], label)
        picked = [_spread(len(part), most) for part, most in ((data.train, READ), (data.test, READ // 4))]
        brought = [part.images(at) for part, at in zip((data.train, data.test), picked, strict=True)]
        return sheets.resized(brought[0], size, channels), sheets.resized(brought[1], size, channels)
    files = sources.find([path], label, level="outer").files
    tests = [file for file in files if file.part == "test"]
    trains = [file for file in files if file.part != "test"]
    if not tests:
        tests, trains = trains[::_TEST_SHARE], [file for at, file in enumerate(trains) if at % _TEST_SHARE]

    def pixels(found: Sequence[File], most: int) -> Pixels:
        some = [found[int(at)] for at in _spread(len(found), most)]
        result = decoded(some, size, channels, cache, say)
        return np.asarray(result.pixels[: len(result.rows)])

    return pixels(trains, READ), pixels(tests, READ // 4)


def _spread(count: int, most: int) -> Rows:
    """Positions of at most so many, evenly from the first to the last."""
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)


def _with(data: Dataset, pixels: Pixels, kind: str) -> Dataset:
    labels = np.full(len(pixels), len(data.classes), dtype=np.int32)
    return dataset(
        np.concatenate([data.images(), pixels]), np.concatenate([data.targets(), labels]), (*data.classes, kind)
    )
