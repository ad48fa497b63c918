"""What was chosen before, kept in files, so that a restart and the other workers of a service do not try it again.

A file's name tells all that a choice hangs on: the version's files, the host's processor, the runtimes' versions, the
threads. So what was chosen on another host, or for other files, is never found; what can't be read is as if it were not
there, and is rewritten.
"""

import fcntl
import hashlib
import json
import logging
import math
import os
import platform
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from service import store
from service.interface import RunBy

log = logging.getLogger(__name__)

# Of the form of the files.
_FORM: Final = 1
# Files of a version that are read whole; of the others the size is enough, as the index holds checksums of the weights.
_READ: Final = frozenset(
    {store.SAVED_MODEL, store.SAVED_MODEL_TEXT, "variables.index", "golden.npz", Path(store.INT8).name}
)
# Seconds between checks of whether another process is done, and after which this one goes ahead.
_LOOK_S: Final = 0.05
_WAIT_S: Final = 20.0


def fingerprint(folder: Path) -> str:
    """What tells a version's files from others."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)} {path.stat().st_size}\n".encode("utf-8", "surrogateescape"))
        if path.name in _READ:
            digest.update(path.read_bytes())
    return digest.hexdigest()


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The host's processor: its name and what it can do."""
    try:
        first = cpuinfo.read_text().partition("\n\n")[0]
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    told = re.findall(r"^(?:model name|flags|Features|CPU part|CPU implementer)\s*:(.*)$", first, re.MULTILINE)
    return " ".join(" ".join(told).split()) or platform.machine()


class Remembered:
    """One choice of a folder of them.

    Args:
        folder: where they are kept; made when the first is.
        about: all that the choice hangs on, by name.
    """

    def __init__(self, folder: Path, about: Mapping[str, object]) -> None:
        """Read nothing yet."""
        text = json.dumps({**about, "form": _FORM}, sort_keys=True, default=str)
        self._path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"

    def read(self) -> RunBy | None:
        """What was chosen; None where nothing was, or its file is damaged."""
        try:
            found = json.loads(self._path.read_text())
            by = RunBy(found["runtime"], float(found["gain"]), found["why"])
        except (OSError, ValueError, TypeError, KeyError):
            return None
        sound = isinstance(by.runtime, str) and isinstance(by.why, str) and math.isfinite(by.gain) and by.gain > 0
        return by if sound else None

    def write(self, by: RunBy) -> None:
        """Keep a choice. Where that can't be done it is told once, and changes nothing else."""
        partial = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial.write_text(json.dumps({"runtime": by.runtime, "gain": by.gain, "why": by.why}) + "\n")
            partial.replace(self._path)
        except OSError as error:
            log.warning(
                "Which runtime is the fastest can't be kept in %s (%s), so the next start tries again.",
                self._path.parent, error.strerror, extra={"once": True},
            )  # fmt: skip
            with suppress(OSError):
                partial.unlink(missing_ok=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the place of this choice, so that of several processes one tries and the others read what it found.

        Whoever can't have it in time, or at all, goes ahead without.
        """
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            yield
            return
        try:
            until_s = time.monotonic() + _WAIT_S
            while time.monotonic() < until_s:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(_LOOK_S)
            yield
        finally:
            os.close(descriptor)
