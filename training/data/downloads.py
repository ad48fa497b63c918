"""Published archives: fetched once, resumed when interrupted, and checked by their SHA-256."""

import hashlib
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

import rich.progress

from service.version import __version__
from training.errors import TrainingError

_CHUNK: Final = 1 << 20
_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True)
class Archive:
    """A file that somebody publishes.

    Attributes:
        url: its address.
        sha256: of its content, in hexadecimal.
    """

    url: str
    sha256: str

    @property
    def name(self) -> str:
        """The file's name."""
        return self.url.rsplit("/", 1)[-1]


def fetch_all(archives: Sequence[Archive], cache: Path, say: Callable[[str], None]) -> tuple[Path, ...]:
    """Fetch archives that are not in the cache yet.

    Returns:
        Their files.

    Raises:
        TrainingError: one can't be fetched, is not what it should be, or the cache can't be written.
    """
    return tuple(fetch(archive, cache / "downloads", say) for archive in archives)


def fetch(archive: Archive, folder: Path, say: Callable[[str], None]) -> Path:
    """Fetch an archive, or go on where an earlier attempt stopped; one that is there already is taken as it is.

    Raises:
        TrainingError: it can't be fetched, is not what it should be, or the folder can't be written.
    """
    path = folder / archive.name
    if path.is_file():
        return path
    part = path.with_name(f"{path.name}.part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        say(f"Fetching {archive.url} to {folder} ...")
        _download(archive.url, part)
        found = _sha256(part)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise TrainingError(
            f"{archive.url} can't be fetched ({reason}); run the command again to continue, or download it "
            f"elsewhere and pass the file with --data, or put it at {path}."
        ) from error
    except OSError as error:
        raise TrainingError(f"The cache {folder} can't be written: {error.strerror or error}.") from error
    if found != archive.sha256:
        part.unlink()
        raise TrainingError(
            f"{archive.url} has changed: its SHA-256 is {found}, not {archive.sha256}. It was removed; "
            "if you trust the new one, download it yourself and pass it with --data."
        )
    part.rename(path)
    return path


def _download(url: str, part: Path) -> None:
    begun = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": f"signpost/{__version__}"})
    if begun:
        request.add_header("Range", f"bytes={begun}-")
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        with error:
            if begun and error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # all of it was there already
            raise
    with answer:
        resumed = begun > 0 and answer.status == HTTPStatus.PARTIAL_CONTENT
        length = answer.headers.get("Content-Length")
        expected = None if length is None else int(length) + (begun if resumed else 0)
        with part.open("ab" if resumed else "wb") as file, _bar() as bar:
            task = bar.add_task(part.stem, total=expected, completed=begun if resumed else 0)
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                bar.advance(task, len(chunk))
    if expected is not None and part.stat().st_size < expected:
        raise ConnectionError(f"it was cut off after {part.stat().st_size} of {expected} bytes")


def _bar() -> rich.progress.Progress:
    return rich.progress.Progress(
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.DownloadColumn(),
        rich.progress.TransferSpeedColumn(),
        rich.progress.TimeRemainingColumn(),
        disable=not sys.stdout.isatty(),
        transient=True,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
