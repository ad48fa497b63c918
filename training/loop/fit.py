"""The training loop, all of it: batches, steps, the averaged weights, a checkpoint after each epoch.

It is written out instead of hidden in `Model.fit`, because resuming to the very same numbers needs to know exactly
what happens when. Only Keras 3 and NumPy, so it runs on any of Keras's backends.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from training.data.batches import Timed, epoch_batches, plain_batches, steps_per_epoch
from training.data.datasets import Dataset
from training.errors import Interrupted, TrainingError
from training.loop import checkpoints, evaluate
from training.loop.averaging import WeightAverage, Weights
from training.loop.checkpoints import Checkpoint, History
from training.loop.progress import Progress
from training.network import architectures
from training.recipe import Recipe
from training.schedule import learning_rate, phase_of

Start = Callable[[keras.Model], None]


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a training leaves behind.

    Attributes:
        weights: of the network that `architectures.build` makes, averaged.
        history: the numbers of each epoch.
    """

    weights: Weights
    history: History


def fit(
    recipe: Recipe,
    train: Dataset,
    validation: Dataset,
    *,
    seed: int,
    progress: Progress,
    keep: Path | None = None,
    resume: bool = False,
    start: Start | None = None,
    start_name: str = "",
    teacher: str = "",
) -> Fitted:
    """Train a network.

    Args:
        recipe: the choices.
        train: the images to learn from.
        validation: images to draw the curves with; may be empty.
        seed: the same seed gives the same numbers on the same machine.
        progress: hears how it goes.
        keep: folder for a checkpoint after each epoch; None keeps nothing.
        resume: go on from the checkpoint in `keep`.
        start: loads other weights than random ones into the network.
        start_name: says which those are, so that a resumed run is the same run.
        teacher: the same of the version whose scores `train` holds.

    Raises:
        TrainingError: the loss is no longer a number, or the checkpoint is of another run or can't be written.
        Interrupted: Ctrl-C; the message says what was kept.
    """
    keras.utils.set_random_seed(seed)
    # Any size is fine where the network ends in a mean over the places; `dense` and `vgg` need to know theirs.
    shape = (None, None, recipe.channels) if recipe.is_growing else (*recipe.size, recipe.channels)
    network = architectures.build(recipe.architecture, shape, len(train.classes), recipe.precision)
    judge = architectures.build(recipe.architecture, shape, len(train.classes), recipe.precision)
    if recipe.architecture.mean_image:
        network.get_layer(architectures.MEAN).set_weights([mean_image(train, recipe.size)])
    if start is None and recipe.start_share:
        raise TrainingError("There are no weights to keep a share of (start_share); pass some with --weights.")
    if start is not None and (not resume or recipe.start_share):
        start(network)
    begun_with = network.get_weights() if recipe.start_share else []
    optimizer = make_optimizer(recipe)
    if recipe.precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    network.compile(
        optimizer=optimizer,
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        jit_compile=keras.backend.backend() != "tensorflow",  # on a CPU, XLA is slower than oneDNN
    )
    optimizer.build(network.trainable_variables)
    average = WeightAverage(network.get_weights(), recipe.average_decay)
    history: History = []
    best: Weights = []
    identity = {"choices": recipe.choices(), "seed": seed, "images": len(train), "start": start_name}
    identity |= {"classes": list(train.classes), "teacher": teacher}
    if resume:
        if keep is None:
            raise TrainingError("There is no folder to resume from; pass one with --checkpoints.")
        state = checkpoints.load(keep)
        _restore(state, identity, keep, network, optimizer, average)
        history, best = list(state.history), state.best
        progress.say(f"Resuming after epoch {len(history)} of {recipe.epochs}, from {keep}.")
    steps = steps_per_epoch(train, recipe.batch_size)
    try:
        for epoch in range(len(history), recipe.epochs):
            began = time.monotonic()
            numbers = _one_epoch(recipe, network, average, train, epoch, steps, seed, progress)
            seconds = time.monotonic() - began
            numbers |= {"seconds": seconds, "images_per_s": steps * min(recipe.batch_size, len(train)) / seconds}
            if len(validation):
                judge.set_weights(average.weights)
                scores = evaluate.predict(judge, validation, recipe.size)
                numbers |= evaluate.loss_and_accuracy(scores, validation.targets())
            history.append(numbers)
            if recipe.restore_best and epochs_since_best(history) == 0:
                best = [weight.copy() for weight in average.weights]
            progress.epoch(epoch + 1, recipe.epochs, numbers)
            if keep is not None:
                checkpoints.save(keep, _state(identity, history, network, optimizer, average, best))
            if recipe.patience and epochs_since_best(history) >= recipe.patience:
                progress.say(f"Stopped early: the validation loss did not improve in {recipe.patience} epochs.")
                break
    except KeyboardInterrupt as error:
        raise Interrupted(_what_was_kept(len(history), recipe.epochs, keep)) from error
    weights = best if recipe.restore_best else average.weights
    return Fitted(blend(begun_with, weights, recipe.start_share) if recipe.start_share else weights, history)


