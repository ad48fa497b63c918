"""A whole training run in one page: split, fit, evaluate once, draw, publish."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np

from service import store
from service.errors import SignpostError, StoreError
from service.objects import publishing, urls
from training.data.archives.licences import licences
from training.data.datasets import Data, Dataset, split
from training.errors import TrainingError
from training.loop import evaluate
from training.loop.calibration import fit_temperature
from training.loop.checkpoints import History
from training.loop.fit import Start, fit, set_weights
from training.loop.knowing import about_domain, judge_domain, learn_domain
from training.loop.progress import Progress, TensorBoard
from training.loop.teaching import learn_from_teacher
from training.loop.transfer import train_head
from training.network import architectures, initial
from training.network.folding import fold
from training.options import Options
from training.output import export, figures, gate, quantised, report
from training.output.card import about_teacher, as_trained, card, facts_in_words
from training.recipe import Recipe
from training.strangers.outsiders import read_outsiders
from training.weights import weights_version
from training.whole_files import whole_files

_SHOWN: Final = 10


def train(recipe_name: str, recipe: Recipe, options: Options, data: Data, progress: Progress) -> int | None:
    """Train a recipe and publish the result.

    Args:
        recipe_name: for the messages and the card.
        recipe: its choices.
        options: what the user says beyond them, checked.
        data: what the recipe loaded.
        progress: hears how it goes.

    Returns:
        The number of the new version; None on a backend of Keras that can't export, where the checkpoint is the result.

    Raises:
        SignpostError: weights that don't fit, a full disk, numbers that went wrong, or Ctrl-C.
    """
    training, validation = (
        split(data.train, recipe.validation, options.seed) if data.validation is None else (data.train, data.validation)
    )
    classes = training.classes
    progress.say(
        f"{recipe_name}: {len(classes)} classes ({_some(classes)}), {len(training)} training images, "
        f"{len(validation)} for validation, {len(data.test)} for the test."
    )
    for fact, value in facts_in_words(data.facts):
        progress.say(f"{fact}: {value}")
    with whole_files(options.report, "report") as temporary:
        figures.contact_sheet(training, recipe, options.seed, temporary / "augmentation.png")
    if options.tensorboard is not None:
        progress = TensorBoard(progress, options.tensorboard / options.name)
    shape = (*recipe.size, recipe.channels)
    if options.teacher is not None and recipe.epochs:
        training = _taught(training, recipe, options.teacher, progress)
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
        teacher=_named(options.teacher),
    )
    if not export.possible():
        progress.say(
            f"Trained on {keras.backend.backend()}; the checkpoint is in {options.checkpoints}. A SavedModel needs "
            "TensorFlow: repeat the command with --resume and KERAS_BACKEND=tensorflow to evaluate and publish."
        )
        return None
    history = [*history, *fitted.history]
    network = architectures.build(recipe.architecture, shape, len(classes))  # float32, whatever trained it
    set_weights(network, fitted.weights)
    # Nothing was trained: the version that it began with is published again, calibrated as it is.
    again = options.weights if not (recipe.epochs or history) else None
    outsiders = read_outsiders(options.outsiders, recipe.size, recipe.channels, options.cache, progress.say, classes)
    with export.in_float32():  # what is recorded should not depend on the device
        temperature = _calibrate(network, validation, recipe.size) if again is None else 1.0
        domain = learn_domain(recipe, network, training, validation, outsiders, options.seed)
        scores = evaluate.predict(network, data.test, recipe.size)  # the one look at the test images
        known = judge_domain(domain, recipe, network, data.test, validation, outsiders)
    _say_results(progress, data, scores)
    folded = fold(network, recipe.architecture, shape) if again is None else initial.as_published(again)
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
        teacher=about_teacher(weights_version(options.teacher)) if options.teacher is not None else {},
    )
    if again is not None:
        about = as_trained(about, weights_version(again))
    about["in_domain"] = about_domain(known, data)
    weights = [options.weights] if options.weights else []
    about["licences"] = licences((*options.data, *options.outsiders, *weights))
    progress.say(_say_domain(about["in_domain"]))
    golden = export.synthetic_pixels(shape)
    with export.in_float32():
        golden_scores = evaluate.predict_pixels(network, golden)

    def write(folder: Path) -> None:
        export.write(folder, folded, classes, shape, options.name, domain)
        initial.write_normalisation(folder, network)
        loaded = export.load_version(folder)
        with export.in_float32():
            found = export.compare(loaded, data.test, scores, known.test, golden, golden_scores)
        about["checked"] = [export.check(found, len(scores))]
        if export.computes_in_tf32():
            found = export.compare(loaded, data.test, scores, known.test, golden, golden_scores)
            told, says = export.tell_tf32(found, len(scores))
            about["checked"].append(told)
            progress.say(says)
        about["timings"] = export.timings(loaded.run, shape)
        int8_scores = None
        if options.quantize is not None:
            int8 = quantised.quantise(folder, training, data.test, golden, options.seed)
            int8_scores = int8.golden_scores
            about[quantised.INT8] = quantised.about(int8, scores, data)
            quantised.check_loss(about, options.quantize_loss)
            progress.say(quantised.in_words(about))
        about["gate"] = gate.compare(about, before).as_dict()
        report.write(
            options.report,
            title=f"Trained by the recipe {recipe_name}",
            card=about,
            data=data,
            scores=scores,
            history=history,
            network=network,
            known=known,
            commands=report.serving_commands(options.store, options.name),
        )
        drawn = [options.report / name for name in (report.FIGURES if history else report.FIGURES[1:])]
        if again is not None:  # the curves of its training
            drawn += [path for path in [weights_version(again) / store.EXTRA / report.FIGURES[0]] if path.is_file()]
        export.write_extras(folder, golden, golden_scores, about, drawn, int8_scores)

    before = gate.card_before(options.store, options.name)
    try:
        version = publishing.publish(options.store, options.name, write)
    except StoreError as error:
        kept = f" The training is kept in {options.checkpoints}; the same command with --resume publishes it."
        raise StoreError(f"{error} Nothing was published.{kept if recipe.epochs else ''}") from error
    finally:
        with suppress(OSError):  # an empty folder would be a model without a version
            (options.store / options.name).rmdir()
    verdict = gate.compare(about, before)
    place = urls.written(options.store / options.name / str(version))
    progress.say(f"Published {place}; report: {options.report / 'report.html'}")
    progress.say(gate.how_to_serve(options.store, options.name))
    try:
        moved = gate.move_stable(options.store, options.name, version) if verdict.passed else ""
    except SignpostError as error:
        raise StoreError(f"{error} Version {version} is published, but the label stable stays where it is.") from error
    for text in filter(None, (verdict.text, moved)):
        progress.say(text)
    return version


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _beginning(
    recipe: Recipe, options: Options, training: Dataset, validation: Dataset, progress: Progress
) -> tuple[Start | None, History]:
    """What gives the network its first weights, and the history of getting them."""
    path = options.weights
    if recipe.architecture.is_pretrained and (path is None or path.is_file()):
        begun = train_head(recipe, training, validation, options.weights, options.seed, options.cache, progress)
        return (lambda network: set_weights(network, begun.weights)), begun.history
    if path is None:
        return None, []

    def load(network: keras.Model) -> None:
        origin = initial.load_into(network, path)
        fresh = ", ".join(origin.fresh) or "none"
        if origin.fresh and recipe.start_share:
            raise TrainingError(
                f"The layers {fresh} of {origin.version} don't fit, so none of their weights are left to keep a share "
                "of; give --set start_share=0, or weights of a model with as many classes."
            )
        progress.say(f"Starting from {origin.layers} layers of {origin.version}; at random: {fresh}.")

    return load, []


def _name_of(recipe: Recipe, weights: Path | None) -> str:
    """Which weights a training began with, for the model card."""
    if recipe.architecture.is_pretrained and (weights is None or weights.is_file()):
        network = recipe.architecture.backbone or recipe.architecture.kind
        return f"{network} from {weights.name if weights else 'ImageNet, as Keras publishes it'}"
    if weights is None:
        return "random weights"
    return _named(weights)


def _named(path: Path | None) -> str:
    """Model and version, as in `cats_vs_dogs/4`; nothing for none."""
    if path is None:
        return ""
    version = weights_version(path)
    return f"{version.parent.name}/{version.name}"


def _taught(training: Dataset, recipe: Recipe, teacher: Path, progress: Progress) -> Dataset:
    version = weights_version(teacher)
    progress.say(f"Asking {version} about {len(training)} images, once ...")
    loaded = export.load_version(version)
    return learn_from_teacher(training, loaded.run, loaded.shape, loaded.classes, recipe.taught)


def find_rate(recipe: Recipe, options: Options, data: Data, progress: Progress) -> float:
    """Suggest a learning rate, and draw how the loss follows the rate; nothing is trained or published.

    Raises:
        SignpostError: the loss diverges at once, or the report can't be written.
    """
    from training.loop import lr_finder

    found = lr_finder.find(recipe, data.train, options.seed)
    path = options.report / "learning_rate.png"
    with whole_files(options.report, "report") as temporary:
        figures.learning_rates(found, temporary / path.name)
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


def _say_domain(about: Mapping[str, Any]) -> str:
    others = ", ".join(f"{kind} {each['passing']:.1%}" for kind, each in about["outsiders"].items())
    return (
        f"In domain: {about['test_passing']:.1%} of the test images; of other things {others} "
        f"(AUROC {about['auroc']:.3f})."
    )
