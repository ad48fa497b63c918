"""Sign Language MNIST in the form that Kaggle publishes: two CSV files, `label,pixel1,...,pixel784`.

The files may lie in a folder, in a zip archive, or be gzipped. The letters J and Z need motion and are absent;
labels count J all the same, so they run from 0 to 24 without 9.
"""

import gzip
import io
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from training.datasets import Data, Dataset, dataset
from training.errors import TrainingError

SIDE: Final = 28
LETTERS: Final = tuple("ABCDEFGHIKLMNOPQRSTUVWXY")
_J: Final = 9
_COLUMNS: Final = 1 + SIDE * SIDE
_SUFFIXES: Final = (".csv", ".csv.gz")


def load(paths: Sequence[Path]) -> Data:
    """Read the training and the test file.

    Args:
        paths: a folder, a zip archive, or the two CSV files (each plain or gzipped).

    Returns:
        uint8 (N, 28, 28, 1) images of 24 letters.

    Raises:
        TrainingError: a path is missing, a file is not found, or a row of one is bad.
    """
    files: dict[str, bytes] = {}
    for path in paths:
        files.update(_read(path))
    return Data(train=parse(*_pick(files, "train", paths)), test=parse(*_pick(files, "test", paths)))


def looks_like(paths: Sequence[Path]) -> bool:
    """Whether these are CSV files, or archives or folders of CSV files, rather than images."""
    for path in paths:
        if path.name.endswith(_SUFFIXES):
            return True
        if path.is_dir():
            return any(next(path.rglob(f"*{suffix}"), None) for suffix in _SUFFIXES)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return any(name.endswith(_SUFFIXES) for name in archive.namelist())
    return False


def parse(name: str, text: bytes) -> Dataset:
    """Read one CSV file.

    Args:
        name: of the file, for messages.
        text: its content.

    Raises:
        TrainingError: it is empty, or a row of it is bad; the message names the line.
    """
    header, _, body = text.partition(b"\n")
    if not header.startswith(b"label,"):
        raise TrainingError(f"{name} does not begin with the header 'label,pixel1,...'; is it Kaggle's CSV file?")
    if not body.strip():
        raise TrainingError(f"{name} has no rows below its header; is the file complete?")
    try:
        table = np.loadtxt(io.BytesIO(body), delimiter=",", dtype=np.int64, comments=None, ndmin=2)
    except ValueError:
        table = np.empty((0, 0), dtype=np.int64)
    if table.shape[1:] != (_COLUMNS,) or _bad(table).any():
        line, problem = _first_bad_line(body)
        raise TrainingError(f"{name}, line {line}: {problem}.")
    labels = table[:, 0]
    labels = labels - (labels > _J)
    pixels = table[:, 1:].astype(np.uint8).reshape(-1, SIDE, SIDE, 1)
    return dataset(pixels, labels.astype(np.int32), LETTERS)


def _bad(table: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    labels, pixels = table[:, 0], table[:, 1:]
    bad: npt.NDArray[np.bool_] = (labels < 0) | (labels > len(LETTERS)) | (labels == _J)
    return bad | (pixels < 0).any(axis=1) | (pixels > 255).any(axis=1)


def _first_bad_line(body: bytes) -> tuple[int, str]:
    """The slow way, taken only to say what is wrong: line number (the header is line 1) and problem."""
    for number, line in enumerate(body.split(b"\n"), start=2):
        if not line.strip():
            continue
        fields = line.split(b",")
        if len(fields) != _COLUMNS:
            return number, f"it has {len(fields)} columns; {_COLUMNS} are wanted, a label and {SIDE * SIDE} pixels"
        try:
            row = np.array([[int(value) for value in fields]], dtype=np.int64)
        except (ValueError, OverflowError):
            return number, "a value is no integer"
        if _bad(row)[0]:
            label = int(row[0, 0])
            if label == _J or not 0 <= label <= len(LETTERS):
                return number, f"the label {label} is none of 0 to {len(LETTERS)} without {_J}"
            return number, "a pixel is outside 0 to 255"
    return 1, "the rows can't be read as numbers"


def _read(path: Path) -> dict[str, bytes]:
    """All CSV files at a path, unpacked, by name."""
    try:
        if path.is_dir():
            found = sorted(file for file in path.rglob("*") if file.name.endswith(_SUFFIXES))
            return {str(file): _unpack(str(file), file.read_bytes()) for file in found}
        if path.name.endswith(_SUFFIXES):
            return {str(path): _unpack(str(path), path.read_bytes())}
        with zipfile.ZipFile(path) as archive:
            return {
                f"{path}:{name}": _unpack(f"{path}:{name}", archive.read(name))
                for name in archive.namelist()
                if name.endswith(_SUFFIXES) and not name.startswith("__MACOSX/")
            }
    except FileNotFoundError as error:
        raise TrainingError(
            f"There is nothing at {path}; --data takes the folder, zip or CSV files of Sign MNIST."
        ) from error
    except (zipfile.BadZipFile, zlib.error) as error:
        raise TrainingError(f"{path} is neither a folder, a CSV file nor a whole zip archive.") from error
    except OSError as error:
        raise TrainingError(f"{path} can't be read: {error.strerror or error}.") from error


def _unpack(name: str, content: bytes) -> bytes:
    if not name.endswith(".gz"):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise TrainingError(f"{name} is no whole gzip file; fetch it again.") from error


def _pick(files: dict[str, bytes], part: str, paths: Sequence[Path]) -> tuple[str, bytes]:
    """The one file whose own name holds `part`."""
    names = [name for name in files if part in name.rsplit("/", 1)[-1]]
    if not names:
        where = " or ".join(map(str, paths))
        raise TrainingError(
            f"There is no sign_mnist_{part}.csv in {where}; give both CSV files, their folder or the zip."
        )
    # Kaggle's zip holds the training file twice, in a folder and beside it; both are the same.
    return names[0], files[names[0]]