def _one_epoch(
    recipe: Recipe,
    network: keras.Model,
    average: WeightAverage,
    train: Dataset,
    epoch: int,
    steps: int,
    seed: int,
    progress: Progress,
) -> dict[str, float]:
    phase = phase_of(recipe.phases, epoch)
    size = recipe.size if phase.size is None else (phase.size, phase.size)
    how = recipe.augmentation if phase.mix else replace(recipe.augmentation, mixup=0.0, cutmix=0.0)
    weights = class_weights(train) if recipe.class_weights else None
    sums = np.zeros(2)
    numbers: dict[str, float] = {}
    batches = Timed(
        epoch_batches(
            train,
            size=size,
            batch_size=recipe.batch_size,
            how=how,
            smoothing=recipe.label_smoothing,
            seed=seed,
            epoch=epoch,
        )
    )
    for step, (images, targets) in enumerate(batches, start=1):
        done = (epoch * steps + step - 1) / (recipe.epochs * steps)
        rate = learning_rate(done, recipe.learning_rate, recipe.warmup)
        network.optimizer.learning_rate = rate
        counts = None if weights is None else targets @ weights  # (N,)
        logs = network.train_on_batch(images, targets, counts, return_dict=True)  # of this batch alone
        sums += (logs["loss"], logs["accuracy"])
        if not math.isfinite(sums[0]):
            raise TrainingError(
                f"The loss is no longer a number at step {step} of epoch {epoch + 1}, with learning rate {rate:.2g}; "
                "try a lower --learning-rate."
            )
        if step % average.every == 0 or step == steps:
            average.update(network.get_weights())
        numbers = {"loss": float(sums[0] / step), "accuracy": float(sums[1] / step), "learning_rate": rate}
        progress.step(epoch + 1, recipe.epochs, step, steps, numbers)
    return numbers | {"waiting_s": batches.seconds}


def blend(first: Weights, last: Weights, share: float) -> Weights:
    """A point on the line between two sets of weights: `share` of the first, the rest of the last."""
    return [(share * one + (1.0 - share) * other).astype(other.dtype) for one, other in zip(first, last, strict=True)]


def epochs_since_best(history: History) -> int:
    """How many epochs ago the validation loss was lowest; without validation images every epoch is the best."""
    losses = [row.get("val_loss", -index) for index, row in enumerate(history)]
    return len(losses) - 1 - int(np.argmin(losses))


def class_weights(train: Dataset) -> npt.NDArray[np.float32]:
    """What an image of each class counts, (K,): 1 for all when the classes are of one size."""
    counts = np.array(list(train.counts().values()), dtype=np.float32)
    return np.asarray(len(train) / (len(counts) * np.maximum(counts, 1)), dtype=np.float32)


def mean_image(train: Dataset, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """The mean of the training images as the network's scaling leaves them: float32 (*size, C)."""
    total = np.zeros((*size, train.shape[2]), dtype=np.float64)
    for images, _ in plain_batches(train, size):
        total += images.sum(axis=0, dtype=np.float64)
    return np.asarray(total / len(train) / 127.5 - 1.0, dtype=np.float32)


def make_optimizer(recipe: Recipe) -> keras.optimizers.Optimizer:
    """The optimizer of a recipe; its learning rate is set before each step.

    Raises:
        TrainingError: there is no such optimizer.
    """
    rate = recipe.learning_rate
    match recipe.optimizer:
        case "adamw":
            optimizer = keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay)
            optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
            return optimizer
        case "adam":
            return keras.optimizers.Adam(rate)
        case "rmsprop":
            return keras.optimizers.RMSprop(rate)
        case "sgd":
            return keras.optimizers.SGD(rate, momentum=0.9, nesterov=True)
    raise TrainingError(f"There is no optimizer {recipe.optimizer!r}; there are adamw, adam, rmsprop and sgd.")


def set_weights(network: keras.Model, weights: Weights) -> None:
    """Load weights into a network.

    Raises:
        TrainingError: they are of another architecture.
    """
    if not checkpoints.same(network.get_weights(), weights):
        raise TrainingError(
            "The weights belong to an architecture other than the recipe's; use weights of the same recipe."
        )
    network.set_weights(weights)


def _state(
    identity: Mapping[str, Any],
    history: History,
    network: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    average: WeightAverage,
    best: Weights,
) -> Checkpoint:
    return Checkpoint(
        identity=identity,
        epoch=len(history),
        network=[variable.numpy() for variable in network.variables],
        optimizer=[variable.numpy() for variable in optimizer.variables],
        average=list(average.weights),
        average_steps=average.steps,
        history=history,
        best=best,
    )


def _restore(
    state: Checkpoint,
    identity: Mapping[str, Any],
    keep: Path,
    network: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    average: WeightAverage,
) -> None:
    if not _agree(state.identity, identity):
        raise TrainingError(
            f"The checkpoint in {keep} belongs to another recipe, seed or data set; repeat that command's options."
        )
    for variables, arrays in ((network.variables, state.network), (optimizer.variables, state.optimizer)):
        if len(variables) != len(arrays):
            raise TrainingError(
                f"The checkpoint in {keep} was written by another version of Signpost or Keras; start again."
            )
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)
    average.weights = [np.array(weight) for weight in state.average]
    average.steps = state.average_steps


def _agree(saved: Any, now: Any) -> bool:
    """Whether two sets of choices are the same, as far as both know them; newer versions may know more."""
    if isinstance(saved, Mapping) and isinstance(now, Mapping):
        return all(_agree(saved[name], now[name]) for name in saved.keys() & now.keys())
    if isinstance(saved, list | tuple) and isinstance(now, list | tuple):
        return len(saved) == len(now) and all(_agree(a, b) for a, b in zip(saved, now, strict=True))
    return bool(saved == now)


def _what_was_kept(done: int, epochs: int, keep: Path | None) -> str:
    if keep is None or not done:
        return f"Stopped in epoch {done + 1} of {epochs}; nothing was kept or published."
    return (
        f"Stopped in epoch {done + 1} of {epochs}; epochs 1 to {done} are kept in {keep}: "
        "repeat the command with --resume to continue. Nothing was published."
    )
