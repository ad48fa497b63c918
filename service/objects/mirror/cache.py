"""The copy of a store on this host: a folder that is served as any store is, shared by the services of this user.

A version appears in it by one rename, when all of it has been written through to the disk. Who changes anything holds
the lock of the copy. On what it uses a service holds a shared lock (of the version's folder), so that no other removes
it; the operating system frees both when a process ends, however it ends.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from service.errors import SettingsError, StoreError
from service.objects.bucket import Object
from service.objects.listing import MANIFEST, Version
from service.objects.mirror.plan import Plan

# Names beside the versions; what begins with a dot is not a version to anybody.
_PARTIAL: Final = ".partial-"
_REMOVED: Final = ".removed-"
_HIDDEN: Final = ".hidden-"
_LOCK: Final = ".lock"
# What a copy leaves free on the disk.
_RESERVE_BYTES: Final = 64 * 2**20


@dataclass(frozen=True)
class Copy:
    """The copy of a version.

    Attributes:
        folder: where it lies now.
        name: the folder's name when it is shown.
        files: the objects that it was made of.
    """

    folder: Path
    name: str
    files: Mapping[str, Object]

    @property
    def is_hidden(self) -> bool:
        """Whether the engines do not see it."""
        return self.folder.name != self.name


def make_private(folder: Path) -> Path:
    """Make a folder that only this user can write to: whoever can write to it decides what is run.

    Raises:
        SettingsError: it can't be made, or is somebody else's.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
        if found.st_uid != os.getuid() or found.st_mode & 0o002:
            raise SettingsError(f"--store-cache {folder} can be written by other users; use a folder of your own.")
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SettingsError(
            f"--store-cache {folder} can't be written: {error.strerror}; use another folder."
        ) from error
    return folder


def folder_name(what: str, also: str = "") -> str:
    """A name for a folder that tells what it is a copy of and is different for each."""
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", what).strip("-.")[-80:]
    return f"{readable}-{hashlib.sha256(f'{what} {also}'.encode()).hexdigest()[:8]}"


