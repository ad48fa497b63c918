"""The folders of models as they are right now: which versions lie in them whole, and which have changed."""

import logging
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from service import store
from service.config.model_config import ModelConfig
from service.engine.local.lifecycle import Version
from service.errors import StoreError, one_line, without_paths
from service.interface import Status, VersionStatus

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
        # Replaced item by item at each look, by the one thread that looks.
        self.paths: dict[Version, Path] = {}  # the folder of each version, whose name may have leading zeros
        self.reasons: dict[str, str] = {}  # for clients: what is wrong with a model's folder; empty where nothing is
        self.young: set[Version] = set()  # versions that are left alone, as their files still change

    def complete_versions(self, config: ModelConfig, held: Collection[int]) -> list[int] | None:
        """The versions of a model that are whole; whatever else lies in its folder is told, with what is wrong.

        Args:
            config: the model.
            held: versions that have been looked at before and need not be quiet again.

        Returns:
            Their numbers, or None where the folder can't be read at the moment.
        """
        try:
            contents = config.look()
        except StoreError as error:  # it must not keep the other models from being looked at
            self.report(config, str(error))
            return None
        whole = []
        wrong = [f"{path} {why}" for path, why in contents.passed_over.items()]
        if not contents.versions and not wrong and not held:
            wrong = [f"{config.base_path} holds no version: no folder named by a number with a {store.SAVED_MODEL}."]
        self.young = {version for version in self.young if version[0] != config.name}
        for number, path in contents.versions.items():
            if path == config.base_path and self.paths.get((config.name, number)) != path:
                log.info("%s is itself a SavedModel; it is served as %s, version %d.", path, config.name, number)
            self.paths[config.name, number] = path
            try:
                if number in held or self._quiet_files((config.name, number), path) is not None:
                    whole.append(number)
                else:
                    self.young.add((config.name, number))
            except StoreError as error:  # nor the other versions
                wrong.append(str(error))
        self.report(config, *wrong)
        return whole

    def report(self, config: ModelConfig, *messages: str) -> None:
        """Log what is wrong with a model's folder, and keep it for clients of the model; nothing is wrong without."""
        for message in messages:
            self.complain(message)
        self.reasons[config.name] = " ".join(_without(config.base_path, config.name, each) for each in messages)

    def explain(self, models: Mapping[str, tuple[VersionStatus, ...]], configs: Mapping[str, ModelConfig]) -> Status:
        """The status of an engine: models without a version have their reasons, and only those required count."""
        without = [name for name, versions in models.items() if not versions]
        optional = {name for name in without if name in configs and not configs[name].required}
        return Status(
            {name: versions for name, versions in models.items() if name not in optional},
            {name: reason for name in without if (reason := self.reasons.get(name, ""))},
        )

    def have_changed(self, version: Version, folder: Path, before: Files) -> bool:
        """Whether the files of a version's folder are quiet and others than `before`."""
        try:
            files = self._quiet_files(version, self.paths.get(version, folder))
        except StoreError as error:
            self.complain(str(error))
            return False
        return files is not None and files != before

    def report_replaced(self, folder: Path, loaded: Files) -> None:
        """Log where the SavedModel of a version that serves is another one than was loaded; it is not loaded again."""
        name = store.SAVED_MODEL if store.SAVED_MODEL in loaded else store.SAVED_MODEL_TEXT
        with suppress(OSError):  # gone: it goes on serving until it is not wanted any more
            now = (folder / name).stat()
            if (now.st_size, now.st_ctime_ns) != loaded.get(name):
                self.complain(
                    f"{folder / name} has changed since it was loaded. The loaded version keeps serving, but a worker "
                    "that starts loads what lies there: publish it under another number."
                )

    def complain(self, message: str) -> None:
        """Log a warning, the same one at most every ten minutes: the folders are looked at every second."""
        now = time.monotonic()
        if now - self._complaints.get(message, -_SAME_COMPLAINT_S) >= _SAME_COMPLAINT_S:
            self._complaints[message] = now
            log.warning("%s", message, extra={"once": True})

    def _quiet_files(self, version: Version, folder: Path) -> Files | None:
        """The fingerprint of a version's folder, or None while something still changes in it.

        It is quiet when its files are older than `QUIET_S`, or (clocks differ and jump) were the same that long ago.

        Raises:
            StoreError: it can't be read.
        """
        files = store.fingerprint(folder)
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
    return _without(folder, "{}/{}".format(*version), error)


def _without(folder: Path, name: str, text: str) -> str:
    for path in (folder, folder.resolve()):
        text = text.replace(str(path), name)
    return one_line(without_paths(text))
