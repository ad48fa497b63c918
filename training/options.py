"""What the user says about a run beyond the recipe, and all of it that can be found wrong before Keras is imported."""

import importlib.util
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from service import store
from service.objects import publishing, urls
from training.data.class_folders import Level
from training.errors import TrainingError
from training.loop import checkpoints
from training.recipe import KINDS, OPTIMIZERS, PRECISIONS, Recipe
from training.weights import weights_version
from training.whole_files import check_writable

_BACKENDS: Final = ("jax", "tensorflow", "torch")
# Choices that are shares: with the highest that makes sense, and whether that itself does.
_SHARES: Final = {
    "warmup": True, "label_smoothing": False, "average_decay": False, "validation": False, "start_share": True,
    "taught": True,
}  # fmt: skip


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
        class_folders: which folders are the classes where folders lie in folders; None to find out.
        find_rate: suggest a learning rate instead of training.
        outsiders: sources of images of other things than the classes.
        quantize: `int8` to publish the network in 8 bits beside the float one, or None.
        quantize_loss: how much of the accuracy that may cost, as a share of the test images.
        teacher: a version in a store whose scores are learned beside the labels, or None.
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
    class_folders: Level | None = None
    find_rate: bool = False
    outsiders: tuple[Path, ...] = ()
    quantize: str | None = None
    quantize_loss: float = 0.003
    teacher: Path | None = None


def check(recipe: Recipe, options: Options) -> None:
    """Refuse what could only fail later, when the data are read or the network is trained.

    Raises:
        SignpostError: an option or a choice is wrong or does not go with another, or a folder can't be written.
    """
    store.check_name(options.name)
    for problem in (*_wrong_choices(recipe), *_wrong_sizes(recipe), *_wrong_options(recipe, options)):
        raise TrainingError(problem)
    _check_backend(needs_tensorflow=any((options.weights, options.tensorboard, options.teacher)))
    if options.quantize is not None:
        _check_quantizing()
    if options.weights is not None:
        _check_weights(recipe, options.weights)
    if options.teacher is not None:
        weights_version(options.teacher, "--teacher")
    if options.resume:
        checkpoints.check(options.checkpoints)
    check_writable(options.report, "report")
    check_writable(options.cache, "cache")
    if not options.find_rate:
        _check_store(options.store, options.name)
        check_writable(options.checkpoints, "checkpoints")
    if options.tensorboard is not None:
        check_writable(options.tensorboard, "tensorboard")


def _check_store(path: Path, name: str) -> None:
    """Try whether a version can be published."""
    url = urls.parse(path, "--store")
    if url is None:
        check_writable(path / name, "store")
    else:
        publishing.check(url, name)


def _wrong_choices(recipe: Recipe) -> Iterator[str]:
    kind, how = recipe.architecture.kind, recipe.architecture
    for what, value, known in (
        ("architecture", kind, KINDS),
        ("optimizer", recipe.optimizer, OPTIMIZERS),
        ("precision", recipe.precision, PRECISIONS),
    ):
        if value not in known:
            yield f"There is no {what} {value!r}; there are {', '.join(known)}."
    for name, whole in _SHARES.items():
        share = getattr(recipe, name)
        if not (0.0 <= share < 1.0 or (whole and share == 1.0)):
            yield f"{name} is {share}; it is a fraction, from 0 to {'1' if whole else 'less than 1'}."
    if not 0.0 <= how.dropout < 1.0:
        yield f"architecture.dropout is {how.dropout}; it is a fraction, from 0 to less than 1."
    if not (math.isfinite(recipe.learning_rate) and recipe.learning_rate > 0.0):
        yield f"learning_rate is {recipe.learning_rate}; it must be greater than 0."
    if not recipe.batch_size > 0:
        yield f"batch_size is {recipe.batch_size}; it must be 1 or more."
    widths = () if how.is_pretrained else how.widths
    if any(width < 1 for width in (*widths, how.stem)) or (not how.is_pretrained and not widths):
        yield f"architecture.widths is {widths}, with a stem of {how.stem}; give a width of 1 or more for each stage."
    if any(depth < 1 for depth in how.depths):
        yield f"architecture.depths is {how.depths}; each stage has 1 block or more."


def _wrong_sizes(recipe: Recipe) -> Iterator[str]:
    how = recipe.architecture
    if any(phase.epochs < 0 or (phase.size is not None and phase.size < 1) for phase in recipe.phases):
        yield "phases take 0 epochs or more, at a size in pixels, as in --set phases=20@64,10@96."
    one_size = how.kind in ("dense", "vgg", "transfer") or how.units or how.mean_image
    if recipe.is_growing and one_size:
        why = "a mean image" if how.mean_image else "units" if how.units else f"the architecture {how.kind}"
        yield f"The phases grow the images, but {why} needs images of one size; give phases without sizes."


def _wrong_options(recipe: Recipe, options: Options) -> Iterator[str]:
    if options.quantize is not None and options.find_rate:
        yield "--find-rate publishes nothing, so there is nothing to --quantize; leave one of them out."
    if options.samples is not None and not recipe.draws:
        yield "--samples is for recipes that draw their images, but this one reads them; leave it out."
    if options.find_rate and options.resume:
        yield "--find-rate does not train, so there is nothing to --resume; leave one of them out."
    if not recipe.epochs and not recipe.architecture.is_pretrained and options.weights is None:
        yield "Nothing can be trained in 0 epochs; give --epochs 1 or more, or --weights with a version to publish."
    if recipe.start_share and options.weights is None:
        yield "There are no weights to keep a share of (start_share); pass some with --weights."


def _check_backend(needs_tensorflow: bool) -> None:
    backend = os.environ.get("KERAS_BACKEND")  # or else ~/.keras/keras.json says, or it is TensorFlow
    if backend is not None and backend not in _BACKENDS:
        raise TrainingError(f"KERAS_BACKEND is {backend!r}; networks are trained on {', '.join(_BACKENDS)}.")
    if backend is not None and importlib.util.find_spec(backend) is None:
        raise TrainingError(f"KERAS_BACKEND is {backend}, which is not installed.")
    if needs_tensorflow and importlib.util.find_spec("tensorflow") is None:
        raise TrainingError("--weights, --teacher and --tensorboard need TensorFlow, which is not installed.")


def _check_quantizing() -> None:
    missing = [name for name in ("nncf", "openvino") if importlib.util.find_spec(name) is None]
    if missing:
        raise TrainingError(
            f"--quantize needs {' and '.join(missing)}: pip install 'signpost-serving[quantize]'; in a checkout "
            "`make install` installs it."
        )


def _check_weights(recipe: Recipe, path: Path) -> None:
    if recipe.architecture.is_pretrained and not path.is_dir():
        if not path.is_file():
            backbone = recipe.architecture.backbone or recipe.architecture.kind
            raise TrainingError(
                f"There is no file {path}; --weights takes a file of the weights of {backbone} here, or a version in "
                "the store to start from."
            )
    else:
        weights_version(path)
