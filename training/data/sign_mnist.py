"""Sign Language MNIST in the form that Kaggle publishes: two CSV files, `label,pixel1,...,pixel784`.

The files may lie in a folder, in a zip archive, or be gzipped. What spreadsheets make of them is read too: UTF-8 with
or without a byte-order mark, UTF-16 with one, commas, semicolons or tabs, quoted values, line ends of any system.

The letters J and Z need motion and are absent; labels count J all the same, so they run from 0 to 24 without 9.
"""

import codecs
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final

import numpy as np
import numpy.typing as npt

from training.data.datasets import Data, Dataset, dataset
from training.errors import TrainingError

SIDE: Final = 28
LETTERS: Final = tuple("ABCDEFGHIKLMNOPQRSTUVWXY")
_J: Final = 9
_COLUMNS: Final = 1 + SIDE * SIDE
_SUFFIXES: Final = (".csv", ".csv.gz")
_SEPARATORS: Final = (b",", b";", b"\t")
# The first bytes of a file that say how it is written; UTF-32's begin with UTF-16's.
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LONGEST_LINE: Final = 16 * 1024  # of a header, in bytes


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
    """Whether these are Sign MNIST's CSV files, or archives or folders of them, rather than images."""
    try:
        return any(_is_csv(path.name) or any(map(_begins_well, _heads(path))) for path in paths)
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError):
        return False  # whoever reads it will say so


def _heads(path: Path) -> Iterator[bytes]:
    """The beginnings of the CSV files in a folder or an archive; a list of images may be among them."""
    if path.is_dir():
        for file in path.rglob("*"):
            if _is_csv(file.name):
                with file.open("rb") as opened:
                    yield _head(file.name, opened)
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in filter(_is_csv, archive.namelist()):
                with archive.open(name) as member:
                    yield _head(name, member)


def _head(name: str, file: IO[bytes]) -> bytes:
    if name.lower().endswith(".gz"):
        with gzip.GzipFile(fileobj=file) as unpacked:
            return unpacked.read(_LONGEST_LINE)
    return file.read(_LONGEST_LINE)


def _is_csv(name: str) -> bool:
    base = name.rsplit("/", 1)[-1]
    return base.lower().endswith(_SUFFIXES) and not base.startswith(".") and not name.startswith("__MACOSX/")


def _begins_well(head: bytes) -> bool:
    return _separator(_plain(head).partition(b"\n")[0]) is not None


def parse(name: str, content: bytes) -> Dataset:
    """Read one CSV file.

    Args:
        name: of the file, for messages.
        content: of it.

    Raises:
        TrainingError: it is empty, or a row of it is bad; the message names the line.
    """
    header, _, body = _plain(content).partition(b"\n")
    separator = _separator(header)
    if separator is None:
        raise TrainingError(
            f"{name}, line 1: it is not the header 'label,pixel1,...'; is it Kaggle's CSV file? "
            "It is read as UTF-8, or as UTF-16 if it starts with a byte-order mark."
        )
    if not body.strip():
        raise TrainingError(f"{name} has no rows below its header; is the file complete?")
    body = body.replace(b'"', b"").replace(separator, b",")
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


def _plain(content: bytes) -> bytes:
    """The text in UTF-8 without a mark, each line ending in a newline alone."""
    encoding = next((encoding for mark, encoding in _MARKS if content.startswith(mark)), None)
    if encoding is not None:
        content = content.decode(encoding, "replace").encode()  # what is not text is reported as not a number
    return content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _separator(header: bytes) -> bytes | None:
    """What separates the columns, if this is the header; it may be quoted."""
    plain = header.replace(b'"', b"").replace(b" ", b"").lower()
    for separator in _SEPARATORS:
        if plain.startswith(b"label" + separator + b"pixel1" + separator):
            return separator
    return None


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
            return number, f"it has {len(fields)} columns; expected {_COLUMNS}, a label and {SIDE * SIDE} pixels"
        try:
            row = np.array([[int(value) for value in fields]], dtype=np.int64)
        except (ValueError, OverflowError):
            return number, "a value is not an integer"
        if _bad(row)[0]:
            label = int(row[0, 0])
            if label == _J or not 0 <= label <= len(LETTERS):
                return number, f"the label {label} is not one of 0 to {len(LETTERS)} without {_J}"
            return number, "a pixel is outside 0 to 255"
    return 1, "the rows can't be read as numbers"


def _read(path: Path) -> dict[str, bytes]:
    """All CSV files at a path, unpacked, by name."""
    try:
        if path.is_dir():
            found = sorted(file for file in path.rglob("*") if _is_csv(file.name))
            return {str(file): _unpack(str(file), file.read_bytes()) for file in found}
        if _is_csv(path.name):
            return {str(path): _unpack(str(path), path.read_bytes())}
        with zipfile.ZipFile(path) as archive:
            return {
                f"{path}:{name}": _unpack(f"{path}:{name}", archive.read(name))
                for name in archive.namelist()
                if _is_csv(name)
            }
    except FileNotFoundError as error:
        raise TrainingError(
            f"There is nothing at {path}; --data takes the folder, zip or CSV files of Sign Language MNIST."
        ) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise TrainingError(f"{path} is neither a folder, a CSV file nor a complete zip archive.") from error
    except OSError as error:
        raise TrainingError(f"{path} can't be read: {error.strerror or error}.") from error


def _unpack(name: str, content: bytes) -> bytes:
    if not name.lower().endswith(".gz"):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise TrainingError(f"{name} is not a complete gzip file; download it again.") from error


def _pick(files: dict[str, bytes], part: str, paths: Sequence[Path]) -> tuple[str, bytes]:
    """The one file whose own name holds `part`."""
    names = [name for name in files if part in name.rsplit("/", 1)[-1].lower()]
    if not names:
        where = " or ".join(map(str, paths))
        raise TrainingError(
            f"There is no sign_mnist_{part}.csv in {where}; give both CSV files, their folder or the zip."
        )
    # Kaggle's zip holds the training file twice, in a folder and beside it; both are the same.
    return names[0], files[names[0]]
