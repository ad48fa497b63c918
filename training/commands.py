"""The commands `signpost train` and `signpost evaluate`.

Importing this is quick: Keras comes in when there is something to train, after all that was asked for has been checked
and the images have been read.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click

from training import recipes
from training.data.class_folders import Level
from training.data.request import Request
from training.errors import Interrupted, TrainingError
from training.recipe import Recipe

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
        raise TrainingError(f"It can't go on: {error.strerror or error}{where}.") from error


@click.command()
@click.argument("recipe", type=click.Choice(recipes.NAMES))
@_DATA
@click.option(
    "--class-folders",
    type=click.Choice(["outer", "inner"]),
    help="Which folders are the classes, where folders lie in folders and it is not clear.",
)
@click.option("--store", type=_PATH, default="model_store", show_default=True, help="Where to publish the model.")
@click.option("--name", help="Name of the model; the recipe's own by default.")
@click.option("--epochs", type=click.IntRange(0), help="Epochs, instead of the recipe's.")
@click.option("--batch-size", type=click.IntRange(1), help="Images per step, instead of the recipe's.")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), help="Highest rate, instead of the recipe's.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Change any choice of the recipe.")
@click.option("--samples", type=click.IntRange(1), help="Images to draw, for the recipes that draw their own.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="The same seed gives the same numbers."
)
@click.option("--report", type=_PATH, help="Folder for the report; reports/NAME by default.")
@_CACHE
@click.option("--checkpoints", type=_PATH, help="Folder for this run's checkpoint; by default below --cache.")
@click.option("--weights", type=_PATH, help="Begin with these: a model in the store, or the backbone's file.")
@click.option(
    "--outsiders",
    type=_PATH,
    multiple=True,
    help="Folder or zip of images of other things, from which the model learns what it does not know; may be repeated.",
)
@click.option("--tensorboard", type=_PATH, help="Folder for TensorBoard's logs.")
@click.option("--find-rate", is_flag=True, help="Suggest a learning rate and stop, instead of training.")
@click.option("--resume", is_flag=True, help="Go on from the checkpoint of an interrupted run.")
def train(
    recipe: str,
    data: tuple[Path, ...],
    class_folders: Level | None,
    store: Path,
    name: str | None,
    epochs: int | None,
    batch_size: int | None,
    learning_rate: float | None,
    settings: tuple[str, ...],
    samples: int | None,
    seed: int,
    report: Path | None,
    cache: Path,
    checkpoints: Path | None,
    weights: Path | None,
    outsiders: tuple[Path, ...],
    tensorboard: Path | None,
    find_rate: bool,
    resume: bool,
) -> None:
    """Train RECIPE, evaluate it once on its test images, and publish the next version in the store."""
    # TensorFlow tells about oneDNN and the processor on every start; nobody who trains needs that.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from training import options as run_options
    from training.loop import progress

    chosen = _chosen(recipe, settings, epochs, batch_size, learning_rate)
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
    )
    with _told(), progress.for_terminal() as shown:
        run_options.check(chosen, options)
        images = chosen.load(Request(data, seed, samples, cache, shown.say, class_folders, outsiders))
        from training import run  # and with it Keras

        if find_rate:
            run.find_rate(chosen, options, images, shown)
        else:
            run.train(recipe, chosen, options, images, shown)


def _chosen(
    name: str, settings: tuple[str, ...], epochs: int | None, batch_size: int | None, learning_rate: float | None
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
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from training import judge_options

    options = judge_options.Options(model, data, store, report, cache)
    with _told():
        version = judge_options.check(options)
        from training import judge  # and with it Keras

        judge.evaluate_version(version, options, click.echo)
