"""How a service is to run: its settings, with what the texts and files among them say.

The launcher makes it once, before anything is started, and every process that it forks works by it. So what is wrong
is told once, at the start, and a worker that is replaced meets no file that has changed meanwhile. Only what is meant
to change while serving is read again: the models' configuration, the files of keys and of certificates.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from service.config import cache_folder
from service.config.settings import Settings
from service.engine.batching import objective
from service.engine.batching.objective import Objective
from service.engine.batching.parameters import BatchingParameters
from service.engine.canary import parse_shares
from service.engine.remote import link
from service.engine.remote.link import Link
from service.engine.runtimes import asked
from service.parts import batching_config, monitoring_config
from service.rpc import config
from service.rpc.config import ChannelArgument, TlsConfig
from service.security import access, tls
from service.security.access import KeyRules
from service.security.tls import TlsFiles

_RUNTIMES: Final = "runtimes"


@dataclass(frozen=True)
class Plan:
    """How a service is to run; nothing in it is of gRPC's core, which must be made after the fork.

    Attributes:
        settings: as they were told: what needs no reading.
        tags: of the graph to serve.
        canary_shares: by model's name; the name "" stands for every other model.
        batching: how requests are batched; None where they are not.
        runtimes: what runs models, by model's name; the name "" stands for every other model.
        runtimes_folder: where is kept which runtime was the fastest.
        objectives: the latency to keep, by model's name; the name "" stands for every other model.
        engine_models: models behind engines elsewhere that can't list them.
        engine_link: how calls reach engines elsewhere.
        keys: who is let in.
        tls: the files that HTTP and gRPC speak TLS with; None where they speak plain text.
        grpc_tls: what counts for gRPC instead, as TF Serving's file says it.
        grpc_arguments: for gRPC's core.
        monitoring_path: where TF Serving's metrics are shown; None where they are not.
    """

    settings: Settings
    tags: tuple[str, ...]
    canary_shares: Mapping[str, float]
    batching: BatchingParameters | None
    runtimes: Mapping[str, str]
    runtimes_folder: Path
    objectives: Mapping[str, Objective]
    engine_models: tuple[str, ...]
    engine_link: Link
    keys: KeyRules
    tls: TlsFiles | None
    grpc_tls: TlsConfig | None
    grpc_arguments: tuple[ChannelArgument, ...]
    monitoring_path: str | None


def make(settings: Settings) -> Plan:
    """Read and check what the settings say.

    Args:
        settings: with what `service.config.shape` has chosen.

    Raises:
        SettingsError: one has an error, or names a file that can't be used.
    """
    config.check_socket_path(settings.grpc_socket_path)
    return Plan(
        settings=settings,
        tags=_listed(settings.saved_model_tags),
        canary_shares=parse_shares(settings.canary_share),
        batching=batching_config.from_settings(settings),
        runtimes=asked.parse(settings.runtime),
        runtimes_folder=_runtimes_folder(settings),
        objectives=objective.parse(settings.latency_objective),
        grpc_arguments=config.parse_channel_arguments(settings.grpc_channel_arguments),
        grpc_tls=config.read_tls(settings.ssl_config_file),
        keys=access.read(settings),
        tls=tls.from_settings(settings),
        engine_models=_listed(settings.engine_models),
        engine_link=link.read(settings.engine_api_key_file, settings.engine_tls_ca_file),
        monitoring_path=monitoring_config.read_path(settings.monitoring_config_file),
    )


def _runtimes_folder(settings: Settings) -> Path:
    if settings.store_cache is not None:
        return settings.store_cache / _RUNTIMES
    return cache_folder.default(os.environ, _RUNTIMES)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
