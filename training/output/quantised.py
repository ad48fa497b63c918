"""The int8 form of a version: its network in whole numbers of eight bits, for OpenVINO, beside the float graph.

Quantised after the training, by NNCF: some training images show between which numbers each layer's outputs lie. What is
written is opened and run as the service does, and is judged on the test images on its own.
"""

import importlib.metadata
import io
import logging
import os
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from service import store
from training.data.augmentation import resize
from training.data.batches import plain_batches
from training.data.datasets import Data, Dataset, Pixels
from training.errors import TrainingError, os_error
from training.loop import evaluate
from training.loop.evaluate import Scores
from training.loop.knowing import passing
from training.output import export

INT8: Final = "int8"
# Images that show in which range each layer's outputs lie: as many as NNCF takes by itself.
_CALIBRATION: Final = 300
_LIBRARIES: Final = ("nncf", "openvino")
_BATCH: Final = 32


@dataclass(frozen=True, eq=False)
class Quantised:
    """An int8 form, and what it answered.

    Attributes:
        scores: for the test images, (N, K).
        known: how well it knows them, (N,); empty where it can't say.
        golden_scores: for the golden samples.
        calibration: how many training images it was calibrated on.
        timings: see `export.timings`.
        size: of its files, in bytes.
    """

    scores: Scores
    known: Scores
    golden_scores: Scores
    calibration: int
    timings: Mapping[str, Any]
    size: int


def quantise(folder: Path, train: Dataset, test: Dataset, golden: Pixels, seed: int) -> Quantised:
    """Write the int8 form of a version into its folder, and run it.

    Args:
        folder: of the version, a SavedModel that `export.write` has written.
        train: images that it learned from; some are drawn to calibrate it.
        test: the test images.
        golden: synthetic pixels.
        seed: which images are drawn.

    Raises:
        TrainingError: NNCF or OpenVINO can't take this network.
        OSError: the folder can't be written, or the disk is full.
    """
    from service.engine.runtimes import openvino

    path = folder / store.INT8
    shape = golden.shape[1:]
    drawn = np.random.default_rng(seed).permutation(len(train))[:_CALIBRATION]
    calibration = resize(train.images(np.sort(drawn)), shape[:2])
    _write(path, _in_int8(openvino.read(_part(folder)), calibration))
    opened = openvino.open_model(path, threads=os.cpu_count() or 1, at_once=1, bfloat16=False)
    run = opened.devices[0]
    try:
        answers = [run({"image": images}, ()) for images, _ in plain_batches(test, shape[:2], _BATCH)]
        return Quantised(
            np.concatenate([each["scores"] for each in answers]),
            np.concatenate([each.get(export.IN_DOMAIN, np.zeros(0, np.float32)) for each in answers]),
            run({"image": golden}, ("scores",))["scores"],
            len(calibration),
            export.timings(lambda images: run({"image": images}, ("scores",))["scores"], shape),
            sum(each.stat().st_size for each in path.parent.iterdir()),
        )
    finally:
        opened.close()


def about(found: Quantised, scores: Scores, data: Data) -> dict[str, Any]:
    """The int8 form's part of the model card.

    Args:
        found: what it answered.
        scores: the float network's for the test images, (N, K).
        data: with the test images.
    """
    targets, classes = data.test.targets(), data.test.classes
    return {
        "runtime": "openvino",
        "bytes": found.size,
        "calibration_images": found.calibration,
        "metrics": {
            "test": evaluate.measure(found.scores, targets).as_dict(classes),
            "groups": {
                name: evaluate.measure(found.scores[at], targets[at]).as_dict(classes)
                for name, at in data.groups.items()
            },
        },
        "against_float": {
            "largest_difference": float(f"{np.abs(found.scores - scores).max():.2g}"),
            "mean_difference": float(f"{np.abs(found.scores - scores).mean():.2g}"),
            "other_classes": int((found.scores.argmax(axis=1) != scores.argmax(axis=1)).sum()),
        },
        "test_passing": passing(found.known),
        "timings": dict(found.timings),
        "libraries": {name: importlib.metadata.version(name) for name in _LIBRARIES},
    }


