"""Image sheets: files that hold many small images each, side by side, as CIFAR-10 is passed on here.

A sheet is called by the numbers of its first and last image, `0000-0999.webp`; its images lie row by row, 40 in each,
32 pixels high and wide. Sheets lie in class folders, in a folder or zip, as single images do: `train/CLASS/`,
`test/CLASS/`.
"""

import re
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from service.errors import SignpostError
from service.images import decode
from training.data import sources
from training.data.datasets import Data, Dataset, Pixels, dataset
from training.data.sources import File
from training.errors import TrainingError

SIDE: Final = 32
ACROSS: Final = 40
_NAME: Final = re.compile(r"(\d+)-(\d+)\.\w+")


def looks_like(path: Path) -> bool:
    """Whether a source holds sheets, by the names of its files."""
    try:
        files = sources.find([path], level="outer").files
    except TrainingError:
        return False
    return all(_NAME.fullmatch(_base(file)) for file in files)


def load(paths: Sequence[Path], label: Callable[[str], str | None] = str) -> Data:
    """Read all images of the sheets.

    Args:
        paths: folders or zip archives.
        label: turns a folder's name into a class's, or into None where it is to be left out.

    Returns:
        uint8 (N, 32, 32, 3) images, in the parts that the folders name.

    Raises:
        TrainingError: a source can't be read, a file is not a sheet, or there is no training or test part.
    """
    files = sources.find(paths, label).files
    classes = tuple(sorted({file.label for file in files}))
    parts = {part: [file for file in files if (file.part or "train") == part] for part in ("train", "test")}
    for part, found in parts.items():
        if not found:
            where = " and ".join(map(str, paths))
            raise TrainingError(f"There is no {part} part in {where}; sheets belong in train/CLASS/ and test/CLASS/.")
    return Data(_joined(parts["train"], classes), _joined(parts["test"], classes))


def resized(images: Pixels, size: tuple[int, int], channels: int) -> Pixels:
    """Bring images to a size and a number of channels: uint8 (N, *size, channels)."""
    mode = "L" if channels == 1 else "RGB"
    return np.stack(
        [
            np.asarray(Image.fromarray(image).convert(mode).resize(size[::-1], Image.Resampling.BILINEAR)).reshape(
                *size, channels
            )
            for image in images
        ]
    )


def _joined(files: Sequence[File], classes: tuple[str, ...]) -> Dataset:
    pixels = [_images(file) for file in files]
    labels = [
        np.full(len(each), classes.index(file.label), dtype=np.int32) for each, file in zip(pixels, files, strict=True)
    ]
    return dataset(np.concatenate(pixels), np.concatenate(labels), classes)


def _images(file: File) -> Pixels:
    """The images of one sheet."""
    name = _NAME.fullmatch(_base(file))
    count = int(name[2]) - int(name[1]) + 1 if name else 0
    if count < 1:
        raise TrainingError(f"{file.name} is not a sheet of images; those have names such as 0000-0999.webp.")
    rows = -(-count // ACROSS)
    height, width = rows * SIDE, ACROSS * SIDE
    try:
        content = file.read()
        with Image.open(BytesIO(content)) as opened:
            found = opened.size
        if found != (width, height):
            raise TrainingError(
                f"{file.name} is {found[0]}x{found[1]} pixels; a sheet of {count} images is {width}x{height}, "
                f"{ACROSS} images of {SIDE} pixels in each row."
            )
        sheet = decode(content, height, width, 3)
    except (OSError, SignpostError) as error:
        if isinstance(error, TrainingError):
            raise
        raise TrainingError(f"{file.name} can't be read as an image: {error}") from error
    tiles = sheet.reshape(rows, SIDE, ACROSS, SIDE, 3).transpose(0, 2, 1, 3, 4).reshape(-1, SIDE, SIDE, 3)
    return tiles[:count]


def _base(file: File) -> str:
    return file.name.rsplit("/", 1)[-1]
