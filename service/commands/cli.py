"""The command `signpost`: serve, train and what goes with them.

Commands are imported when they are asked for, so that `signpost --help` does not wait for Keras.
"""

import importlib
import os
import platform
from contextlib import suppress
from dataclasses import Field
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any, Final

import click

from service.config import settings as service_settings
from service.config import tf_serving_flags
from service.config.settings import Settings
from service.errors import SignpostError
from service.version import __version__

# Commands of other packages: module and attribute.
_ELSEWHERE: Final = {
    "evaluate": ("training.commands", "evaluate"),
    "init": ("service.commands.init_command", "init"),
    "keys": ("service.commands.keys_command", "group"),
    "loadtest": ("loadtests.command", "loadtest"),
    "models": ("service.commands.models_commands", "models"),
    "predict": ("service.commands.predict_command", "predict"),
    "train": ("training.commands", "train"),
}


# A flag of true or false: `--enable_batching` is `--enable_batching=true`.
_MAY_STAND_ALONE: Final[dict[str, Any]] = {"is_flag": False, "flag_value": "true"}


class _Refusal(click.ClickException):
    """An error of ours on its way to the shell."""

    exit_code = 2


class _Path(click.Path):
    """A path; an empty one is none, as in TF Serving (`--model_config_file=`)."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(value, param, ctx) if value != "" else None


class _Number(click.ParamType[int]):
    """A whole number, or auto."""

    name = "integer or auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if value in ("auto", service_settings.AUTO):
            return service_settings.AUTO
        number: int = click.IntRange(0).convert(value, param, ctx)
        return number


class _Switch(click.ParamType[str]):
    """True or false in any of the ways to write them, or auto."""

    name = "boolean or auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return "auto" if str(value).lower() == "auto" else str(click.BOOL.convert(value, param, ctx)).lower()


class _Group(click.Group):
    """A group whose commands may live in packages that are slow to import; errors of ours end with exit code 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_ELSEWHERE})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _ELSEWHERE:
            module, attribute = _ELSEWHERE[cmd_name]
            command: click.Command = getattr(importlib.import_module(module), attribute)
            return command
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SignpostError as error:
            raise _Refusal(str(error)) from error


class _Serve(click.Command):
    """A command that lists its options under the sections of the settings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options = {option.name: option.get_help_record(ctx) for option in self.get_params(ctx)}
        sections = {
            title: [options.pop(setting.name) for setting in settings]
            for title, settings in service_settings.sections().items()
        }
        for title, records in {**sections, "Other options": list(options.values())}.items():
            with formatter.section(title):
                formatter.write_dl([record for record in records if record is not None])


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="signpost")
def main() -> None:
    """Train image classifiers and serve SavedModels over HTTP and gRPC."""


def _setting_options(command: Any) -> Any:
    """Give a command an option for each setting."""
    for setting in reversed(list(service_settings.each_setting())):
        default = service_settings.default_of(setting)
        stands_alone = isinstance(setting.default, bool) or setting.metadata["switch"]
        command = click.option(
            *service_settings.flags(setting),
            setting.name,
            type=_kind(setting),
            default=default,
            show_default=default is not None,
            envvar=service_settings.variable(setting),
            help=setting.metadata["help"],
            **(_MAY_STAND_ALONE if stands_alone else {}),
        )(command)
    return command


def _kind(setting: Field[Any]) -> Any:
    """What click reads the values of a setting with."""
    if "Path" in str(setting.type):
        return _Path(path_type=Path)
    if setting.metadata["switch"]:
        return _Switch()
    return _Number() if setting.metadata["auto"] and isinstance(setting.default, int) else type(setting.default)


def _unneeded_options(command: Any) -> Any:
    """Give a command the flags that TF Serving has and Signpost does not need; they set nothing."""
    for each in tf_serving_flags.FLAGS:
        if not each.setting:
            command = click.option(
                f"--{each.name}",
                hidden=True,
                expose_value=False,
                callback=_tell_unneeded,
                type=str,
                **(_MAY_STAND_ALONE if each.boolean else {}),
            )(command)
    return command


def _tell_unneeded(_context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    each = next(each for each in tf_serving_flags.FLAGS if each.name == parameter.name)
    if value is None or (each.refused and value.lower() == "false"):
        return
    if each.refused:
        raise _Refusal(f"--{each.name} is not supported: {each.says}.")
    click.echo(f"Warning: --{each.name} is not needed and is ignored: {each.says}.", err=True)


@main.command()
def version() -> None:
    """Print the version of Signpost, and of what it stands on."""
    click.echo(f"signpost {__version__}")
    click.echo(f"Python {platform.python_version()}")
    for name in ("tensorflow", "keras", "numpy", "grpcio", "gunicorn", "flask"):
        with suppress(PackageNotFoundError):
            click.echo(f"{name} {installed_version(name)}")


# `--rest-api-port` and `--rest_api_port` are the same flag.
@main.command(cls=_Serve, context_settings={"token_normalize_func": lambda token: token.replace("-", "_")})
@_setting_options
@click.option("--no-playground", is_flag=True, help="The same as --playground=false.")
@_unneeded_options
@click.version_option(__version__, prog_name="signpost")
def serve(no_playground: bool, **values: Any) -> None:
    """Serve the models of a store over HTTP and gRPC.

    Every option can also be set by the environment variable SIGNPOST_<OPTION>, e.g. SIGNPOST_REST_API_PORT.
    """
    for name in service_settings.unknown_variables(os.environ):
        click.echo(f"Warning: {name} is not a setting of Signpost and is ignored.", err=True)
    from service.process import launcher  # gunicorn, only for this command

    if no_playground:
        values["playground"] = False
    launcher.serve(Settings(**values))
