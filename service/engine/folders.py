"""The folders of models as they are right now: which versions lie in them whole, and which have changed."""

import logging
import time
from collections.abc import Collection
from pathlib import Path

from service import store
from service.engine.lifecycle import Version
from service.errors import StoreError, one_line, without_paths
from service.model_config import ModelConfig

log = logging.getLogger(__name__)

Files = dict[str, tuple[int, int]]  # a fingerprint, see `store.fingerprint`

# A folder in which nothing has changed for this long is taken to be complete.
QUIET_S = 1.0
_SAME_COMPLAINT_S = 600.0


class Folders:
    """Looks at folders again and again, and tells what is wrong with them, now and then."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._seen: dict[Version, tuple[Files, float]] = {}  # files of a young folder, and since when they are so
        self._complaints: dict[str, float] = {}  # when each was told last

    def complete_versions(self, config: ModelConfig, held: Collection[int]) -> list[int] | None:
        """The versions of a model that are whole.

        Args:
            config: the model.
            held: versions that have been looked at before and need not be quiet again.

        Returns:
            Their numbers, or None where the folder can't be read at the moment.
        """
        try:
            for path in store.incomplete(config.base_path):
                self.complain(f"{path} has no {store.SAVED_MODEL} and is skipped; is it still being copied?")
            found = store.versions(config.base_path)
        except StoreError as error:  # it must not keep the other models from being looked at
            self.complain(str(error))
            return None
        if not found and not held:
            self.complain(f"{config.base_path} holds no version of {config.name}.")
        return [
            number
            for number in found
            if number in held or self._quiet_files((config.name, number), config.base_path / str(number))
        ]

    def have_changed(self, version: Version, folder: Path, before: Files) -> bool:
        """Whether the files of a version's folder are quiet and others than `before`."""
        files = self._quiet_files(version, folder)
        return files is not None and files != before

    def complain(self, message: str) -> None:
        """Log a warning, the same one at most every ten minutes: the folders are looked at every second."""
        now = time.monotonic()
        if now - self._complaints.get(message, -_SAME_COMPLAINT_S) >= _SAME_COMPLAINT_S:
            self._complaints[message] = now
            log.warning("%s", message)

    def _quiet_files(self, version: Version, folder: Path) -> Files | None:
        """The fingerprint of a version's folder, or None while something still changes in it.

        It is quiet when its files are older than `QUIET_S`, or (clocks differ and jump) were the same that long ago.
        """
        try:
            files = store.fingerprint(folder)
        except StoreError as error:  # it must not keep the other versions from being looked at
            self.complain(str(error))
            return None
        if time.time() - store.newest_s(files) >= QUIET_S:
            return files
        now = time.monotonic()
        seen, since = self._seen.get(version, (None, now))
        if seen != files:
            self._seen[version] = (files, now)
            return None
        return files if now - since >= QUIET_S else None


def without_folder(error: str, folder: Path, version: Version) -> str:
    """What clients are told of a version's error: where the store lies is for the log only."""
    for path in (folder, folder.resolve()):
        error = error.replace(str(path), "{}/{}".format(*version))
    return one_line(without_paths(error))