class Cache:
    """The copy of one store.

    Args:
        root: its folder, which is made.
    """

    def __init__(self, root: Path) -> None:
        """Hold nothing yet."""
        self.root = root
        self._held: dict[tuple[int, int], int] = {}  # open folders, by device and inode: a rename changes neither
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Hold the lock, if no other service has it: whether that is so."""
        with (self.root / _LOCK).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def copies(self, base: Path) -> dict[int, Copy]:
        """The copies of a model's versions, by their numbers; what is not whole is none."""
        found: dict[int, Copy] = {}
        for folder in sorted(base.iterdir()) if base.is_dir() else ():
            name = folder.name.removeprefix(_HIDDEN)
            files = _manifest(folder) if name.isascii() and name.isdigit() else None
            if files is not None:
                found[int(name)] = Copy(folder, name, files)
        return found

    def models(self) -> list[str]:
        """The folders of the root, which are the models of a store."""
        return sorted(path.name for path in self.root.iterdir() if path.is_dir() and not path.name.startswith("."))

    def clean(self, base: Path) -> None:
        """Remove what a process has left behind that ended in the middle; the lock is held."""
        for path in [*base.glob(f"{_PARTIAL}*"), *base.glob(f"{_REMOVED}*")]:
            shutil.rmtree(path, ignore_errors=True)

    def place(self, base: Path, version: Version, fill: Callable[[Path], None]) -> None:
        """Put a version into the copy, in place of another of its name; the lock is held.

        Args:
            base: the model's folder in the copy.
            version: as it lies in the bucket.
            fill: fetches its files into the folder that it is given, through to the disk.

        Raises:
            StoreError: the disk is full or can't be written; what `fill` raises is passed on.
        """
        name = version.folder or "1"
        partial, place = base / f"{_PARTIAL}{name}", base / name
        try:
            base.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(partial, ignore_errors=True)
            if (free := shutil.disk_usage(base).free) < version.size + _RESERVE_BYTES:
                raise StoreError(
                    f"{base} has no room for version {name}: it takes {version.size / 2**20:,.0f} MiB, and "
                    f"{max(0, free - _RESERVE_BYTES) / 2**20:,.0f} are free."
                )
            partial.mkdir()
            fill(partial)
            _write_through(partial / MANIFEST, _to_json(version.files))
            for folder in (*(path for path in partial.rglob("*") if path.is_dir()), partial):
                _sync(folder)
            for old in (place, base / f"{_HIDDEN}{name}"):
                self._remove(old)
            partial.rename(place)
            _sync(base)
        except OSError as error:
            raise StoreError(f"{base} can't be written: {error.strerror or error}.") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def follow(self, base: Path, plan: Plan) -> None:
        """Show, hide and remove copies as a plan says; the lock is held.

        Raises:
            StoreError: the folder can't be written.
        """
        try:
            for number, copy in self.copies(base).items():
                if number in plan.removed and self._is_free(copy.folder):
                    self._remove(copy.folder)
                elif number in plan.shown and copy.is_hidden:
                    copy.folder.rename(base / copy.name)
                elif number in plan.hidden and not copy.is_hidden:
                    copy.folder.rename(base / f"{_HIDDEN}{copy.name}")
            if base != self.root and base.is_dir() and not any(base.iterdir()):
                base.rmdir()
        except OSError as error:
            raise StoreError(f"{base} can't be written: {error.strerror or error}.") from error

    def hold(self, folders: Iterable[Path]) -> None:
        """Keep other services from removing these folders, and no longer those that were held before."""
        held: dict[tuple[int, int], int] = {}
        for folder in folders:
            with suppress(OSError):  # gone meanwhile
                found = folder.stat()
                key = (found.st_dev, found.st_ino)
                if key not in held:
                    held[key] = self._held.pop(key, -1)
                    if held[key] < 0:
                        held[key] = _lock(folder, fcntl.LOCK_SH)
        for descriptor in self._held.values():
            os.close(descriptor)
        self._held = held

    def is_free(self, copy: Copy) -> bool:
        """Whether no other service uses a copy, so that it may be replaced."""
        with suppress(OSError):
            return self._is_free(copy.folder)
        return False

    def _is_free(self, folder: Path) -> bool:
        """Whether no other service holds a folder."""
        found = folder.stat()
        own = self._held.get((found.st_dev, found.st_ino))
        try:
            if own is None:
                os.close(_lock(folder, fcntl.LOCK_EX))
            else:
                fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            if own is not None:  # an attempt that fails loses the lock, too
                fcntl.flock(own, fcntl.LOCK_SH)
        return True

    def _remove(self, folder: Path) -> None:
        """It disappears by one rename, so that nobody sees half of it."""
        if folder.exists():
            doomed = folder.with_name(f"{_REMOVED}{folder.name}-{os.getpid()}")
            folder.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)


def write_file(path: Path, chunks: Iterable[bytes]) -> str:
    """Write a file through to the disk.

    Returns:
        The MD5 of its content in hexadecimal digits, which many stores give as an ETag: against accidents only.
    """
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("wb") as file:
        for chunk in chunks:
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _write_through(path: Path, text: str) -> None:
    write_file(path, [text.encode()])


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock(folder: Path, kind: int) -> int:
    """Open a folder with a lock on it; raises BlockingIOError where another process has one that excludes it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    return descriptor


def _to_json(files: Mapping[str, Object]) -> str:
    return json.dumps({name: [known.size, known.e_tag] for name, known in files.items()})


def _manifest(folder: Path) -> dict[str, Object] | None:
    """What a copy was made of; None where something of it is missing."""
    try:
        found = json.loads((folder / MANIFEST).read_text())
        files = {name: Object(size, e_tag) for name, (size, e_tag) in found.items()}
        for name, known in files.items():
            path = folder / name
            if path.stat().st_size != known.size and not (known.size == 0 and path.is_dir()):
                return None
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return files
