"""IDX files, the form in which MNIST and Fashion-MNIST are published: a header of big-endian numbers, then bytes.

`train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same with `t10k` for the test; each plain or gzipped, in a
folder or a zip.
"""

import gzip
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from training.data.datasets import Data, Dataset, dataset
from training.errors import TrainingError

_UBYTE: Final = 0x08
_PARTS: Final = {"train": "train", "test": "t10k"}


def load(paths: Sequence[Path], classes: Sequence[str]) -> Data:
    """Read the training and the test images.

    Args:
        paths: a folder, a zip archive, or the four files.
        classes: the name of each label.

    Returns:
        uint8 (N, H, W, 1) images.

    Raises:
        TrainingError: a path is missing, one of the four files is not found, or is not a complete IDX file.
    """
    files: dict[str, bytes] = {}
    for path in paths:
        files.update(_read(path))
    parts = {part: _part(files, beginning, classes, paths) for part, beginning in _PARTS.items()}
    return Data(parts["train"], parts["test"])


def parse(name: str, content: bytes) -> npt.NDArray[np.uint8]:
    """Read one IDX file of bytes.

    Args:
        name: of the file, for messages.
        content: of it, not compressed.

    Raises:
        TrainingError: it is not an IDX file, has another type, or is not complete.
    """
    if len(content) < 4 or content[:2] != b"\0\0" or not content[3]:
        raise TrainingError(
            f"{name} is not an IDX file; those start with two zeros, a type and a number of dimensions."
        )
    kind, dimensions = content[2], content[3]
    if kind != _UBYTE:
        raise TrainingError(
            f"{name} contains values of type {kind:#04x}; images and labels must be bytes, {_UBYTE:#04x}."
        )
    begin = 4 + 4 * dimensions
    if len(content) < begin:
        raise TrainingError(f"{name} ends within its header; download it again.")
    shape = struct.unpack(f">{dimensions}I", content[4:begin])
    wanted = int(np.prod(shape, dtype=object))
    if len(content) - begin != wanted:
        raise TrainingError(f"{name} has {len(content) - begin} bytes of values, but its header says {wanted}.")
    return np.frombuffer(content, dtype=np.uint8, offset=begin).reshape(shape)


def _part(files: Mapping[str, bytes], beginning: str, classes: Sequence[str], paths: Sequence[Path]) -> Dataset:
    (images_name, images), (labels_name, labels) = (
        _pick(files, f"{beginning}-{what}", paths) for what in ("images", "labels")
    )
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise TrainingError(
            f"{images_name} has the shape {list(images.shape)} and {labels_name} {list(labels.shape)}; "
            "expected [N, height, width] and [N]."
        )
    if len(labels) and labels.max() >= len(classes):
        raise TrainingError(f"{labels_name} has the label {labels.max()}; the recipe has 0 to {len(classes) - 1}.")
    return dataset(images[..., np.newaxis], labels.astype(np.int32), classes)


def _pick(files: Mapping[str, bytes], beginning: str, paths: Sequence[Path]) -> tuple[str, npt.NDArray[np.uint8]]:
    for name, content in files.items():
        if name.replace("\\", "/").rsplit("/", 1)[-1].startswith(beginning):
            return name, parse(name, _unpacked(name, content))
    where = " or ".join(map(str, paths))
    raise TrainingError(f"There is no {beginning}-idx… file in {where}; give the folder or zip with all four files.")


def _read(path: Path) -> dict[str, bytes]:
    """The contents of all files that are called like IDX files, by name."""
    try:
        if path.is_dir():
            return {str(file): file.read_bytes() for file in sorted(path.rglob("*")) if _is_idx(file.name)}
        if _is_idx(path.name):
            return {str(path): path.read_bytes()}
        with zipfile.ZipFile(path) as archive:
            return {f"{path}:{name}": archive.read(name) for name in archive.namelist() if _is_idx(name)}
    except FileNotFoundError as error:
        raise TrainingError(f"There is nothing at {path}; --data takes the folder, zip or files of MNIST.") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise TrainingError(f"{path} is neither a folder, an IDX file nor a complete zip archive.") from error
    except OSError as error:
        raise TrainingError(f"{path} can't be read: {error.strerror or error}.") from error


def _is_idx(name: str) -> bool:
    base = name.rsplit("/", 1)[-1]
    return "-idx" in base and not base.startswith(".") and not name.startswith("__MACOSX/")


def _unpacked(name: str, content: bytes) -> bytes:
    if not name.lower().endswith(".gz"):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise TrainingError(f"{name} is not a complete gzip file; download it again.") from error
