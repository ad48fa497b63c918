"""A trained network as a version in the store: Contract 1, written whole and checked before anyone sees it.

The only file of the training that needs TensorFlow, whatever backend Keras runs on.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import numpy.typing as npt
from PIL import Image

from service import store
from training.data.augmentation import resize
from training.data.datasets import Dataset, Pixels
from training.errors import TrainingError, os_error
from training.loop.evaluate import Scores
from training.loop.knowing import with_features
from training.network.grad_cam import grad_cam
from training.strangers.domain import Domain

SIGNATURE: Final = "serving_default"
IN_DOMAIN: Final = "in_domain"
EXPLAIN: Final = "explain"
_BATCH: Final = 128
_GOLDEN: Final = 8
# Between the trainer's float32 network and the folded one in TensorFlow: rounding, nothing else.
_TOLERANCE: Final = 1e-3
# The plane of a domain turns rounding into more than the last layer does.
_DOMAIN_TOLERANCE: Final = 1e-2
# What the service allows between recorded scores and those of its device.
TF32_TOLERANCE: Final = 0.02

Run = Callable[[Pixels], Scores]
Tell = Callable[[Pixels], npt.NDArray[np.float32]]


def possible() -> bool:
    """Whether this process can write SavedModels: only Keras on TensorFlow can."""
    return str(keras.backend.backend()) == "tensorflow"


def write(
    folder: Path,
    network: keras.Model,
    classes: Sequence[str],
    shape: tuple[int, int, int],
    model: str,
    domain: Domain | None = None,
) -> None:
    """Write the SavedModel and its warm-up requests, without optimizer, training graph or Keras's own metadata.

    Besides the signature of Contract 1 it has `explain`, with the output `heatmap` more (see
    `training.network.grad_cam`), if the network has layers with places.

    Args:
        folder: an empty folder.
        network: from uint8 (N, *shape) to logits (N, K).
        classes: the K names.
        shape: (H, W, C).
        model: name in the store, for the warm-up requests.
        domain: tells what the network knows; `serving_default` has the output `in_domain` with one.

    Raises:
        OSError: the folder can't be written, or the disk is full.
    """
    import tensorflow as tf

    from service.protocol import predict_log  # comes with TensorFlow, which may be missing where one only trains

    names = tf.constant(list(classes))
    image = tf.TensorSpec((None, *shape), tf.uint8, name="image")

    def answer(logits: Any) -> dict[str, Any]:
        scores = tf.nn.softmax(tf.cast(logits, tf.float32))
        return {"scores": scores, "classes": tf.tile(names[tf.newaxis], [tf.shape(scores)[0], 1])}

    both = with_features(network)

    def classify(image: Any) -> dict[str, Any]:
        logits, features = both(image, training=False)
        told = {} if domain is None else {IN_DOMAIN: _tell(domain, tf.cast(features, tf.float32))}
        return {**answer(logits), **told}

    functions = {SIGNATURE: classify}
    look = grad_cam(network)
    if look is not None:

        def explain(image: Any) -> dict[str, Any]:
            logits, heatmap = look(image)
            return {**answer(logits), "heatmap": tf.cast(heatmap, tf.float32)}

        functions[EXPLAIN] = explain

    module = tf.Module()
    module.weights = [weight.value for weight in network.weights]  # only what is tracked gets saved
    signatures = {name: tf.function(function, input_signature=[image]) for name, function in functions.items()}
    try:
        tf.saved_model.save(module, str(folder), signatures=signatures)
        (folder / store.EXTRA).mkdir()
        with tf.io.TFRecordWriter(str(folder / store.WARMUP)) as warmup:
            for count in (1, 8):
                images = synthetic_pixels(shape, count)
                warmup.write(predict_log(model, SIGNATURE, {"image": images}))
    except tf.errors.OpError as error:
        raise os_error(error.message) from error


def _tell(domain: Domain, features: Any) -> Any:
    """`Domain.tell` as TensorFlow computes it: float32 (N,)."""
    import tensorflow as tf

    around = (features - domain.mean) / domain.deviation
    plane = tf.linalg.matvec(around, domain.weights) + domain.bias
    lengths = tf.maximum(tf.norm(around, axis=1), 1e-6)
    nearest = tf.reduce_max(tf.matmul(around, domain.bank, transpose_b=True), axis=1) / lengths
    return tf.sigmoid(tf.minimum(plane, domain.slope * (nearest - domain.offset)))


@dataclass(frozen=True)
class Loaded:
    """An image classifier of the store.

    Attributes:
        run: pixels (N, H, W, C) to scores (N, K).
        shape: (H, W, C).
        classes: the K names.
        tell: pixels to how well it knows them, (N,); None where it can't say.
    """

    run: Run
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    tell: Tell | None = None


def load_version(folder: Path) -> Loaded:
    """Load a version as any server would.

    Raises:
        TrainingError: it is not a SavedModel, or no image classifier.
    """
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(folder))
        function = loaded.signatures[SIGNATURE]
        height, width, channels = function.structured_input_signature[1]["image"].shape[1:]
        blank = np.zeros((1, height, width, channels), dtype=np.uint8)
        names = function(image=tf.constant(blank))["classes"].numpy()[0]
    except (OSError, KeyError, ValueError, TypeError, tf.errors.OpError) as error:
        raise TrainingError(f"{folder} is not an image classifier that can be loaded ({error}).") from error

    def run(images: Pixels) -> Scores:
        _ = loaded  # keeps the variables alive as long as the function
        scores: Scores = function(image=tf.constant(images))["scores"].numpy()
        return scores

    def tell(images: Pixels) -> npt.NDArray[np.float32]:
        told: npt.NDArray[np.float32] = function(image=tf.constant(images))[IN_DOMAIN].numpy()
        return told

    knows = IN_DOMAIN in function.structured_outputs
    classes = tuple(name.decode("utf-8") for name in names)
    return Loaded(run, (height, width, channels), classes, tell if knows else None)


@contextmanager
def in_float32() -> Iterator[None]:
    """Have TensorFlow compute in float32 as long as the context lasts, on a GPU too.

    There it multiplies in TF32 by itself, with 10 bits of mantissa: an exported model then differed from the trainer's
    by 0.003 for no other reason (docs/decisions/0106).
    """
    import tensorflow as tf

    config = tf.config.experimental
    before = config.tensor_float_32_execution_enabled()
    config.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        config.enable_tensor_float_32_execution(before)


def computes_in_tf32() -> bool:
    """Whether this process multiplies in TF32, as far as its GPU has that."""
    import tensorflow as tf

    enabled: bool = tf.config.experimental.tensor_float_32_execution_enabled()
    return enabled and bool(tf.config.list_physical_devices("GPU"))


@dataclass(frozen=True)
class Difference:
    """How a written version's answers differ from the trainer's.

    Attributes:
        scores: the largest difference of a score.
        classes: test images that get another class.
        domain: the largest difference of `in_domain`; 0 where it has none.
    """

    scores: float
    classes: int
    domain: float = 0.0


def compare(
    loaded: Loaded, test: Dataset, scores: Scores, told: npt.NDArray[np.float32], golden: Pixels, golden_scores: Scores
) -> Difference:
    """Compare what was written with what the trainer saw.

    Args:
        loaded: the version, loaded again.
        test: the test images.
        scores: the trainer's for the test images, (N, K).
        told: how well the trainer's network knows them, (N,).
        golden: synthetic pixels.
        golden_scores: the trainer's for those.
    """
    run, tell = loaded.run, loaded.tell
    batches = [resize(test.images(slice(at, at + _BATCH)), loaded.shape[:2]) for at in range(0, len(test), _BATCH)]
    again = np.concatenate([run(images) for images in batches])
    distance = max(float(np.abs(again - scores).max()), float(np.abs(run(golden) - golden_scores).max()))
    domain = 0.0 if tell is None else float(np.abs(tell(batches[0]) - told[:_BATCH]).max())
    return Difference(distance, int((again.argmax(axis=1) != scores.argmax(axis=1)).sum()), domain)


def check(found: Difference, images: int) -> dict[str, Any]:
    """Make sure that a version answers as the trainer did, both computing in float32.

    Args:
        found: how they differ.
        images: how many were compared.

    Returns:
        What was compared, for the model card.

    Raises:
        TrainingError: a predicted class differs, or a number by more than rounding.
    """
    if not found.domain <= _DOMAIN_TOLERANCE:
        raise TrainingError(
            f"The exported model does not reproduce the trainer's in_domain; it differs by up to {found.domain:.2g}. "
            "Nothing was published; please report this."
        )
    if found.classes or not found.scores <= _TOLERANCE:
        raise TrainingError(
            f"The exported model does not reproduce the trainer's answers: {found.classes} of {images} classes differ, "
            f"scores by up to {found.scores:.2g}. Nothing was published; please report this."
        )
    return {"arithmetic": "float32", "tolerance": _TOLERANCE, **_told(found)}


def tell_tf32(found: Difference, images: int) -> tuple[dict[str, Any], str]:
    """How the same version answers in TF32, which a GPU computes in: for the model card, and in words.

    Args:
        found: how it differs from what the trainer saw in float32.
        images: how many were compared.
    """
    says = f"In TF32, as this GPU computes, scores differ by up to {found.scores:.2g}"
    says += f" and {found.classes} of {images} test images get another class."
    if found.scores > TF32_TOLERANCE:
        says += (
            f" That is more than {TF32_TOLERANCE}, so a GPU may refuse to serve it; NVIDIA_TF32_OVERRIDE=0 has it "
            "compute in float32."
        )
    return {"arithmetic": "TF32", "tolerance": TF32_TOLERANCE, **_told(found)}, says


def _told(found: Difference) -> dict[str, Any]:
    return {"largest_difference": float(f"{found.scores:.2g}"), "other_classes": found.classes}


def synthetic_pixels(shape: tuple[int, int, int], count: int = _GOLDEN) -> Pixels:
    """Images that belong to nobody: smooth random colours, the same each time; uint8 (count, *shape)."""
    height, width, channels = shape
    coarse = np.random.default_rng(0).integers(0, 256, (count, 6, 6, channels), dtype=np.uint8)
    planes = [
        [
            np.asarray(Image.fromarray(image[..., c]).resize((width, height), Image.Resampling.BICUBIC))
            for c in range(channels)
        ]
        for image in coarse
    ]
    return np.stack([np.stack(image, axis=-1) for image in planes])


def timings(run: Run, shape: tuple[int, int, int]) -> dict[str, Any]:
    """Milliseconds per image in batches of 1 and 32: the fastest of some calls, the one least disturbed."""
    result: dict[str, Any] = {"cpus": os.cpu_count()}
    for count in (1, 32):
        images = synthetic_pixels(shape, count)
        run(images)
        seconds = []
        for _ in range(30):
            began = time.perf_counter()
            run(images)
            seconds.append(time.perf_counter() - began)
        result[f"ms_per_image_batch_{count}"] = round(min(seconds) * 1000 / count, 4)
    return result


def write_extras(
    folder: Path,
    golden: Pixels,
    scores: Scores,
    card: Mapping[str, Any],
    figures: Sequence[Path],
    int8_scores: Scores | None = None,
) -> None:
    """Put golden samples, model card and figures into `assets.extra`."""
    of_int8 = {} if int8_scores is None else {"int8_scores": int8_scores}
    np.savez_compressed(folder / store.GOLDEN, allow_pickle=False, image=golden, scores=scores, **of_int8)
    (folder / store.MODEL_CARD).write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", "utf-8")
    for figure in figures:
        (folder / store.EXTRA / figure.name).write_bytes(figure.read_bytes())
