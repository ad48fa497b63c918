"""What is made of files that operators change while the service runs: API keys, certificates."""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Generic, TypeVar

from service.errors import SettingsError

log = logging.getLogger(__name__)

# Seconds between checks of the files.
LOOK_S: Final = 1.0

T = TypeVar("T")
_Stamp = tuple[tuple[int, int, int] | None, ...]


class Renewed(Generic[T]):
    """A value that is made again once one of its files has changed; who asks for it looks, at most once a second.

    What can't be made changes nothing: the value before it stays, and the log tells. There is no thread to stop.

    Args:
        files: what the value is made of.
        make: makes it; raises SettingsError where it can't.
        value: the value until one is made.
    """

    def __init__(self, files: Sequence[Path], make: Callable[[], T], value: T) -> None:
        """Look at nothing yet."""
        self._files = files
        self._make = make
        self._value = value
        self._stamp: _Stamp = ()
        self._looked_s = -LOOK_S

    def now(self) -> T:
        """The value."""
        now_s = time.monotonic()
        if self._files and now_s - self._looked_s >= LOOK_S:
            self._looked_s = now_s
            stamp = tuple(map(_stamp, self._files))
            if stamp != self._stamp:
                self._renew(stamp)
        return self._value

    def _renew(self, stamp: _Stamp) -> None:
        is_first, self._stamp = not self._stamp, stamp
        try:
            self._value = self._make()
        except SettingsError as error:
            log.error("%s The previous content stays in force.", error, extra={"once": True})
        else:
            if not is_first:
                log.info("%s was reloaded.", ", ".join(map(str, self._files)), extra={"once": True})


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
