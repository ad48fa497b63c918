"""The commands `signpost train` and `signpost evaluate`.

Importing this is quick: Keras comes in when there is something to train, after all that was asked for has been checked
and the images have been read.
"""

import errno
import importlib.util
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click

from service.telemetry.tensorflow_noise import held_back
from training import recipes
from training.data.class_folders import Level
from training.data.request import Request
from training.errors import Interrupted, TrainingError
from training.recipe import PRECISIONS, Recipe

_PATH = click.Path(path_type=Path)


def _cache() -> str:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return str(Path(base).expanduser() / "signpost")


_DATA = click.option(
    "--data", type=_PATH, multiple=True, help="Folder, zip archive or file with the images; may be repeated."
)
_CACHE = click.option(
    "--cache",
    type=_PATH,
    default=_cache,
    envvar="SIGNPOST_CACHE",
    show_default="~/.cache/signpost",
    help="Folder for decoded pixels and downloads.",
)


def _check_extra() -> None:
    """Ask for what only training needs, before anything is read.

    Raises:
        TrainingError: it is not installed.
    """
    missing = [name for name in ("keras", "matplotlib") if importlib.util.find_spec(name) is None]
    if missing:
        raise TrainingError(
            f"Training and its reports need {' and '.join(missing)}: pip install 'signpost-serving[train]'; in a "
            "checkout `make train` installs it."
        )


@contextmanager
def _quietly() -> Iterator[None]:
    """Import Keras without what TensorFlow tells of the processor, and, later, of graphs that it traces again."""
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with held_back():
        yield


@contextmanager
def _told() -> Iterator[None]:
    """Tell in a sentence what stops a command from outside."""
    try:
        yield
    except KeyboardInterrupt as error:  # outside of `fit`, which says more
        raise Interrupted("Stopped; nothing was published.") from error
    except OSError as error:
        if error.errno == errno.EPIPE:  # nobody reads what is printed: Click ends quietly
            raise
        where = f": {error.filename}" if error.filename else ""
        raise TrainingError(f"Can't continue: {error.strerror or error}{where}.") from error


def _prepare_backends() -> None:
    """Set what TensorFlow and JAX read when they are imported, unless the user has."""
    # A GPU's memory is taken as it is needed: others may use it, a service most of all.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


