"""The command `signpost train`. Importing this is quick: Keras comes in when a training starts."""

import os
from dataclasses import replace
from pathlib import Path

import click

from training import recipes

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


@click.command()
@click.argument("recipe", type=click.Choice(recipes.NAMES))
@_DATA
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
@click.option("--tensorboard", type=_PATH, help="Folder for TensorBoard's logs.")
@click.option("--find-rate", is_flag=True, help="Suggest a learning rate and stop, instead of training.")
@click.option("--resume", is_flag=True, help="Go on from the checkpoint of an interrupted run.")
def train(
    recipe: str,
    data: tuple[Path, ...],
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
    tensorboard: Path | None,
    find_rate: bool,
    resume: bool,
) -> None:
    """Train RECIPE, evaluate it once on its test images, and publish the next version in the store."""
    # TensorFlow tells about oneDNN and the processor on every start; nobody who trains needs that.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from training import progress, run
    from training.overrides import override
    from training.schedule import stretch

    chosen = recipes.get(recipe)
    for setting in settings:
        chosen = override(chosen, setting)
    if epochs is not None:
        chosen = replace(chosen, phases=stretch(chosen.phases, epochs))
    if batch_size is not None:
        chosen = replace(chosen, batch_size=batch_size)
    if learning_rate is not None:
        chosen = replace(chosen, learning_rate=learning_rate)
    name = name or chosen.model
    options = run.Options(
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
    )
    with progress.for_terminal() as shown:
        if find_rate:
            run.find_rate(chosen, options, shown)
        else:
            run.train(recipe, chosen, options, shown)


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
    from training import judge

    judge.evaluate_version(judge.Options(model, data, store, report, cache), click.echo)
