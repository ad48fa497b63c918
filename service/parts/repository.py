"""Models loaded and unloaded by name, as Triton's clients do it: changes to the configuration that is in force."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import grpc

from service.config.config_source import ConfigSource
from service.config.model_config import ModelConfig
from service.engine.local.engine import LocalEngine
from service.engine.remote.errors import VersionGone, in_our_words
from service.engine.remote.link import Link
from service.engine.remote.peers import Peer
from service.errors import DeadlineExceeded, NotFound, SettingsError, StoreError, Unavailable
from service.interface import Engine, State
from service.oip.messages import SERVICE, message

log = logging.getLogger(__name__)

# Seconds between checks of whether this process sees what the engine process has done.
_LOOK_S: Final = 0.05


class LocalRepository:
    """Changes what the local engines of the service serve; see `service.oip.repository.Repository`.

    A change lasts until the file of the configuration changes or the service stops.

    Args:
        source: what the engine reads.
        base: the same without what clients have put in place: the models that there are.
        engine: the engine of this process.
    """

    def __init__(self, source: ConfigSource, base: ConfigSource, engine: LocalEngine) -> None:
        """Change nothing yet."""
        self._source = source
        self._base = base
        self._engine = engine

    def load(self, name: str, timeout_s: float) -> None:
        """Serve a model; see `Repository.load`."""
        with self._changing():
            configs = _read(self._source)
            if name not in configs:
                known = _read(self._base)
                if name not in known:
                    raise NotFound(
                        f"failed to load {name!r}, there is no such model in the store or its configuration."
                    )
                self._replace([*configs.values(), known[name]])
        if not self._engine.settle(timeout_s):
            raise DeadlineExceeded(f"failed to load {name!r} within {timeout_s:.0f} s; it continues.")
        versions = self._engine.status().models.get(name, ())
        if not any(version.state is State.AVAILABLE for version in versions):
            why = next((version.error for version in versions if version.error), "its folder contains no version")
            raise Unavailable(f"failed to load {name!r}, {why}")

    def unload(self, name: str, timeout_s: float) -> None:
        """Serve a model no longer; see `Repository.unload`."""
        with self._changing():
            configs = _read(self._source)
            if name in configs:
                self._replace([config for config in configs.values() if config.name != name])
            elif name not in _read(self._base):
                raise NotFound(f"failed to unload {name!r}, there is no such model.")
        if not self._engine.settle(timeout_s):
            raise DeadlineExceeded(f"failed to unload {name!r} within {timeout_s:.0f} s; it continues.")

    def unloaded(self) -> Sequence[str]:
        """The models that could be loaded; see `Repository.unloaded`."""
        return unloaded(self._source, self._base)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        try:
            with self._source.changing():
                yield
        except StoreError as error:  # its path is nobody's business
            log.error("A model can't be loaded or unloaded: %s", error)
            raise Unavailable("The configuration can't be saved; the log says why.") from error

    def _replace(self, configs: Sequence[ModelConfig]) -> None:
        # What is read back is relative to another folder.
        self._source.replace(replace(config, base_path=Path.cwd() / config.base_path) for config in configs)


class ForwardedRepository:
    """Has the engine process of this service do it; see `service.oip.repository.Repository`.

    Args:
        address: where that process speaks gRPC.
        link: how calls reach it.
        engine: of this process, which is to see the change before a client is answered.
        source: what the engine process reads.
        base: the same without what clients have put in place.
    """

    def __init__(self, address: str, link: Link, *, engine: Engine, source: ConfigSource, base: ConfigSource) -> None:
        """Connect to nothing yet."""
        self._address = address
        self._link = link
        self._engine = engine
        self._source = source
        self._base = base

    def load(self, name: str, timeout_s: float) -> None:
        """Serve a model; see `Repository.load`."""
        self._ask("RepositoryModelLoad", name, timeout_s)
        self._see(lambda: self._serves(name), timeout_s)

    def unload(self, name: str, timeout_s: float) -> None:
        """Serve a model no longer; see `Repository.unload`."""
        self._ask("RepositoryModelUnload", name, timeout_s)
        self._see(lambda: not self._serves(name), timeout_s)

    def unloaded(self) -> Sequence[str]:
        """The models that could be loaded; see `Repository.unloaded`."""
        return unloaded(self._source, self._base)

    def _ask(self, rpc: str, name: str, timeout_s: float) -> None:
        request = message(f"{rpc}Request")(model_name=name)
        read: Callable[[bytes], Any] = message(f"{rpc}Response").FromString
        with self._link.open(self._address) as channel:
            call = channel.unary_unary(f"/{SERVICE}/{rpc}", type(request).SerializeToString, read)
            try:
                call(request, timeout=timeout_s, metadata=self._link.metadata)
            except grpc.RpcError as error:
                ours = in_our_words(error, Peer(self._address).shown)
                raise NotFound(str(ours)) if isinstance(ours, VersionGone) else ours from error

    def _see(self, is_seen: Callable[[], bool], timeout_s: float) -> None:
        until_s = time.monotonic() + timeout_s
        while not is_seen() and time.monotonic() < until_s:
            time.sleep(_LOOK_S)

    def _serves(self, name: str) -> bool:
        versions = self._engine.status().models.get(name, ())
        return any(version.state is State.AVAILABLE for version in versions)


def unloaded(source: ConfigSource, base: ConfigSource) -> list[str]:
    """The models of the base that are not in force; none where that can't be read now."""
    try:
        return sorted(_read(base).keys() - _read(source).keys())
    except Unavailable:
        return []


def _read(source: ConfigSource) -> dict[str, ModelConfig]:
    try:
        return {config.name: config for config in source.read()}
    except (SettingsError, StoreError) as error:  # the service's own; nothing that the client could mend
        log.error("Can't read what should be served: %s", error)
        raise Unavailable("The configuration or the store can't be read; the log says why.") from error
