"""A whole training run in one page: read, split, fit, evaluate once, draw, publish."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from service import store as model_store
from service.errors import StoreError
from training import architectures, evaluate, export, figures, initial
from training.card import card
from training.datasets import split
from training.errors import Interrupted
from training.fit import fit, set_weights
from training.folding import fold
from training.progress import Progress
from training.recipe import Recipe, Request


@dataclass(frozen=True)
class Options:
    """What the user says about a run beyond the recipe.

    Attributes:
        data: sources of images.
        store: where to publish.
        name: of the model.
        seed: the same seed gives the same numbers.
        samples: how many images to draw, for recipes that draw.
        report: folder for figures and the model card, or None.
        cache: folder for decoded pixels and downloads.
        checkpoints: folder of this run's checkpoint.
        resume: go on from it.
        weights: a version in the store to begin with, or None.
    """

    data: tuple[Path, ...]
    store: Path
    name: str
    seed: int
    samples: int | None
    report: Path | None
    cache: Path
    checkpoints: Path
    resume: bool
    weights: Path | None = None


def train(recipe_name: str, recipe: Recipe, options: Options, progress: Progress) -> int:
    """Train a recipe and publish the result.

    Returns:
        The number of the new version.

    Raises:
        SignpostError: bad data or options, an unwritable store, numbers that went wrong, or Ctrl-C.
    """
    _check_writable(options.store)
    try:
        return _train(recipe_name, recipe, options, progress)
    except KeyboardInterrupt as error:  # outside of `fit`, which says more
        raise Interrupted("Stopped; nothing was published.") from error


def _train(recipe_name: str, recipe: Recipe, options: Options, progress: Progress) -> int:
    data = recipe.load(Request(options.data, options.seed, options.samples, options.cache, progress.say))
    training, validation = split(data.train, recipe.validation, options.seed)
    classes = training.classes
    progress.say(
        f"{recipe_name}: {len(classes)} classes, {len(training)} images to learn from, "
        f"{len(validation)} for validation, {len(data.test)} for the test."
    )
    for fact, value in data.facts.items():
        if value:
            progress.say(f"{fact.replace('_', ' ')}: {value}")
    fitted = fit(
        recipe,
        training,
        validation,
        seed=options.seed,
        progress=progress,
        keep=options.checkpoints,
        resume=options.resume,
        start=options.weights,
    )
    shape = (*recipe.size, recipe.channels)
    network = architectures.build(recipe.architecture, shape, len(classes))  # float32, whatever trained it
    set_weights(network, fitted.weights)
    scores = evaluate.predict(network, data.test, recipe.size)  # the one look at the test images
    metrics = evaluate.measure(scores, data.test.targets())
    low, high = evaluate.interval(metrics.correct, metrics.images)
    progress.say(
        f"Test: {metrics.correct} of {metrics.images} right, accuracy {metrics.accuracy:.4f} "
        f"(95 % interval {low:.4f} to {high:.4f})."
    )
    for group, at in data.groups.items():
        part = evaluate.measure(scores[at], data.test.targets()[at])
        progress.say(f"  {group}: {part.correct} of {part.images} right, accuracy {part.accuracy:.4f}")
    folded = fold(network, recipe.architecture, shape)
    about = card(
        recipe,
        name=options.name,
        recipe_name=recipe_name,
        seed=options.seed,
        data=data,
        train=training,
        validation=validation,
        scores=scores,
        history=fitted.history,
        parameters=folded.count_params(),
        start=options.weights,
    )
    golden = export.synthetic_pixels(shape)
    golden_scores = evaluate.predict_pixels(network, golden)
    with tempfile.TemporaryDirectory(prefix="signpost-") as scratch:
        drawn = _draw(Path(scratch) if options.report is None else options.report, about, fitted.history, metrics)

        def write(folder: Path) -> None:
            export.write(folder, folded, classes, shape, options.name)
            initial.write_normalisation(folder, network)
            run = export.load(folder)
            export.check(run, data.test, recipe.size, scores, golden, golden_scores)
            about["timings"] = export.timings(run, shape)
            export.write_extras(folder, golden, golden_scores, about, drawn)

        version = model_store.publish(options.store, options.name, write)
    progress.say(f"Published {options.store / options.name / str(version)}.")
    return version


def _draw(
    folder: Path, about: dict[str, object], history: list[dict[str, float]], metrics: evaluate.Metrics
) -> Sequence[Path]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        curves, matrix = folder / "curves.png", folder / "confusion_matrix.png"
        figures.curves(history, curves)
        title = f"{about['name']}: {metrics.correct} of {metrics.images} test images right"
        figures.confusion_matrix(metrics.confusion, [str(name) for name in about["classes"]], title, matrix)  # type: ignore[attr-defined]
    except OSError as error:
        raise StoreError(f"The report folder {folder} can't be written: {error.strerror or error}.") from error
    return [curves, matrix]


def _check_writable(store: Path) -> None:
    """Fail before the training, not after it."""
    try:
        store.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".tmp-", dir=store):
            pass
    except OSError as error:
        raise StoreError(
            f"The store {store} can't be written: {error.strerror or error}; name another with --store."
        ) from error
