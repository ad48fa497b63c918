"""The settings of a replica: `args` of `serve.yaml`, and SIGNPOST_* variables where those say nothing."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import click

from service.commands import cli
from service.config import settings as service_settings
from service.config import shape
from service.config.settings import Settings
from service.errors import SettingsError
from service.objects import urls

# What has a meaning in a replica: whole sections of the settings, and some of others. Ray has the sockets.
_SECTIONS: Final = ("Models", "Batches and queues", "TensorFlow")
_OTHERS: Final = (
    "threads",
    "grpc_max_threads",
    "enable_serialization_as_tensor_content",
    "max_body_bytes",
    "max_images",
    "max_image_bytes",
    "max_image_pixels",
    "rest_api_timeout_in_ms",
    "api_keys_file",
    "api_keys",
    "log_level",
    "log_format",
    "access_log",
)


def known() -> tuple[str, ...]:
    """The settings that `args` may hold."""
    sections = service_settings.sections()
    return (*(setting.name for title in _SECTIONS for setting in sections[title]), *_OTHERS)


def read(args: Mapping[str, Any]) -> Settings:
    """The settings that `args` and the environment make.

    Raises:
        SettingsError: a name that is not a setting of a replica, or a value that it can't have.
    """
    for name, value in args.items():
        if name not in known():
            raise SettingsError(
                f"args of the Ray application: {name!r} is not a setting of a replica; docs/ray.md lists them."
            )
        if not isinstance(value, str | bool | int | float):
            raise SettingsError(
                f"args of the Ray application: {name} must be text, a number or a boolean, not {value!r}."
            )
    try:
        with cli.serve.make_context("signpost", [f"--{name}={value}" for name, value in args.items()]) as context:
            values = {setting.name: context.params[setting.name] for setting in service_settings.each_setting()}
    except click.ClickException as error:
        raise SettingsError(f"args of the Ray application: {error.format_message()}") from error
    return Settings(**values)


def for_replica(settings: Settings, cpus: float) -> Settings:
    """The settings with what a replica chooses: one local engine that uses the CPUs which Ray has set aside for it.

    Raises:
        SettingsError: the folder of the models is not named in full, or is none.
    """
    folders = (settings.model_config_file, settings.model_base_path)
    folder = next((each for each in folders if each is not None), settings.store)
    if urls.is_url(folder):  # the process that would copy it is forked, which Ray's processes can't be
        raise SettingsError(
            f"A replica under Ray Serve can't read {urls.written(folder)} directly; mount it on every machine "
            "and give the folder."
        )
    if not folder.is_absolute():
        raise SettingsError(
            f"The folder of the models ({folder}) must start with /, as replicas run on any machine of the cluster; "
            "set store in args of the Ray application, or SIGNPOST_STORE."
        )
    threads = settings.tensorflow_threads or max(1, int(cpus))
    settings = replace(settings, engine="local", workers=1, tensorflow_threads=threads)
    return shape.choose(settings, shape.look())
