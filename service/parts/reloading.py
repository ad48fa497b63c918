"""Another configuration while serving, as a client asks for it (TF Serving's HandleReloadConfigRequest)."""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc

from service import protocol
from service.config import model_config
from service.config.config_source import ConfigSource
from service.config.model_config import ModelConfig
from service.engine.local.engine import LocalEngine
from service.engine.remote.errors import in_our_words
from service.engine.remote.link import Link
from service.engine.remote.peers import Peer
from service.errors import DeadlineExceeded, NotFound, StoreError, Unavailable
from service.interface import ModelSpec, State, VersionStatus

log = logging.getLogger(__name__)

# Takes a ModelServerConfig message and the seconds that there are; returns when it is in force.
Reload = Callable[[Any, float], None]


def make_reload(source: ConfigSource, engine: LocalEngine, store: Path) -> Reload:
    """Make the function that puts another configuration in place.

    It is in force when the function returns: every model has the versions that it should have, in every process of the
    service.

    Args:
        source: what the engine reads; all processes of the service share its override.
        engine: the engine of this process.
        store: what relative base paths are relative to.

    Raises (the function that is made):
        SettingsError: the configuration has an error; nothing has changed.
        NotFound: the folder of a model is missing; nothing has changed.
        Unavailable: a model has no version that could be loaded, or a label stays at another version as the one that
            it should point at could not be; the others serve.
        DeadlineExceeded: it is in place, but not all is loaded yet.
    """

    def reload(message: Any, timeout_s: float) -> None:
        configs = model_config.read_message(message, store.resolve())
        for config in configs:
            if not _is_folder(config.base_path):
                raise NotFound(f"The model {config.name} has no folder at its base_path; nothing was changed.")
        try:
            with source.changing():
                source.replace(configs)
        except StoreError as error:  # its path is nobody's business
            log.error("A configuration that a client sent was not applied: %s", error)
            raise Unavailable("The configuration can't be saved; the log says why.") from error
        if not engine.settle(timeout_s):
            raise DeadlineExceeded(
                f"The configuration was applied, but not everything was loaded within {timeout_s:.0f} s."
            )
        status = engine.status()
        for config in configs:
            versions = status.models.get(config.name, ())
            if not any(version.state is State.AVAILABLE for version in versions):
                failed = (version.error for version in versions if version.error)
                why = next(failed, status.reasons.get(config.name, "its folder contains no version"))
                raise Unavailable(f"Model {config.name} could not be loaded: {why}")
            _check_labels(config, engine, versions)

    return reload


def _check_labels(config: ModelConfig, engine: LocalEngine, versions: Sequence[VersionStatus]) -> None:
    for label, number in config.labels.items():
        with suppress(NotFound), engine.lease(ModelSpec(config.name, label=label)) as servable:
            if servable.version != number:
                why = next((each.error for each in versions if each.version == number), "it is not in the store")
                raise Unavailable(
                    f"The label {label} of {config.name} stays at version {servable.version}; version {number} could "
                    f"not be loaded: {why}"
                )


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # too long, not to be looked at, or no path at all
        return False


def forward(address: str, link: Link) -> Reload:
    """Make the function that has another process of this service do it.

    Args:
        address: where that process speaks gRPC.
        link: how calls reach it.

    Raises (the function that is made): what that process says, in our words.
    """

    def reload(message: Any, timeout_s: float) -> None:
        request = protocol.model_management_pb2.ReloadConfigRequest(config=message)
        with link.open(address) as channel:
            stub = protocol.model_service_pb2_grpc.ModelServiceStub(channel)
            try:
                stub.HandleReloadConfigRequest(request, timeout=timeout_s, metadata=link.metadata)
            except grpc.RpcError as error:
                raise in_our_words(error, Peer(address).shown) from error

    return reload
