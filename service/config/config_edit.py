"""Changes to the versions and labels of a store: pure functions on a model's configuration, and their file."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from service.config import model_config
from service.config.config_source import CONFIG_NAME, ConfigSource, write_atomically
from service.config.model_config import Latest, ModelConfig, Specific, wanted_versions
from service.errors import NotFound, SettingsError, StoreError

STABLE = "stable"


def with_label(config: ModelConfig, label: str, version: int) -> ModelConfig:
    """Point a label at a version.

    Raises:
        SettingsError: the label is not a valid name.
        NotFound: the version is not in the store.
    """
    if not label or "/" in label or ":" in label:
        raise SettingsError(f"{label!r} is not a valid label name; it must not be empty or contain '/' or ':'.")
    _check_version(config, version)
    return replace(config, labels={**config.labels, label: version})


def without_label(config: ModelConfig, label: str) -> ModelConfig:
    """Take a label away.

    Raises:
        NotFound: the model has no such label.
    """
    if label not in config.labels:
        raise NotFound(f"{config.name} has no label {label}; it has {', '.join(config.labels) or 'none'}.")
    return replace(config, labels={name: number for name, number in config.labels.items() if name != label})


def rolled_back(config: ModelConfig, to: int | None = None) -> tuple[ModelConfig, int, int]:
    """Serve the version before the one that serves now, or the version `to`; `stable` moves along.

    Returns:
        The new configuration, the version that served, and the one that will.

    Raises:
        NotFound: there is no such version.
    """
    current = serving_version(config)
    if to is None:
        lower = [version for version in config.look().versions if version < current]
        if not lower:
            raise NotFound(f"{config.name} has no version older than {current} to go back to.")
        to = lower[-1]
    _check_version(config, to)
    labels = dict(config.labels)
    if labels.get(STABLE) == current:
        labels[STABLE] = to
    return replace(config, policy=Specific(frozenset({to})), labels=labels), current, to


def following_latest(config: ModelConfig) -> ModelConfig:
    """Serve the latest version again, whichever it will be."""
    return replace(config, policy=Latest())


def serving_version(config: ModelConfig) -> int:
    """The version that answers requests without version or label.

    Raises:
        NotFound: the store holds none that should be served.
    """
    wanted = wanted_versions(config.policy, config.look().versions, frozenset())
    if not wanted:
        raise NotFound(f"{config.name} has no version in {config.base_path} that should be served.")
    return max(wanted)


def without_version(config: ModelConfig, version: int) -> ModelConfig:
    """The configuration after a version is gone.

    Raises:
        NotFound: it is not in the store.
        SettingsError: a label points at it, or it is the one that serves.
    """
    _check_version(config, version)
    if pointing := sorted(label for label, number in config.labels.items() if number == version):
        raise SettingsError(f"The label {pointing[0]} points at version {version} of {config.name}; move it first.")
    if serving_version(config) == version:
        raise SettingsError(
            f"Version {version} of {config.name} is the one being served; roll back to another first "
            f"(signpost models rollback {config.name})."
        )
    if isinstance(config.policy, Specific):
        return replace(config, policy=Specific(config.policy.versions - {version}))
    return config


def delete_version(config: ModelConfig, version: int) -> None:
    """Delete a version's folder; it disappears by one rename, so no server ever sees half of it.

    Raises:
        StoreError: it can't be deleted.
    """
    folder = config.look().versions.get(version)
    if folder is None:
        raise StoreError(f"{config.base_path / str(version)} no longer exists.")
    doomed = folder.with_name(f".removed-{version}-{os.getpid()}")
    try:
        folder.rename(doomed)
        shutil.rmtree(doomed)
    except OSError as error:
        raise StoreError(f"{folder} can't be deleted: {error.strerror}.") from error


def _check_version(config: ModelConfig, version: int) -> None:
    there = config.look().versions
    if version not in there:
        found = ", ".join(map(str, there)) or "none"
        raise NotFound(f"{config.name} has no version {version} in {config.base_path}; it has {found}.")


class ConfigFile:
    """The file in which a store's configuration is kept; it is made by the first change.

    Args:
        path: the store.
        file: `--model_config_file`, if it is not the store's own.

    Attributes:
        store: the store.
        file: its path.
        was_made: whether the last change has made it.
    """

    def __init__(self, path: Path, file: Path | None = None) -> None:
        """Read nothing yet."""
        self.store = path
        self.file = file if file is not None else path / CONFIG_NAME
        self._source = ConfigSource(path, file)
        self.was_made = False  # by a change

    def read(self) -> tuple[ModelConfig, ...]:
        """The models as they are configured; without a file, every model of the store.

        Raises:
            SettingsError, StoreError: see `ConfigSource.read`.
        """
        return self._source.read()

    def model(self, name: str) -> ModelConfig:
        """One model.

        Raises:
            NotFound: it is not configured.
        """
        return _named(self.read(), name)

    def change(self, name: str, edit: Callable[[ModelConfig], ModelConfig]) -> ModelConfig:
        """Change one model's configuration; two changes at the same time both take effect.

        Returns:
            The model's new configuration.

        Raises:
            NotFound: it is not configured.
        """
        with self._locked():
            existed = self.file.exists()
            configs = ConfigSource(self.store, self.file if self.file.exists() else None).read()
            before = _named(configs, name)
            after = edit(before)
            if after != before:
                kept = [after if each is before else each for each in configs if each.required]
                text = model_config.to_text(kept, self._folder())
                self._keep_comments()
                write_atomically(self.file, text)
                self.was_made = not existed
        return after

    def folder_of(self, config: ModelConfig, version: int) -> Path:
        """The folder of a version.

        Raises:
            StoreError: it is none.
        """
        folder = config.look().versions.get(version)
        if folder is None:
            raise StoreError(f"{config.base_path / str(version)} no longer exists.")
        return folder

    def delete(self, config: ModelConfig, version: int) -> None:
        """Delete a version; see `delete_version`."""
        delete_version(config, version)

    def whole(self, folder: Path) -> Path:
        """A version's folder with all of its files, as it is to be loaded."""
        return folder

    def shown(self, text: str) -> str:
        """A text with the paths that people know."""
        return text

    def _folder(self) -> Path:
        return self.file.parent.resolve() if self.file.exists() else self.file.parent

    def _keep_comments(self) -> None:
        """The text format has no place for comments once it is parsed; a file that has some is kept beside."""
        if self.file.exists() and "#" in self.file.read_text():
            shutil.copy2(self.file, self.file.with_name(self.file.name + ".before"))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the folder's lock; the operating system frees it when the process ends, however it ends."""
        try:
            folder = os.open(self.file.parent, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise StoreError(f"{self.file.parent} can't be read: {error.strerror}.") from error
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


def _named(configs: Sequence[ModelConfig], name: str) -> ModelConfig:
    found = next((config for config in configs if config.name == name), None)
    if found is None:
        raise NotFound(f"There is no model {name}; there are {', '.join(c.name for c in configs) or 'none'}.")
    return found
