"""What the processes of one service share: a private folder, and who of its workers is ready.

The folder is made by the launcher, which also removes it. In it lie a file for each worker that takes requests (named
by its process, holding 1 when its models are ready) and one for each that has loaded the first of them, the engine's
socket, the counters of all workers, the configuration that a client has put in place, and what the workers agree on
(`service.engine.local.shared_view`).
"""

import contextlib
import fcntl
import mmap
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from service.admission import no_refusals
from service.errors import SettingsError
from service.parts.connection_counts import ConnectionCounts

_ANNOUNCED: Final = "announced"
_REFUSED: Final = "refused"
# A socket's path may have 107 bytes; the longest name in the folder is shorter than this.
_LONGEST_FOLDER: Final = 80


@dataclass(frozen=True)
class Runtime:
    """What a worker is told beside the settings.

    Attributes:
        folder: the private folder.
        workers: how many worker processes there should be.
        port: gRPC's port; None where this service has no gRPC of its own.
        rest_api_port: the port for HTTP.
        predecessor: process ID of the service that serves the same ports until this one is ready; 0 without one.
        link_secret: what gateways of this service send as their API key to its engine process. It is in no file.
        connections: how many each worker holds.
        refusals: when requests were refused; see `service.admission`.
        generation: of what the workers agree on; see `service.engine.local.shared_view`.
    """

    folder: Path
    workers: int
    port: int | None
    rest_api_port: int
    predecessor: int = 0
    link_secret: str = field(default_factory=secrets.token_urlsafe, repr=False)

    # All are shared by every process that is forked from the one that made them.
    connections: ConnectionCounts = field(init=False, repr=False, compare=False)
    refusals: "memoryview[float]" = field(default_factory=no_refusals, repr=False, compare=False)
    generation: "memoryview[int]" = field(
        default_factory=lambda: memoryview(mmap.mmap(-1, 8)).cast("q"), repr=False, compare=False
    )
    _flags: mmap.mmap = field(default_factory=lambda: mmap.mmap(-1, 1), repr=False, compare=False)

    def __post_init__(self) -> None:
        """Make room for the counts."""
        object.__setattr__(self, "connections", ConnectionCounts(self.workers))

    @property
    def draining(self) -> bool:
        """Whether the service is to stop soon, so that clients should go elsewhere."""
        return self._flags[0] != 0

    def drain(self) -> None:
        """Tell every process of the service that it is to stop soon."""
        self._flags[0] = 1

    def refuse_start(self, why: str) -> None:
        """End the start with a message, as the service can't do what it was told; nothing once it has been ready."""
        if not (self.folder / _ANNOUNCED).exists():
            temporary = self.folder / f".refused.{os.getpid()}"
            temporary.write_text(why)
            temporary.replace(self.folder / _REFUSED)

    @property
    def start_refused(self) -> str:
        """Why the start is to end; empty where it is not."""
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / _REFUSED).read_text()
        return ""

    @property
    def succeeds(self) -> bool:
        """Whether another process still serves the same ports, so that this one can load in peace."""
        if not self.predecessor:
            return False
        try:
            os.kill(self.predecessor, 0)
        except OSError:
            return False
        return True

    @property
    def engine_socket(self) -> Path:
        """Where the engine process listens for this service's gateways."""
        return self.folder / "engine.sock"

    @property
    def hop_socket(self) -> Path:
        """Where it listens for their calls that go through shared memory."""
        return self.folder / "hop.sock"

    @property
    def engine_ready(self) -> Path:
        """Exists once the engine process has been ready."""
        return self.folder / "engine-ready"

    @property
    def config_override(self) -> Path:
        """The configuration that a client has put in place; every local engine reads it."""
        return self.folder / "models.config"

    @property
    def agreement(self) -> Path:
        """Where the workers keep what they agree on."""
        return self.folder / "agreement"

    @property
    def metrics(self) -> Path:
        """Where prometheus_client keeps the counters of several workers."""
        return self.folder / "metrics"


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder that only this user can read, removed in the end by the process that made it.

    Raises:
        SettingsError: there is no place for it.
    """
    try:
        parent = tempfile.gettempdir()
    except FileNotFoundError as error:  # a container with a read-only root file system
        raise SettingsError("No temporary folder is writable; mount one at /tmp.") from error
    folder = Path(tempfile.mkdtemp(prefix="signpost-", dir=parent if len(parent) < _LONGEST_FOLDER else "/tmp"))
    maker = os.getpid()
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(lock, fcntl.LOCK_SH)  # so that systemd-tmpfiles removes nothing of it, however old
    for name in ("workers", "loaded", "metrics", "agreement"):
        (folder / name).mkdir()
    try:
        yield folder
    finally:
        os.close(lock)
        if os.getpid() == maker:
            shutil.rmtree(folder, ignore_errors=True)


class Roster:
    """The workers of a service, by their files; see the module.

    Args:
        folder: the service's private folder.
        size: how many workers there should be.
    """

    def __init__(self, folder: Path, size: int) -> None:
        """Look at nothing yet."""
        self._files = folder / "workers"
        self._loaded = folder / "loaded"
        self._announced = folder / _ANNOUNCED
        self._size = size

    def note(self, ready: bool) -> None:
        """Note that this worker takes requests, and whether its models are ready."""
        temporary = self._files / f".{os.getpid()}"
        temporary.write_text(str(int(ready)))
        temporary.replace(self._files / str(os.getpid()))  # nobody reads half of it

    def note_loaded(self) -> None:
        """Note that this worker has loaded, or tried to, what lay in the store when the service started."""
        (self._loaded / str(os.getpid())).touch()

    def loaded(self) -> bool:
        """Whether every worker has."""
        return sum(1 for _ in self._loaded.iterdir()) >= self._size

    def forget(self, pid: int) -> None:
        """Note that a worker is gone."""
        (self._files / str(pid)).unlink(missing_ok=True)

    def pids(self) -> list[int]:
        """The workers that take requests."""
        return sorted(self._read())

    def is_ready(self, pid: int) -> bool:
        """Whether a worker has noted that it is ready."""
        return self._read().get(pid, False)

    def others_ready(self) -> bool:
        """Whether another worker is ready, so that nobody needs this one yet."""
        return any(ready for pid, ready in self._read().items() if pid != os.getpid())

    def ready(self) -> bool:
        """Whether the whole service is: all workers were ready once, and all that take requests are now."""
        known = self._read()
        return all(known.values()) and bool(known) and (len(known) >= self._size or self._announced.exists())

    def announce(self) -> bool:
        """True for the one worker that is to announce the service, once it is ready; it is so only once."""
        with contextlib.suppress(FileExistsError):
            self._announced.touch(exist_ok=False)
            return True
        return False

    def _read(self) -> dict[int, bool]:
        found = {}
        for path in self._files.iterdir():
            if path.name.isdigit():
                with contextlib.suppress(FileNotFoundError):  # gone since it was listed
                    found[int(path.name)] = path.read_text() == "1"
        return found
