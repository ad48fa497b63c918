"""A whole training run in one page: read, split, fit, evaluate once, draw, publish."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from service import store as model_store
from service.errors import StoreError
from training import architectures, evaluate, export, figures, gate, initial, report
from training.calibration import fit_temperature
from training.card import card
from training.checkpoints import History
from training.datasets import Data, Dataset, split
from training.errors import Interrupted, TrainingError
from training.fit import Start, fit, set_weights
from training.folding import fold
from training.progress import Progress, TensorBoard
from training.recipe import Recipe, Request
from training.transfer import train_head


@dataclass(frozen=True)
class Options:
    """What the user says about a run beyond the recipe.

    Attributes:
        data: sources of images.
        store: where to publish.
        name: of the model.
        seed: the same seed gives the same numbers.
        samples: how many images to draw, for recipes that draw.
        report: folder for the report and its figures.
        cache: folder for decoded pixels and downloads.
        checkpoints: folder of this run's checkpoint.
        resume: go on from it.
        weights: a version in the store to begin with, or None.
        tensorboard: folder for TensorBoard's logs, or None.
    """

    data: tuple[Path, ...]
    store: Path
    name: str
    seed: int
    samples: int | None
    report: Path
    cache: Path
    checkpoints: Path
    resume: bool
    weights: Path | None = None
    tensorboard: Path | None = None


def train(recipe_name: str, recipe: Recipe, options: Options, progress: Progress) -> int | None:
    """Train a recipe and publish the result.

    Returns:
        The number of the new version; None on a backend of Keras that can't export, where the checkpoint is the result.

    Raises:
        SignpostError: bad data or options, an unwritable store, numbers that went wrong, or Ctrl-C.
    """
    _check_writable(options.store, "store")
    _check_writable(options.report, "report")
    try:
        return _train(recipe_name, recipe, options, progress)
    except KeyboardInterrupt as error:  # outside of `fit`, which says more
        raise Interrupted("Stopped; nothing was published.") from error


def _train(recipe_name: str, recipe: Recipe, options: Options, progress: Progress) -> int | None:
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
    figures.contact_sheet(training, recipe, options.seed, options.report / "augmentation.png")
    if options.tensorboard is not None:
        progress = TensorBoard(progress, options.tensorboard / options.name)
    shape = (*recipe.size, recipe.channels)
    start, history = _beginning(recipe, options, training, validation, progress)
    fitted = fit(
        recipe,
        training,
        validation,
        seed=options.seed,
        progress=progress,
        keep=options.checkpoints,
        resume=options.resume,
        start=start,
        start_name=str(options.weights),
    )
    if not export.possible():
        progress.say(
            f"Trained on {keras.backend.backend()}, and kept in {options.checkpoints}. A SavedModel needs TensorFlow: "
            "repeat the command with --resume and KERAS_BACKEND=tensorflow to evaluate and publish."
        )
        return None
    history = [*history, *fitted.history]
    network = architectures.build(recipe.architecture, shape, len(classes))  # float32, whatever trained it
    set_weights(network, fitted.weights)
    temperature = _calibrate(network, validation, recipe.size)
    scores = evaluate.predict(network, data.test, recipe.size)  # the one look at the test images
    _say_results(progress, data, scores)
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
        history=history,
        temperature=temperature,
        parameters=folded.count_params(),
        began_with=_name_of(recipe, options.weights),
    )
    golden = export.synthetic_pixels(shape)
    golden_scores = evaluate.predict_pixels(network, golden)

    def write(folder: Path) -> None:
        export.write(folder, folded, classes, shape, options.name)
        initial.write_normalisation(folder, network)
        run = export.load(folder)
        export.check(run, data.test, recipe.size, scores, golden, golden_scores)
        about["timings"] = export.timings(run, shape)
        report.write(
            options.report,
            title=f"Trained by the recipe {recipe_name}",
            card=about,
            data=data,
            scores=scores,
            history=history,
            network=network,
        )
        export.write_extras(folder, golden, golden_scores, about, [options.report / name for name in report.FIGURES])

    verdict = gate.compare(about, gate.card_before(options.store, options.name))
    about["gate"] = verdict.as_dict()
    version = model_store.publish(options.store, options.name, write)
    progress.say(f"Published {options.store / options.name / str(version)}; report: {options.report / 'report.html'}")
    moved = gate.move_stable(options.store, options.name, version) if verdict.passed else ""
    for text in filter(None, (verdict.text, moved)):
        progress.say(text)
    return version


def _beginning(
    recipe: Recipe, options: Options, training: Dataset, validation: Dataset, progress: Progress
) -> tuple[Start | None, History]:
    """What gives the network its first weights, and the history of getting them."""
    if recipe.architecture.kind == "transfer":
        begun = train_head(recipe, training, validation, options.weights, options.seed, options.cache, progress)
        return (lambda network: set_weights(network, begun.weights)), begun.history
    if not recipe.epochs:
        raise TrainingError("There is nothing to train in 0 epochs; give --epochs 1 or more.")
    path = options.weights
    if path is None:
        return None, []

    def load(network: keras.Model) -> None:
        origin = initial.load_into(network, path)
        fresh = ", ".join(origin.fresh) or "none"
        if origin.fresh and recipe.start_share:
            raise TrainingError(
                f"The layers {fresh} of {origin.version} don't fit, so there is nothing of them to keep a share of; "
                "give --set start_share=0, or weights of a model with as many classes."
            )
        progress.say(f"Beginning with {origin.layers} layers of {origin.version}; at random: {fresh}.")

    return load, []


def _name_of(recipe: Recipe, weights: Path | None) -> str:
    """Which weights a training began with, for the model card."""
    if recipe.architecture.kind == "transfer":
        return f"{recipe.architecture.backbone} from {weights.name if weights else 'ImageNet, as Keras publishes it'}"
    if weights is None:
        return "random weights"
    version = initial.find_version(weights)
    return f"{version.parent.name}/{version.name}"


def find_rate(recipe: Recipe, options: Options, progress: Progress) -> float:
    """Suggest a learning rate, and draw how the loss follows the rate; nothing is trained or published.

    Raises:
        SignpostError: bad data, or the loss diverges at once.
    """
    from training import lr_finder

    _check_writable(options.report, "report")
    data = recipe.load(Request(options.data, options.seed, options.samples, options.cache, progress.say))
    found = lr_finder.find(recipe, data.train, options.seed)
    path = options.report / "learning_rate.png"
    figures.learning_rates(found, path)
    progress.say(
        f"Suggested: --learning-rate {found.suggested:.2g} (the recipe's is {recipe.learning_rate:.2g}); {path}"
    )
    return found.suggested


def _calibrate(network: keras.Model, validation: Dataset, size: tuple[int, int]) -> float:
    """Fit a temperature to the validation images and fold it into the network's last layer."""
    scores = evaluate.predict(network, validation, size)
    temperature = fit_temperature(scores, validation.targets())
    last = network.get_layer("logits")
    last.set_weights([weight / temperature for weight in last.get_weights()])
    return temperature


def _say_results(progress: Progress, data: Data, scores: evaluate.Scores) -> None:
    parts = {"Test": np.arange(len(data.test)), **data.groups}
    for name, at in parts.items():
        part = evaluate.measure(scores[at], data.test.targets()[at])
        low, high = evaluate.interval(part.correct, part.images)
        progress.say(
            f"{name}: {part.correct} of {part.images} right, accuracy {part.accuracy:.4f} "
            f"(95 % interval {low:.4f} to {high:.4f})."
        )


def _check_writable(folder: Path, what: str) -> None:
    """Fail before the training, not after it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".tmp-", dir=folder):
            pass
    except OSError as error:
        raise StoreError(
            f"The {what} {folder} can't be written: {error.strerror or error}; name another with --{what}."
        ) from error
