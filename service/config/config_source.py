"""Where the list of models to serve comes from: a file, flags, or simply what lies in the store."""

import fcntl
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from service import store
from service.config import model_config
from service.config.model_config import ModelConfig
from service.config.settings import Settings
from service.errors import SettingsError, StoreError

log = logging.getLogger(__name__)

CONFIG_NAME = "models.config"


@dataclass
class _Parsed:
    """A file as it was when it was last read."""

    stamp: tuple[int, int, int]
    configs: tuple[ModelConfig, ...]


class ConfigSource:
    """Says what should be served, each time it is asked.

    The first of these that there is counts: the override (what a client has put in place by
    `HandleReloadConfigRequest`), while it is newer than the file; the file; the one model named by flags; every model
    of the store.

    Args:
        path: the store.
        file: `--model_config_file`; without it the store's `models.config`, if there is one.
        single: the model of `--model_name` and `--model_base_path`.
        override: the file that holds a configuration set by a client; shared by all processes of a service.
        rereads: whether the file is read again when it changes.
    """

    def __init__(
        self,
        path: Path,
        file: Path | None = None,
        *,
        single: ModelConfig | None = None,
        override: Path | None = None,
        rereads: bool = True,
    ) -> None:
        """Read nothing yet."""
        self._store = path
        self._explicit = file is not None
        self._file = file if file is not None else path / CONFIG_NAME
        self._single = single
        self._override = override
        self._rereads = rereads
        self._parsed: dict[Path, _Parsed] = {}
        self._discovered: set[str] = set()
        self._misnamed: set[Path] = set()  # told once

    @property
    def where(self) -> str:
        """What is read, for messages."""
        if self._explicit or (self._single is None and self._file.is_file()):
            return str(self._file)
        return "--model_base_path" if self._single is not None else f"the store {self._store}"

    def read(self) -> tuple[ModelConfig, ...]:
        """The models that should be served now.

        Raises:
            SettingsError: the configuration has an error; what was read before still holds.
            StoreError: the store can't be read at the moment.
        """
        override, file = _stamp(self._override), _stamp(self._file)
        if self._override is not None and override is not None and (file is None or override > file):
            return self._parse(self._override, override)
        if self._explicit or (self._single is None and file is not None):
            if file is None:
                raise SettingsError(f"The file {self._file} can't be read; --model_config_file names it.")
            return self._parse(self._file, file)
        return (self._single,) if self._single is not None else self._discover()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Keep every other process of the service from putting models in place meanwhile.

        Raises:
            SettingsError: this service keeps no override.
            StoreError: its folder can't be written to.
        """
        if self._override is None:
            raise SettingsError("The configuration of this service can't be replaced.")
        try:
            lock = self._override.with_name(f"{self._override.name}.lock").open("w")
        except OSError as error:
            raise StoreError(f"{self._override} can't be locked: {error.strerror}.") from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed, by whatever end
            yield

    def replace(self, configs: Iterable[ModelConfig]) -> None:
        """Put other models in place, in every process of the service, until the file changes.

        Raises:
            SettingsError: this service keeps no override.
        """
        if self._override is None:
            raise SettingsError("The configuration of this service can't be replaced.")
        write_atomically(self._override, model_config.to_text(configs, self._store.resolve()))

    def _parse(self, path: Path, stamp: tuple[int, int, int]) -> tuple[ModelConfig, ...]:
        known = self._parsed.get(path)
        if known is None or (known.stamp != stamp and (self._rereads or path == self._override)):
            try:
                text = path.read_text()
            except (OSError, UnicodeDecodeError) as error:
                raise SettingsError(f"The configuration {path} can't be read: {error}.") from error
            folder = self._store.resolve() if path == self._override else path.resolve().parent
            known = self._parsed[path] = _Parsed(stamp, model_config.parse(text, str(path), folder))
        return known.configs

    def _discover(self) -> tuple[ModelConfig, ...]:
        """Every model of the store; one that was there stays as long as its folder does.

        Folders that are laid out wrongly are among them, so that whoever asks for them is told what is wrong.
        """
        store.check(self._store)
        found = store.survey(self._store)
        for path in store.misnamed(self._store):
            if path not in self._misnamed:
                self._misnamed.add(path)
                log.warning("%r is skipped: its name is not UTF-8; rename it.", os.fsencode(path), extra={"once": True})
        models = {name for name, contents in found.items() if contents.versions}
        models |= {name for name in self._discovered if (self._store / name).is_dir()}
        if self._discovered and not models:  # this is what an unmounted disk looks like
            raise StoreError(f"The store {self._store} no longer contains a model; the loaded versions keep serving.")
        self._discovered = models
        return tuple(
            ModelConfig(name, self._store / name, required=name in models) for name in sorted(models | found.keys())
        )


def write_atomically(path: Path, text: str) -> None:
    """Write a file by rename, so that nobody ever reads half of it.

    Raises:
        StoreError: it can't be written.
    """
    try:
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary = Path(file.name)
        temporary.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
        temporary.replace(path)
    except OSError as error:
        raise StoreError(f"{path} can't be written: {error.strerror}.") from error


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    """Time of change first, so that the greater stamp is the newer file; None where there is none."""
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return None if found is None else (found.st_mtime_ns, found.st_size, found.st_ino)


def from_settings(settings: Settings, override: Path | None = None) -> ConfigSource:
    """Make the source that the settings name.

    Raises:
        SettingsError: `--model_name` and `--model_base_path` do not come together, or `--model_config_file` with them.
    """
    single = None
    if settings.model_base_path is not None:
        single = ModelConfig(settings.model_name, settings.model_base_path)
        if settings.model_config_file is not None:
            raise SettingsError("--model_config_file and --model_base_path both say what to serve; set only one.")
    rereads = settings.model_config_file_poll_wait_seconds > 0
    return ConfigSource(settings.store, settings.model_config_file, single=single, override=override, rereads=rereads)


def check(source: ConfigSource) -> None:
    """Make sure, before anything is started, that there is something to serve.

    Raises:
        SettingsError: the configuration has an error, or lists no model.
        StoreError: the store is missing, no folder, empty or laid out wrongly, or a model's folder is missing.
    """
    configs = source.read()
    if not any(config.required for config in configs):
        raise StoreError(
            f"There is no model to serve (<model>/<version>/{store.SAVED_MODEL}) in {source.where}"
            + (
                ". " + " ".join(map(_wrong, configs))
                if configs
                else "; `signpost train circles` trains one, `signpost init my_service` makes a store with one."
            )
        )
    for config in configs:
        if not config.base_path.is_dir():
            raise StoreError(f"The model {config.name} has no folder {config.base_path}; {source.where} names it.")


def _wrong(config: ModelConfig) -> str:
    """What is wrong with a folder that holds no version."""
    passed_over = store.look(config.base_path).passed_over
    return " ".join(f"{path} {wrong}" for path, wrong in passed_over.items())