class _Train(click.Command):
    """A command that lists the recipes."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Recipes"):
            formatter.write_dl(list(recipes.summaries()))
        super().format_options(ctx, formatter)


@click.command(cls=_Train)
@click.argument("recipe", metavar="RECIPE", type=click.Choice(recipes.NAMES))
@_DATA
@click.option(
    "--class-folders",
    type=click.Choice(["outer", "inner"]),
    help="Which folders are the classes, if folders are nested and it is not clear.",
)
@click.option("--store", type=_PATH, default="model_store", show_default=True, help="Where to publish the model.")
@click.option("--name", help="Name of the model; the recipe's own by default.")
@click.option("--epochs", type=click.IntRange(0), help="Epochs, instead of the recipe's.")
@click.option("--batch-size", type=click.IntRange(1), help="Images per step, instead of the recipe's.")
@click.option(
    "--learning-rate", type=click.FloatRange(0, min_open=True), help="Peak learning rate, instead of the recipe's."
)
@click.option(
    "--precision", type=click.Choice(PRECISIONS), help="Numeric precision of the training, instead of the recipe's."
)
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Override any setting of the recipe.")
@click.option("--samples", type=click.IntRange(1), help="Images to draw, for the recipes that draw their own.")
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Random seed; the same seed gives the same numbers.",
)
@click.option("--report", type=_PATH, help="Folder for the report; reports/NAME by default.")
@_CACHE
@click.option("--checkpoints", type=_PATH, help="Folder for this run's checkpoint; by default under --cache.")
@click.option("--weights", type=_PATH, help="Initial weights: a model in the store, or the backbone's file.")
@click.option(
    "--outsiders",
    type=_PATH,
    multiple=True,
    help="Folder or zip of images of other things, to teach the model what is out of domain; may be repeated.",
)
@click.option(
    "--quantize",
    type=click.Choice(["int8"]),
    help="Publish the network in 8 bits too, which OpenVINO runs; it is calibrated on training images.",
)
@click.option(
    "--quantize-loss",
    type=click.FloatRange(0, 1),
    default=0.003,
    show_default=True,
    help="How much of the accuracy on the test images that may cost; nothing is published if it costs more.",
)
@click.option("--teacher", type=_PATH, help="A model in a store whose scores are learned beside the labels.")
@click.option("--tensorboard", type=_PATH, help="Folder for TensorBoard's logs.")
@click.option("--find-rate", is_flag=True, help="Suggest a learning rate and stop, instead of training.")
@click.option("--resume", is_flag=True, help="Resume from the checkpoint of an interrupted run.")
def train(
    recipe: str,
    data: tuple[Path, ...],
    class_folders: Level | None,
    store: Path,
    name: str | None,
    epochs: int | None,
    batch_size: int | None,
    learning_rate: float | None,
    precision: str | None,
    settings: tuple[str, ...],
    samples: int | None,
    seed: int,
    report: Path | None,
    cache: Path,
    checkpoints: Path | None,
    weights: Path | None,
    outsiders: tuple[Path, ...],
    quantize: str | None,
    quantize_loss: float,
    teacher: Path | None,
    tensorboard: Path | None,
    find_rate: bool,
    resume: bool,
) -> None:
    """Train RECIPE, evaluate it once on its test images, and publish the next version in the store."""
    _check_extra()
    _prepare_backends()
    from training import options as run_options
    from training.loop import progress

    chosen = _chosen(recipe, settings, epochs, batch_size, learning_rate, precision)
    name = name or chosen.model
    options = run_options.Options(
        data=data,
        store=store,
        name=name,
        seed=seed,
        samples=samples,
        report=report or Path("reports") / name,
        cache=cache,
        checkpoints=checkpoints or cache / "checkpoints" / name,
        resume=resume,
        weights=weights,
        tensorboard=tensorboard,
        class_folders=class_folders,
        find_rate=find_rate,
        outsiders=outsiders,
        quantize=quantize,
        quantize_loss=quantize_loss,
        teacher=teacher,
    )
    with _told(), progress.for_terminal() as shown:
        run_options.check(chosen, options)
        images = chosen.load(Request(data, seed, samples, cache, shown.say, class_folders, outsiders))
        with _quietly():
            from training import run  # and with it Keras

        if find_rate:
            run.find_rate(chosen, options, images, shown)
        else:
            run.train(recipe, chosen, options, images, shown)


def _chosen(
    name: str,
    settings: tuple[str, ...],
    epochs: int | None,
    batch_size: int | None,
    learning_rate: float | None,
    precision: str | None,
) -> Recipe:
    from training.overrides import override
    from training.schedule import stretch

    recipe = recipes.get(name)
    for setting in settings:
        recipe = override(recipe, setting)
    if epochs is not None:
        recipe = replace(recipe, phases=stretch(recipe.phases, epochs))
    if batch_size is not None:
        recipe = replace(recipe, batch_size=batch_size)
    if learning_rate is not None:
        recipe = replace(recipe, learning_rate=learning_rate)
    if precision is not None:
        recipe = replace(recipe, precision=precision)
    return recipe


@click.command()
@click.argument("model", metavar="MODEL[/VERSION]")
@_DATA
@click.option("--store", type=_PATH, default="model_store", show_default=True, help="Where the model is.")
@click.option("--report", type=_PATH, help="Folder for the report; reports/MODEL-VERSION by default.")
@_CACHE
def evaluate(model: str, data: tuple[Path, ...], store: Path, report: Path | None, cache: Path) -> None:
    """Evaluate a version of the store on labelled images, and write a report.

    The latest version is taken when none is named. What the data call their test part is used, or else all of them.
    """
    _check_extra()
    _prepare_backends()
    from training import judge_options

    with _told(), judge_options.reading(store) as (folder, whole):
        options = judge_options.Options(model, data, folder, report, cache)
        version = whole(judge_options.check(options))
        with _quietly():
            from training import judge  # and with it Keras

        judge.evaluate_version(version, options, click.echo)
