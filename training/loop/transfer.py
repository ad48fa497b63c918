"""The first phase of transfer learning: a new last layer on the features of a frozen backbone.

The features of each image are computed once and kept, so an epoch over them takes a moment.
"""

import hashlib
import time
import zipfile
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from training.data.batches import plain_batches
from training.data.datasets import Dataset
from training.loop import evaluate
from training.loop.checkpoints import History
from training.loop.fit import Fitted, make_optimizer
from training.loop.progress import Progress
from training.network import architectures, initial
from training.recipe import Recipe
from training.whole_files import whole_files

Features = npt.NDArray[np.float32]

_BATCH = 64


def train_head(
    recipe: Recipe,
    train: Dataset,
    validation: Dataset,
    weights: Path | None,
    seed: int,
    cache: Path,
    progress: Progress,
) -> Fitted:
    """Train the layers behind a frozen backbone.

    Args:
        recipe: of an architecture that begins with ImageNet weights.
        train: the images to learn from; each is seen as it is and mirrored, if the augmentation mirrors.
        validation: images to draw the curves with.
        weights: the backbone's file, or None to let Keras fetch it.
        seed: the same seed gives the same numbers.
        cache: where the features are kept.
        progress: hears how it goes.

    Returns:
        The weights of the whole network, and the numbers of each epoch.

    Raises:
        SignpostError: the weights can't be loaded, or the cache can't be written.
    """
    keras.utils.set_random_seed(seed)
    network = architectures.build(recipe.architecture, (*recipe.size, recipe.channels), len(train.classes))
    initial.load_backbone(network, recipe.architecture, weights)
    if not recipe.head_epochs:
        return Fitted([np.asarray(weight) for weight in network.get_weights()], [])
    body = keras.Model(network.input, network.get_layer(architectures.FEATURES).output)
    mirrored = (False, True) if recipe.augmentation.flip else (False,)
    learned = np.concatenate([features(body, train, recipe.size, flip, cache, progress) for flip in mirrored])
    targets = np.tile(train.distributions(np.arange(len(train)), recipe.label_smoothing), (len(mirrored), 1))
    judged = features(body, validation, recipe.size, False, cache, progress)
    head = _head(network, learned.shape[1])
    head.compile(
        optimizer=make_optimizer(recipe),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        jit_compile=False,
    )
    history: History = []
    for epoch in range(recipe.head_epochs):
        began = time.monotonic()
        order = np.random.default_rng((seed, epoch)).permutation(len(learned))
        logs = head.fit(learned[order], targets[order], batch_size=_BATCH, shuffle=False, verbose=0).history
        seconds = time.monotonic() - began
        numbers = {"loss": float(logs["loss"][0]), "accuracy": float(logs["accuracy"][0]), "seconds": seconds}
        numbers["images_per_s"] = len(learned) / seconds
        if len(validation):
            scores = evaluate.softmax(np.asarray(head.predict(judged, verbose=0), dtype=np.float32))
            numbers |= evaluate.loss_and_accuracy(scores, validation.targets())
        history.append(numbers)
        progress.epoch(epoch + 1, recipe.head_epochs, numbers)
    return Fitted([np.asarray(weight) for weight in network.get_weights()], history)


def features(
    body: keras.Model, data: Dataset, size: tuple[int, int], mirrored: bool, cache: Path, progress: Progress
) -> Features:
    """What a frozen backbone makes of each image: float32 (N, F), from the cache or computed into it.

    Raises:
        StoreError: the cache can't be written.
    """
    key = hashlib.blake2b(f"{data.fingerprint()} {size} {mirrored}".encode(), digest_size=16)
    for weight in body.get_weights():
        key.update(np.ascontiguousarray(weight).tobytes())
    path = cache / "features" / f"{key.hexdigest()}.npz"
    if path.is_file():
        try:
            with np.load(path) as file:
                kept: Features = file["features"]
            return kept
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
            progress.say(f"{path} can't be read; recomputing it.")
    progress.say(f"Computing the features of {len(data)} images, once ...")
    found = np.zeros((len(data), body.output_shape[-1]), dtype=np.float32)
    for images, at in plain_batches(data, size, _BATCH):
        found[at] = np.asarray(body.predict_on_batch(images[:, :, ::-1] if mirrored else images))
    with whole_files(path.parent, "cache") as temporary:
        # Not `np.save`: of a full disk it only says how many numbers it wrote.
        np.savez(temporary / path.name, features=found)
    return found


def _head(network: keras.Model, width: int) -> keras.Model:
    """The layers behind the backbone as a model of their own; it shares their weights with the network."""
    x = inputs = keras.Input((width,))
    names = [layer.name for layer in network.layers]
    for layer in network.layers[names.index(architectures.FEATURES) + 1 :]:
        x = layer(x)
    return keras.Model(inputs, x)
