"""Where labelled images come from: folders and zip archives, in the layouts that people have.

class/image                     a folder of class folders, as deep as it may lie
train/class/image, test/class/image, validation/class/image
PetImages/Cat/0.jpg             Microsoft's cats and dogs
train/cat.0.jpg                 Kaggle's cats and dogs: the class is the beginning of the name
"""

import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from training.errors import TrainingError

_TRAIN: Final = frozenset({"train", "training"})
_TEST: Final = frozenset({"test", "testing", "validation", "valid", "val"})
_FLAT: Final = re.compile(r"(?P<label>[A-Za-z_]+)\.\d+\.[A-Za-z]+")
_IGNORED: Final = frozenset({"__MACOSX", "__pycache__"})


@dataclass(frozen=True)
class File:
    """One file of a source.

    Attributes:
        name: path within the source, with `/`.
        label: name of its class.
        part: `train`, `test`, or nothing where the source does not say.
        stamp: changes when the content does, without reading it.
        read: gives the bytes; may be called from several threads.
    """

    name: str
    label: str
    part: str
    stamp: str
    read: Callable[[], bytes]


def files(paths: Sequence[Path], label: Callable[[str], str] = str) -> list[File]:
    """List the files of all sources, in the order of their names.

    Args:
        paths: folders or zip archives.
        label: turns a folder's name into a class's.

    Raises:
        TrainingError: a path is missing or can't be read, or holds no file in a class folder.
    """
    found: list[File] = []
    for path in paths:
        before = len(found)
        for name, stamp, read in sorted(_entries(path), key=lambda entry: entry[0]):
            place = _place(PurePosixPath(name), path)
            if place is not None:
                found.append(File(name, label(place[0]), place[1], stamp, read))
        if len(found) == before:
            raise TrainingError(
                f"There are no images in class folders in {path}; --data takes a folder or zip that holds one folder "
                "of images for each class."
            )
    return found


def named(paths: Sequence[Path]) -> frozenset[str]:
    """The names in the lists `<archive>.test.txt` that lie beside sources; they are for the test alone."""
    names: set[str] = set()
    for path in paths:
        beside = path.with_name(f"{path.stem}.test.txt")
        if beside.is_file():
            names.update(line.strip() for line in beside.read_text("utf-8").splitlines() if line.strip())
    return frozenset(names)


def _place(name: PurePosixPath, source: Path) -> tuple[str, str] | None:
    """Class and part of a file by its path; None for what belongs to no class."""
    folders = name.parts[:-1]
    if name.name.startswith(".") or any(part in _IGNORED or part.startswith(".") for part in folders):
        return None
    in_class = bool(folders) and folders[-1].lower() not in _TRAIN | _TEST
    # What was given may itself be called train or test: `--data photos/train`, `--data rps-test-set.zip`.
    above = " ".join((source.stem, *(folders[:-1] if in_class else folders))).lower()
    words = set(re.split(r"[^a-z]+", above))
    part = "test" if words & _TEST else "train" if words & _TRAIN else ""
    if in_class:
        return folders[-1], part
    flat = _FLAT.fullmatch(name.name)
    return (flat["label"], part) if flat else None


def _entries(path: Path) -> Iterator[tuple[str, str, Callable[[], bytes]]]:
    """Name, stamp and reader of each file of a source."""
    try:
        if path.is_dir():
            for file in path.rglob("*"):
                if file.is_file():
                    stat = file.stat()
                    yield file.relative_to(path).as_posix(), f"{stat.st_size}-{stat.st_mtime_ns}", file.read_bytes
            return
        archive = zipfile.ZipFile(path)  # stays open: the readers below use it
        for info in archive.infolist():
            if not info.is_dir():
                yield info.filename, f"{info.file_size}-{info.CRC}", _Member(archive, info)
    except FileNotFoundError as error:
        raise TrainingError(f"There is nothing at {path}; --data takes a folder or zip archive of images.") from error
    except zipfile.BadZipFile as error:
        raise TrainingError(f"{path} is neither a folder nor a whole zip archive of images.") from error
    except OSError as error:
        raise TrainingError(f"{path} can't be read: {error.strerror or error}.") from error


@dataclass(frozen=True)
class _Member:
    archive: zipfile.ZipFile
    info: zipfile.ZipInfo

    def __call__(self) -> bytes:
        return self.archive.read(self.info)
