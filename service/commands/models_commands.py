"""`signpost models …`: look at a store's versions and labels, and change what is served.

The commands edit `models.config` by one rename; a running service takes the change up within a second.
"""

import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import click
from click.core import ParameterSource
from rich.console import Console

from service import store
from service.commands import client, models_list
from service.config import config_edit
from service.config.config_edit import ConfigFile
from service.config.model_config import ModelConfig
from service.errors import InvalidRequest, LoadFailed, StoreError
from service.objects import urls


def _store_options(command: Any) -> Any:
    """Give a command the options that say which store it is about."""
    for option in (
        click.option(
            "--model_config_file",
            "--model-config-file",
            "file",
            type=click.Path(path_type=Path),
            envvar="SIGNPOST_MODEL_CONFIG_FILE",
            help="The configuration, if it is not the store's models.config.",
        ),
        click.option(
            "--store",
            "path",
            type=click.Path(path_type=Path),
            envvar="SIGNPOST_STORE",
            show_default="model_store",
            help="Folder of the models, or their address in object storage: s3://BUCKET/PREFIX.",
        ),
    ):
        command = option(command)
    return command


@click.group()
@_store_options
@click.pass_context
def models(context: click.Context, path: Path | None, file: Path | None) -> None:
    """List, label, roll back, remove and verify the versions in a store."""
    context.obj = (path, file)


def _of_a_store(command: Callable[..., None]) -> Callable[..., None]:
    """Hand a subcommand the configuration of its store, which may be named before the subcommand or behind it."""

    @_store_options
    @click.pass_context
    @functools.wraps(command)
    def run(context: click.Context, /, path: Path | None, file: Path | None, **values: Any) -> None:
        before, file_before = context.obj
        if context.get_parameter_source("path") is not ParameterSource.COMMANDLINE:
            path = before
        if context.get_parameter_source("file") is not ParameterSource.COMMANDLINE:
            file = file_before
        command(_config_file(context, path or Path("model_store"), file), **values)

    return cast("Callable[..., None]", run)


def _config_file(context: click.Context, path: Path, file: Path | None) -> ConfigFile:
    """The configuration of a store, in a folder or in a bucket, for as long as the command runs."""
    if not urls.is_url(path):
        return ConfigFile(path, file)
    from service.objects.editing import config_file  # only where it is needed

    return context.with_resource(config_file.opened(path, file))


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@click.option(
    "--url",
    default=lambda: models_list.address(os.environ),
    show_default="where `signpost serve` listens",
    help="The service to ask; empty asks none.",
)
@click.option(
    "--api-key",
    default="",
    envvar="SIGNPOST_API_KEY",
    help="API key of the service; safer as the environment variable.",
)
@click.option("--cacert", type=client.CA_FILE, help="CA certificates to trust, in PEM format, for an https:// address.")
@_of_a_store
def list_models(configs: ConfigFile, as_json: bool, url: str, api_key: str, cacert: Path | None) -> None:
    """List every version: whether it serves, its labels and its measured accuracy.

    Where a service answers, it is asked what really serves; otherwise this is what would.
    """
    try:
        known = configs.read()
        served, note = models_list.ask(url, api_key.strip(), {config.name for config in known}, cacert)
    except StoreError:  # none is here, but a service may run
        known = ()
        served, note = models_list.ask(url, api_key.strip(), None, cacert)
        if served is None:
            raise
    rows = models_list.rows(known, served)
    if as_json:
        click.echo(configs.shown(json.dumps(rows, indent=1)))
    else:
        Console().print(models_list.table(rows))
        for error in models_list.errors(rows):
            click.echo(configs.shown(error))
    if note:
        click.echo(note, err=True)


@models.command()
@click.argument("model")
@click.argument("label")
@click.argument("version", type=click.IntRange(0), required=False)
@click.option("--delete", is_flag=True, help="Remove the label.")
@_of_a_store
def label(configs: ConfigFile, model: str, label: str, version: int | None, delete: bool) -> None:
    """Point LABEL at VERSION of MODEL."""
    if delete == (version is not None):
        raise InvalidRequest("Give either a version to point the label at, or --delete.")
    if version is None:
        configs.change(model, lambda config: config_edit.without_label(config, label))
        click.echo(f"{model} no longer has the label {label}.")
    else:
        configs.change(model, lambda config: config_edit.with_label(config, label, version))
        click.echo(f"{label} of {model} is version {version}.")
    _tell_file(configs)


def _tell_file(configs: ConfigFile) -> None:
    """Say what changes with a first configuration, which nobody may have thought of."""
    if configs.was_made:
        file = configs.shown(str(configs.file))
        click.echo(f"{file} now lists the models that are served; add more there.", err=True)


@models.command()
@click.argument("model")
@click.option("--to", type=click.IntRange(0), help="The version to go back to; by default the previous one.")
@_of_a_store
def rollback(configs: ConfigFile, model: str, to: int | None) -> None:
    """Serve the version of MODEL before the one that serves now; the label `stable` moves along."""
    moved: list[int] = []

    def edit(config: ModelConfig) -> ModelConfig:
        changed, *moved[:] = config_edit.rolled_back(config, to)
        return changed

    configs.change(model, edit)
    click.echo(
        f"{model} serves version {moved[1]} instead of {moved[0]}; `signpost models latest {model}` follows the "
        "latest version again."
    )
    _tell_file(configs)


@models.command()
@click.argument("model")
@_of_a_store
def latest(configs: ConfigFile, model: str) -> None:
    """Serve the latest version of MODEL, also when a newer one is published."""
    changed = configs.change(model, config_edit.following_latest)
    click.echo(f"{model} serves its latest version, now {config_edit.serving_version(changed)}.")
    _tell_file(configs)


@models.command()
@click.argument("model")
@click.argument("version", type=click.IntRange(0))
@_of_a_store
def remove(configs: ConfigFile, model: str, version: int) -> None:
    """Delete VERSION of MODEL, unless it serves or a label points at it."""
    changed = configs.change(model, lambda config: config_edit.without_version(config, version))
    configs.delete(changed, version)
    click.echo(f"Version {version} of {model} is deleted.")


@models.command()
@click.argument("model")
@_of_a_store
def verify(configs: ConfigFile, model: str) -> None:
    """Load MODEL, or MODEL/VERSION, on this machine and check its recorded scores."""
    name, _, number = model.partition("/")
    config = configs.model(name)
    if number and not number.isdigit():
        raise InvalidRequest(f"{number!r} is not a version; write MODEL or MODEL/VERSION.")
    version = int(number) if number else config_edit.serving_version(config)
    folder = config.look().versions.get(version)
    if folder is None:
        raise LoadFailed(
            configs.shown(
                f"{config.base_path / str(version)} is not a version: it is missing or has no {store.SAVED_MODEL}."
            )
        )
    from service.engine.batching.parameters import BatchingParameters
    from service.engine.tf import loading  # TensorFlow, only for this command
    from service.engine.tf.device import DeviceSettings

    folder = configs.whole(folder)
    loading.load(folder, name, version, BatchingParameters(), DeviceSettings()).close()
    checked = (
        "its recorded scores are reproduced"
        if (folder / store.GOLDEN).is_file()
        else "it has no recorded scores to check"
    )
    click.echo(f"{name}/{version} loads and runs; {checked}.")
