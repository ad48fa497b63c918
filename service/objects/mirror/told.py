"""What a mirror tells: lines in the log, each once while it lasts, and numbers in a file for the metrics."""

import json
import logging
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

_SAME_S: Final = 600.0
# Seconds between two writings of the numbers while something is fetched.
_WRITE_S: Final = 1.0


class Told:
    """See the module.

    Args:
        what: is mirrored, for the lines.
        file: where the numbers go; None for nowhere.
    """

    def __init__(self, what: str, file: Path | None = None) -> None:
        """Nothing is told yet."""
        self._what = what
        self._file = file
        self._lines: dict[str, float] = {}  # when each was told last
        self._is_told_ill = False
        self._looked_s: float | None = None
        self._bytes = 0
        self._failures = 0
        self._written_s = 0.0

    def tell(self, line: str) -> bool:
        """Log a warning, the same one at most every ten minutes; whether it was."""
        now = time.monotonic()
        if now - self._lines.get(line, -_SAME_S) < _SAME_S:
            return False
        self._lines[line] = now
        log.warning("%s", line)
        return True

    def ill(self, line: str) -> None:
        """Tell of something that could not be done, and count it."""
        self._failures += 1
        self._is_told_ill |= self.tell(line)
        self._write()

    def well(self) -> None:
        """Note that the bucket has answered and all could be done; where something was wrong before, that is told."""
        self._looked_s = time.monotonic()
        if self._is_told_ill:
            self._is_told_ill = False
            log.info("%s has recovered.", self._what)
        self._write()

    def fetched(self, size: int) -> None:
        """Count bytes."""
        self._bytes += size
        if time.monotonic() - self._written_s >= _WRITE_S:
            self._write()

    def _write(self) -> None:
        """By rename, so that nobody reads half of it; without the numbers the copy is as good."""
        self._written_s = time.monotonic()
        if self._file is not None:
            numbers = {"looked_s": self._looked_s, "bytes": self._bytes, "failures": self._failures}
            temporary = self._file.with_name(f".{self._file.name}")
            with suppress(OSError):
                temporary.write_text(json.dumps(numbers))
                temporary.replace(self._file)
