"""Files that appear whole or not at all: written to a folder beside their places, then renamed."""

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from service.errors import StoreError

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def whole_files(folder: Path, option: str) -> Iterator[Path]:
    """Give a temporary folder whose files go to `folder` at the end, or nowhere if there is an error.

    Args:
        folder: made if missing.
        option: of the command line, that names another folder; it says what the folder is for, too.

    Raises:
        StoreError: the folder can't be written, or the disk is full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".tmp-", dir=folder, ignore_cleanup_errors=True) as name:
            temporary = Path(name)
            yield temporary
            for path in sorted(temporary.iterdir()):
                path.replace(folder / path.name)
    except OSError as error:
        raise cannot_write(folder, option, error) from error


def check_writable(folder: Path, option: str) -> None:
    """Try whether a folder can be written, or be made where it is missing; nothing is left behind.

    Raises:
        StoreError: it can't.
    """
    there = folder
    try:
        while not there.exists() and there != there.parent:
            there = there.parent
        with tempfile.TemporaryDirectory(prefix=".tmp-", dir=there):
            pass
    except OSError as error:
        raise cannot_write(folder, option, error) from error


def cannot_write(folder: Path, option: str, error: OSError) -> StoreError:
    """The error about a folder that can't be written, in a sentence."""
    free = "free disk space or " if error.errno in _FULL else ""
    return StoreError(
        f"The folder {folder} can't be written: {error.strerror or error}; {free}choose another with --{option}."
    )
