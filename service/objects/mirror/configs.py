"""Which models of which buckets a service wants, and where on this host their copies lie."""

import os
import posixpath
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from google.protobuf import text_format

from service import protocol
from service.config import cache_folder, model_config
from service.config.config_source import CONFIG_NAME
from service.config.model_config import Latest, ModelConfig, Policy
from service.config.settings import Settings
from service.errors import SettingsError
from service.objects import bucket, urls
from service.objects.mirror import cache
from service.objects.urls import Url

# In a copy: models whose base paths are addresses of their own.
_OTHERS: Final = ".others"


@dataclass(frozen=True)
class Wanted:
    """A model of which a service wants versions.

    Attributes:
        name: its name in requests.
        url: where its versions lie.
        folder: where their copies lie.
        policy: which of them to serve.
        labels: names that point at versions.
    """

    name: str
    url: Url
    folder: Path
    policy: Policy = field(default_factory=Latest)
    labels: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """What is mirrored.

    Attributes:
        root: the copy's folder.
        store: the address of a store; None where models have addresses of their own.
        config: the configuration, if it is not the store's models.config.
        base: name and address of the one model of `--model_base_path`.
    """

    root: Path
    store: Url | None = None
    config: Url | Path | None = None
    base: Wanted | None = None

    @property
    def where(self) -> str:
        """What is mirrored, for messages."""
        return str(self.store or (self.base and self.base.url) or self.config)

    def folders(self) -> list[Path]:
        """Every folder of the copy in which versions may lie."""
        return [self.root, *(path for path in self.root.glob("*") if path.is_dir()), *(self.root / _OTHERS).glob("*")]

    def folder_of(self, url: Url) -> Path:
        """Where the copy of what lies at an address is: below the store's as it lies there."""
        if self.store is not None and self.store.root == url.root:
            rest = posixpath.relpath(f"/{url.prefix}", f"/{self.store.prefix}")
            if not rest.startswith(".."):
                return self.root / rest
        return self.root / _OTHERS / cache.folder_name(str(url))

    def read(self, text: str) -> tuple[tuple[Wanted, ...], str]:
        """Read a configuration.

        Args:
            text: a ModelServerConfig; relative base paths are relative to where it lies.

        Returns:
            The models whose base paths lie in buckets, and the same configuration with the folders of their copies.

        Raises:
            SettingsError: it has an error.
        """
        where = self._config_name
        here: Url | Path
        if isinstance(self.config, Path):
            here = self.config.resolve().parent
        else:
            at = self.config or (self.store.below(CONFIG_NAME) if self.store is not None else None)
            assert at is not None  # there is a text, so it lies somewhere
            here = at.parent
        found: dict[str, Url] = {}

        def local(name: str, base_path: str) -> str:
            if not base_path:
                return base_path  # which has its own message
            url = urls.parse(base_path, f"{where}: base_path of {name}")
            if url is None and isinstance(here, Url) and not base_path.startswith("/"):
                joined = posixpath.normpath(posixpath.join("/", here.prefix, base_path))
                url = Url(here.scheme, here.bucket, joined.strip("/"))
            if url is None:
                return str(here / base_path) if isinstance(here, Path) else base_path
            found[name] = url
            return str(self.folder_of(url))

        message = localised(text, where, local)
        try:
            configs = model_config.read_message(message, self.root)
        except SettingsError as error:
            raise SettingsError(f"{where}: {error}") from error
        wanted = tuple(_wanted(each, found[each.name]) for each in configs if each.name in found)
        return wanted, to_text(message)

    def asked_for(self, override: Path, known: Iterable[Wanted]) -> list[Wanted]:
        """The models of a configuration that a client has put in place, whose base paths are folders of the copy."""
        urls_of = {each.folder.resolve(): each.url for each in known}
        root = self.root.resolve()
        found = []
        try:
            configs = model_config.parse(override.read_text(), str(override), root)
        except (OSError, SettingsError, UnicodeDecodeError):  # whoever put it there has been told
            return []
        for config in configs:
            folder = Path(os.path.abspath(config.base_path))  # noqa: PTH100 - a link would lead out of the copy
            url = urls_of.get(folder)
            if url is None and self.store is not None and folder.is_relative_to(root):
                url = self.store.below(str(folder.relative_to(root)))
            if url is not None:
                found.append(_wanted(replace(config, base_path=folder), url))
        return found

    @property
    def _config_name(self) -> str:
        return str(self.config or (self.store.below(CONFIG_NAME) if self.store is not None else ""))


def _wanted(config: ModelConfig, url: Url) -> Wanted:
    return Wanted(config.name, url, config.base_path, config.policy, config.labels)


def localised(text: str, where: str, local: Callable[[str, str], str]) -> Any:
    """A configuration with other base paths.

    Args:
        text: a ModelServerConfig.
        where: it comes from, for messages.
        local: makes the base path that is to stand in it of a model's name and base path.

    Raises:
        SettingsError: it is not such a text.
    """
    message = protocol.model_server_config_pb2.ModelServerConfig()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise SettingsError(
            f"Error parsing text-format tensorflow.serving.ModelServerConfig: {where}: {str(error).rstrip('.')}."
        ) from error
    for model in message.model_config_list.config:
        model.base_path = local(model.name, model.base_path)
    return message


def to_text(message: Any) -> str:
    """A configuration as text."""
    return str(text_format.MessageToString(message))


def from_settings(settings: Settings) -> Source | None:
    """What of the settings lies in object storage; None where nothing does, without loading anything.

    Raises:
        SettingsError: an address is none, two of them do not go together, the extra is not installed, or the copy's
            folder can't be written.
    """
    if settings.engine_addresses:
        return None  # the models are those of engines elsewhere
    store = urls.parse(settings.store, "--store")
    base = None if settings.model_base_path is None else urls.parse(settings.model_base_path, "--model_base_path")
    config: Url | Path | None = settings.model_config_file
    if config is not None:
        config = urls.parse(settings.model_config_file or "", "--model_config_file") or config
    if store is not None and base is not None:
        raise SettingsError("--store and --model_base_path both name what to serve in object storage; set only one.")
    if base is not None and config is not None:
        return None  # which has its own message
    if config is None and settings.model_base_path is None and store is None:
        config = settings.store / CONFIG_NAME  # if there is one
    if isinstance(config, Path) and store is None and not urls.are_named_in(config):
        config = None
    first = store or base or config
    if first is None or (base is None and settings.model_base_path is not None):
        return None
    bucket.check_installed(str(first))
    folder = cache.make_private(settings.store_cache or cache_folder.default(os.environ, "stores"))
    what = " ".join(str(each) for each in (store, base, config) if each is not None)
    root = cache.make_private(folder / cache.folder_name(what, bucket.endpoint(os.environ)))
    single = None if base is None else Wanted(settings.model_name, base, root)
    return Source(root, store, config, single)


def localise(settings: Settings, source: Source) -> Settings:
    """The settings of the same service before the copy."""
    if source.base is not None:
        return replace(settings, model_base_path=source.root)
    if source.store is not None:
        settings = replace(settings, store=source.root)
    return replace(settings, model_config_file=source.root / CONFIG_NAME) if source.config is not None else settings
