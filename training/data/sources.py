"""Where labelled images come from: folders and zip archives; `class_folders` tells which folders are the classes."""

import os
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from training.data import class_folders
from training.data.class_folders import Level, Place
from training.errors import TrainingError

# What macOS, NAS boxes and Python leave beside people's files.
_IGNORED: Final = frozenset(
    {"__MACOSX", "__pycache__", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
)
_ENCRYPTED: Final = 0x1
_SHOWN: Final = 3

# A class's name from a folder's, or None where it is none that is known.
Known = Callable[[str], str | None]


@dataclass(frozen=True)
class File:
    """One file of a source.

    Attributes:
        name: path within the source, with `/`.
        label: name of its class.
        part: `train`, `test`, or nothing where the source does not say.
        stamp: changes when the content does, without reading it.
        read: gives the bytes; may be called from several threads.
        listed: whether the list `<source>.test.txt` beside the source names it; `part` is `test` then.
    """

    name: str
    label: str
    part: str
    stamp: str
    read: Callable[[], bytes]
    listed: bool = False


@dataclass(frozen=True)
class Found:
    """What sources hold.

    Attributes:
        files: in the order of the sources and their names.
        empty: class folders without an image: label and where it is.
        outside: names of the files that may be images but are in no class folder.
    """

    files: Sequence[File]
    empty: Sequence[tuple[str, str]]
    outside: Sequence[str]


@dataclass(frozen=True)
class _Entry:
    name: str
    stamp: str
    read: Callable[[], bytes] | None  # None for a folder


def find(
    paths: Sequence[Path],
    label: Callable[[str], str | None] = str,
    level: Level | None = None,
    known: Known | None = None,
) -> Found:
    """List the files of all sources.

    Args:
        paths: folders or zip archives.
        label: turns a folder's name into a class's; folders for which it gives None are left out.
        level: which folders are the classes, where they lie within others; found out where it is None.
        known: tells folders that are called like a class; those are the class folders then, however deep they lie.

    Raises:
        TrainingError: a path is missing or can't be read, holds no file in a class folder, or does not show which
            folders are the classes; or its test list is wrong.
    """
    found = [_find_in(path, label, level, known) for path in paths]
    return Found(
        [file for each in found for file in each.files],
        [empty for each in found for empty in each.empty],
        [name for each in found for name in each.outside],
    )


def _find_in(path: Path, label: Callable[[str], str | None], level: Level | None, known: Known | None) -> Found:
    entries = sorted(_entries(path), key=lambda entry: entry.name)
    kept = [entry for entry in entries if not _ignored(PurePosixPath(entry.name))]
    names = [entry.name for entry in kept if entry.read]
    folders = [entry.name for entry in kept if not entry.read]
    places = class_folders.places(names, folders, str(path), "outer" if known else level)
    where: Sequence[Place | None] = places.files
    if known:
        by_name = class_folders.matching(names, str(path), lambda folder: known(folder) is not None)
        where = [named or placed for named, placed in zip(by_name, places.files, strict=True)]
    in_list = _test_list(path, names)

    def class_of(folder: str) -> str | None:
        name = unicodedata.normalize("NFC", folder)  # macOS takes letters and their accents apart
        if not name.isprintable() or "\ufffd" in name:
            raise TrainingError(f"The name of the class folder {name!r} in {path} is not UTF-8 text; rename it.")
        return (known(name) if known else None) or label(name)

    files: list[File] = []
    for entry, place in zip((entry for entry in kept if entry.read), where, strict=True):
        if place is not None and entry.read:
            listed = entry.name in in_list
            part = "test" if listed else place.part
            name = class_of(place.folder)
            if name is not None:
                files.append(File(entry.name, name, part, entry.stamp, entry.read, listed))
    if not files:
        raise TrainingError(_nothing_in(path, names))
    empty = [
        (label_of, f"{path}/{name}")
        for name in places.empty
        if (label_of := class_of(PurePosixPath(name).name)) is not None
    ]
    outside = [
        name
        for name, place in zip(names, where, strict=True)
        if place is None and class_folders.may_be_image(PurePosixPath(name))
    ]
    return Found(files, empty, outside)


def _nothing_in(path: Path, names: Sequence[str]) -> str:
    archives = [name for name in names if name.lower().endswith((".zip", ".tar", ".tgz", ".tar.gz", ".7z", ".rar"))]
    inside = f" It contains another archive, {archives[0]}: unpack that one." if archives else ""
    return (
        f"There are no images in class folders in {path}; --data takes a folder or zip with one "
        f"folder of images for each class.{inside}"
    )


def _test_list(path: Path, names: Sequence[str]) -> frozenset[str]:
    """The names in the list `<source>.test.txt` that lies beside a source; they are for the test alone."""
    beside = path.with_name(f"{path.stem}.test.txt")
    if not beside.is_file():
        return frozenset()
    try:
        lines = beside.read_text("utf-8-sig").splitlines()
    except OSError as error:
        raise TrainingError(f"The test list {beside} can't be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise TrainingError(f"The test list {beside} is not UTF-8 text; write one name per line.") from error
    listed = {PurePosixPath(line.strip().replace("\\", "/")).as_posix() for line in lines if line.strip()}
    missing = sorted(listed - set(names))
    if missing:
        some = ", ".join(missing[:_SHOWN])
        raise TrainingError(
            f"The test list {beside} names {len(missing)} of {len(listed)} files that {path} does not contain "
            f"({some}); write paths within it, such as CLASS/IMAGE, one per line."
        )
    return frozenset(listed)


def _ignored(name: PurePosixPath) -> bool:
    return any(part.startswith(".") or part in _IGNORED for part in name.parts)


def _entries(path: Path) -> Iterator[_Entry]:
    """Files and folders of a source."""
    try:
        if path.is_dir():
            yield from _walk(path, "", frozenset())
            return
        archive = zipfile.ZipFile(path)  # stays open: the readers below use it
    except FileNotFoundError as error:
        raise TrainingError(f"There is nothing at {path}; --data takes a folder or zip archive of images.") from error
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise TrainingError(f"{path} is neither a folder nor a complete zip archive of images.") from error
    except OSError as error:
        where = f" ({error.filename})" if error.filename and str(error.filename) != str(path) else ""
        raise TrainingError(f"{path} can't be read: {error.strerror or error}{where}.") from error
    for info in archive.infolist():
        # Some archivers of Windows write its separators.
        name = PurePosixPath(*(part for part in info.filename.replace("\\", "/").split("/") if part not in ("", "..")))
        if info.flag_bits & _ENCRYPTED:
            raise TrainingError(f"{path} is encrypted ({info.filename}); unpack it with its password first.")
        yield _Entry(name.as_posix(), f"{info.file_size}-{info.CRC}", None if info.is_dir() else _Member(archive, info))


def _walk(folder: Path, name: str, above: frozenset[tuple[int, int]]) -> Iterator[_Entry]:
    """All that a folder holds; links are followed, but not those that lead back up."""
    found = folder.stat()
    here = (found.st_dev, found.st_ino)
    if here in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            inside = f"{name}/{_shown(entry.name)}" if name else _shown(entry.name)
            if _ignored(PurePosixPath(inside)):
                continue
            if entry.is_dir():
                yield _Entry(inside, "", None)
                yield from _walk(Path(entry.path), inside, above | {here})
            elif entry.is_file():
                info = entry.stat()
                yield _Entry(inside, f"{info.st_size}-{info.st_mtime_ns}", Path(entry.path).read_bytes)
            elif entry.is_symlink():  # that leads nowhere: it will be counted as unreadable
                yield _Entry(inside, "nowhere", Path(entry.path).read_bytes)


def _shown(name: str) -> str:
    """A file's name as text; what is not UTF-8 in it could not be printed or written down."""
    return os.fsencode(name).decode("utf-8", "replace")


@dataclass(frozen=True)
class _Member:
    archive: zipfile.ZipFile
    info: zipfile.ZipInfo

    def __call__(self) -> bytes:
        try:
            return self.archive.read(self.info)
        except (NotImplementedError, RuntimeError) as error:  # a compression that Python does not know
            raise zipfile.BadZipFile(str(error)) from error
