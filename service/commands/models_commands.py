"""`signpost models …`: look at a store's versions and labels, and change what is served.

The commands edit `models.config` by one rename; a running service takes the change up within a second.
"""

import json
import os
from pathlib import Path

import click
from rich.console import Console

from service import store
from service.commands import models_list
from service.config import config_edit
from service.config.config_edit import ConfigFile
from service.config.model_config import ModelConfig
from service.errors import InvalidRequest, LoadFailed, StoreError
from service.objects import urls


@click.group()
@click.option(
    "--store",
    "path",
    type=click.Path(path_type=Path),
    default=Path("model_store"),
    show_default=True,
    envvar="SIGNPOST_STORE",
    help="Folder of the models, or where they lie in object storage: s3://BUCKET/PREFIX.",
)
@click.option(
    "--model_config_file",
    "--model-config-file",
    "file",
    type=click.Path(path_type=Path),
    envvar="SIGNPOST_MODEL_CONFIG_FILE",
    help="The configuration, if it is not the store's models.config.",
)
@click.pass_context
def models(context: click.Context, path: Path, file: Path | None) -> None:
    """List, label, roll back, remove and verify the versions in a store."""
    if urls.is_url(path):
        from service.objects.editing import config_file  # only where it is needed

        context.obj = context.with_resource(config_file.opened(path, file))
    else:
        context.obj = ConfigFile(path, file)


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@click.option(
    "--url",
    default=lambda: models_list.address(os.environ),
    show_default="where `signpost serve` listens",
    help="The service to ask; an empty one asks none.",
)
@click.option("--api-key", default="", envvar="SIGNPOST_API_KEY", help="Key of the service; better as the variable.")
@click.pass_obj
def list_models(configs: ConfigFile, as_json: bool, url: str, api_key: str) -> None:
    """List every version: whether it serves, its labels and its measured accuracy.

    Where a service answers, it is asked what really serves; otherwise this is what would.
    """
    try:
        known = configs.read()
        served, note = models_list.ask(url, api_key.strip(), {config.name for config in known})
    except StoreError:  # none is here, but a service may run
        known = ()
        served, note = models_list.ask(url, api_key.strip(), None)
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
@click.option("--delete", is_flag=True, help="Take the label away.")
@click.pass_obj
def label(configs: ConfigFile, model: str, label: str, version: int | None, delete: bool) -> None:
    """Point LABEL at VERSION of MODEL."""
    if delete == (version is not None):
        raise InvalidRequest("Give either a version to point the label at, or --delete.")
    if version is None:
        configs.change(model, lambda config: config_edit.without_label(config, label))
        click.echo(f"{model} has no label {label} any more.")
    else:
        configs.change(model, lambda config: config_edit.with_label(config, label, version))
        click.echo(f"{label} of {model} is version {version}.")
    _tell_file(configs)


def _tell_file(configs: ConfigFile) -> None:
    """Say what changes with a first configuration, which nobody may have thought of."""
    if configs.was_made:
        file = configs.shown(str(configs.file))
        click.echo(f"{file} now says which models are served; add further ones to it.", err=True)


@models.command()
@click.argument("model")
@click.option("--to", type=click.IntRange(0), help="The version to go back to; the one before by default.")
@click.pass_obj
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
@click.pass_obj
def latest(configs: ConfigFile, model: str) -> None:
    """Serve the latest version of MODEL, also when a newer one is published."""
    changed = configs.change(model, config_edit.following_latest)
    click.echo(f"{model} serves its latest version, now {config_edit.serving_version(changed)}.")
    _tell_file(configs)


@models.command()
@click.argument("model")
@click.argument("version", type=click.IntRange(0))
@click.pass_obj
def remove(configs: ConfigFile, model: str, version: int) -> None:
    """Delete VERSION of MODEL, unless it serves or a label points at it."""
    changed = configs.change(model, lambda config: config_edit.without_version(config, version))
    configs.delete(changed, version)
    click.echo(f"Version {version} of {model} is deleted.")


@models.command()
@click.argument("model")
@click.pass_obj
def verify(configs: ConfigFile, model: str) -> None:
    """Load MODEL, or MODEL/VERSION, on this machine and check its recorded scores."""
    name, _, number = model.partition("/")
    config = configs.model(name)
    if number and not number.isdigit():
        raise InvalidRequest(f"{number!r} is no version; write MODEL or MODEL/VERSION.")
    version = int(number) if number else config_edit.serving_version(config)
    folder = config.look().versions.get(version)
    if folder is None:
        raise LoadFailed(
            configs.shown(
                f"{config.base_path / str(version)} is no version: it is missing or has no {store.SAVED_MODEL}."
            )
        )
    from service.engine.batching.parameters import BatchingParameters
    from service.engine.tf import loading  # TensorFlow, only for this command
    from service.engine.tf.device import DeviceSettings

    folder = configs.whole(folder)
    loading.load(folder, name, version, BatchingParameters(), DeviceSettings()).close()
    checked = "its recorded scores hold" if (folder / store.GOLDEN).is_file() else "it has no recorded scores to check"
    click.echo(f"{name}/{version} loads and runs; {checked}.")
