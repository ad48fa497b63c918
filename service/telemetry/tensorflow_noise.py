"""What TensorFlow writes to standard error while it is imported: held back, and shown only where something fails.

Its libraries write a dozen lines before its own setting (`TF_CPP_MIN_LOG_LEVEL`) applies. They come from C++, to the
file descriptor itself, and before an abort as well (a processor without AVX), so they are kept in a file: whoever sees
the process end shows what was left in it.
"""

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

_STDERR: Final = 2
_NVIDIA_DRIVER: Final = Path("/dev/nvidiactl")


@contextmanager
def held_back(folder: Path | None = None) -> Iterator[None]:
    """Hold back standard error while TensorFlow is imported; then log what came: as errors if that failed, else debug.

    The log itself does not go through that descriptor: `telemetry.logs` writes to a copy of it.

    Args:
        folder: for the file, so that another process can show what this one left (see `show_left`); None for a file
            that nobody else sees.
    """
    # For the time after. Without a GPU TensorFlow logs the lack of one as an error; with one its errors matter.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if _NVIDIA_DRIVER.exists() else "3")
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="signpost-") as temporary:
            yield from _held(Path(temporary))
    else:
        yield from _held(folder)


def _held(folder: Path) -> Iterator[None]:
    path = _file(folder, os.getpid())
    level = logging.ERROR
    sys.stderr.flush()
    before = os.dup(_STDERR)
    try:
        with path.open("wb") as file:
            os.dup2(file.fileno(), _STDERR)
        yield
        level = logging.DEBUG
    finally:
        sys.stderr.flush()
        os.dup2(before, _STDERR)
        os.close(before)
        _show(path, level)


def show_left(folder: Path, pid: int) -> None:
    """Log as errors what a process that has ended wrote while its standard error was held back."""
    if _file(folder, pid).exists():
        _show(_file(folder, pid), logging.ERROR)


def _file(folder: Path, pid: int) -> Path:
    return folder / f"stderr-{pid}"


def _show(path: Path, level: int) -> None:
    with suppress(OSError):
        for line in path.read_text("utf-8", "replace").splitlines():
            if line.strip():
                log.log(level, "%s", line)
        path.unlink()