def in_words(card: Mapping[str, Any]) -> str:
    """What became of a network in int8, for people.

    Args:
        card: the model card, with `int8`.
    """
    whole, found = card["metrics"]["test"], card[INT8]["metrics"]["test"]
    times = card["timings"]["ms_per_image_batch_32"] / card[INT8]["timings"]["ms_per_image_batch_32"]
    return (
        f"In int8: {found['correct']} of {found['images']} right, accuracy {found['accuracy']:.4f}, where the float "
        f"network reached {whole['accuracy']:.4f}; {card[INT8]['against_float']['other_classes']} images get another "
        f"class. In batches of 32 it is {times:.1f} times as fast as TensorFlow on this machine."
    )


def check_loss(card: Mapping[str, Any], most_lost: float) -> None:
    """Make sure that a network has not lost more than it may in int8; one test image is never too many.

    Args:
        card: the model card, with `int8`.
        most_lost: how much of the accuracy, as a share of the test images.

    Raises:
        TrainingError: it has.
    """
    whole, found = card["metrics"]["test"], card[INT8]["metrics"]["test"]
    lost = whole["correct"] - found["correct"]
    kept = ", and --resume what was trained" if card["training"]["epochs"] else ""
    if lost > max(1, int(most_lost * whole["images"])):
        raise TrainingError(
            f"In int8 the network is right on {found['correct']} of {found['images']} test images and in float on "
            f"{whole['correct']}: {lost / whole['images']:.4f} of its accuracy would be lost, and at most {most_lost} "
            f"is allowed. Nothing was published; leave --quantize out, or allow more with --quantize-loss{kept}."
        )


def _part(folder: Path) -> Any:
    """What of a version OpenVINO runs: the numbers that its default signature gives, with constants for variables."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from service.engine.runtimes.part import Part

    loaded = tf.saved_model.load(str(folder))
    signature = loaded.signatures[export.SIGNATURE]
    image = signature.structured_input_signature[1]["image"]
    wanted = [name for name, spec in signature.structured_outputs.items() if spec.dtype != tf.string]

    def numbers(image: Any) -> list[Any]:
        found = signature(image=image)
        return [found[name] for name in wanted]

    spec = tf.TensorSpec(image.shape, image.dtype, name="image")
    frozen = convert_variables_to_constants_v2(tf.function(numbers, input_signature=[spec]).get_concrete_function())
    ends = [tensor.op.name for tensor in frozen.outputs]
    return Part(frozen.graph.as_graph_def(), {"image": frozen.inputs[0].op.name}, dict(zip(wanted, ends, strict=True)))


def _in_int8(model: Any, calibration: Pixels) -> Any:
    """An OpenVINO model in int8, but for what tells how well it knows an image."""
    import nncf

    nncf.set_log_level(logging.ERROR)
    # Half of the range for weights: the other half overflows on processors without VNNI, where answers would differ.
    advanced = nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE)
    images = nncf.Dataset(calibration, lambda pixels: pixels[np.newaxis])
    aside = nncf.IgnoredScope(names=_only_in_domain(model), validate=False)
    try:
        with redirect_stdout(io.StringIO()):  # its progress bars
            return nncf.quantize(
                model,
                images,
                subset_size=len(calibration),
                # The quick one loses six times as many images of a small network (docs/decisions/0145).
                fast_bias_correction=False,
                ignored_scope=aside,
                advanced_parameters=advanced,
            )
    except Exception as error:  # NNCF raises many things
        raise TrainingError(f"This network can't be quantised: {str(error).splitlines()[0]}") from error


def _only_in_domain(model: Any) -> list[str]:
    """The names of the operations on which nothing but `in_domain` depends: distances, for which 8 bits are too few."""

    def behind(name: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        waiting = [port.get_node() for port in model.outputs if name in port.get_names()]
        while waiting:
            node = waiting.pop()
            if node.get_friendly_name() not in found:
                found[node.get_friendly_name()] = node
                waiting += [value.get_node() for value in node.input_values()]
        return found

    scores = behind("scores")
    return [name for name in behind(export.IN_DOMAIN) if name not in scores]


def _write(path: Path, model: Any) -> None:
    from service.engine.runtimes.openvino import import_openvino

    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        import_openvino().save_model(model, path, compress_to_fp16=False)
    except RuntimeError as error:  # also for a disk that is full
        raise os_error(str(error)) from error
