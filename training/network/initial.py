"""Weights to begin with: those of a version in the store, taken apart into what folding had joined."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np
import numpy.typing as npt

from service import store
from training.errors import TrainingError
from training.network import architectures
from training.network.pretrained import load_pretrained
from training.recipe import Architecture
from training.weights import weights_version

NORMALISATION: Final = f"{store.EXTRA}/normalisation.npz"
_LAST: Final = "logits"
_PARTS: Final = ("gamma", "beta", "moving_mean", "moving_variance")


@dataclass(frozen=True)
class Origin:
    """Where initial weights came from.

    Attributes:
        version: folder of the version.
        layers: how many layers were taken over.
        fresh: names of those that begin at random, since their shapes differ.
    """

    version: Path
    layers: int
    fresh: tuple[str, ...]


def write_normalisation(folder: Path, network: keras.Model) -> None:
    """Keep beside a folded network what folding removed, so that training can go on from it."""
    arrays = {
        f"{layer.name}/{part}": getattr(layer, part).numpy()
        for layer in network.layers
        if layer.name.endswith(architectures.NORM)
        for part in _PARTS
    }
    np.savez(folder / NORMALISATION, **arrays)


def load_into(network: keras.Model, path: Path) -> Origin:
    """Load the weights of a version, layer by layer as far as shapes agree.

    Args:
        network: from `architectures.build`, of the same kind; the last layer may have other classes.
        path: a version's folder, or a model's, whose latest version is then taken.

    Raises:
        TrainingError: it is not a version that Signpost trained, or one of another architecture.
    """
    version = weights_version(path)
    layers = _read(version)
    wanted = [layer for layer in network.layers if layer.weights]
    fitting = [layer for layer in wanted if _fits(layer, layers.get(layer.name))]
    fresh = tuple(layer.name for layer in wanted if layer not in fitting)
    if not fitting or any(name.removesuffix(architectures.NORM) != _LAST for name in fresh):
        names = ", ".join(fresh[:3])
        raise TrainingError(
            f"The weights of {version} are of another architecture than the recipe's (layers {names} differ); "
            "use those of a model that was trained with the same one."
        )
    for layer in fitting:
        layer.set_weights(layers[layer.name])
    return Origin(version, len(fitting), fresh)


def load_backbone(network: keras.Model, how: Architecture, path: Path | None) -> None:
    """Load pretrained weights into the backbone of a network that begins with such.

    Args:
        network: from `architectures.build`.
        how: its choices.
        path: a file of its weights, or None to let Keras fetch those it publishes for ImageNet.

    Raises:
        TrainingError: the file is missing or of another backbone, or there is no network to fetch it from.
    """
    if how.kind != "transfer":
        load_pretrained(network, how, path)
        return
    backbone = network.get_layer(architectures.BACKBONE)
    if path is not None and not path.is_file():
        raise TrainingError(f"There is no file {path}; --weights takes a .weights.h5 file for {how.backbone} here.")
    try:
        if path is not None:
            backbone.load_weights(str(path))
            return
        make = getattr(keras.applications, how.backbone)
        shape = backbone.input_shape[1:]
        source = make(include_top=False, input_shape=shape, **dict(how.backbone_options))
        backbone.set_weights(source.get_weights())
    except Exception as error:  # h5py, Keras and urllib raise many things
        where = path or "Keras's download"
        reason = str(error).split("\n")[0]
        raise TrainingError(
            f"The weights from {where} can't be loaded into {how.backbone} ({reason}); "
            "name the .weights.h5 file of that very backbone, without its top, with --weights."
        ) from error


def rebuild(version: Path) -> keras.Model:
    """The Keras network of a version, with its normalisation apart, to look into.

    Raises:
        TrainingError: it is not a version that Signpost trained.
    """
    how, shape, classes = _about(version)
    network = architectures.build(how, shape, classes)
    load_into(network, version)
    return network


def as_published(path: Path) -> keras.Model:
    """The Keras network of a version just as it is in the store, its normalisation folded in: the same numbers.

    Raises:
        TrainingError: it is not a version that Signpost trained.
    """
    return _folded(weights_version(path))


def _about(version: Path) -> tuple[Architecture, tuple[int, int, int], int]:
    """Architecture, shape of the pixels and number of classes, from the model card."""
    try:
        card = json.loads((version / store.MODEL_CARD).read_text("utf-8"))
        recorded = card["recipe"]["architecture"]
        # A knob that the card does not know came later; its default is what was built then.
        chosen = {field.name: recorded[field.name] for field in fields(Architecture) if field.name in recorded}
        knobs: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in chosen.items()}
        shape = (int(card["input"]["height"]), int(card["input"]["width"]), int(card["input"]["channels"]))
        return Architecture(**knobs), shape, len(card["classes"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(f"{version} was not trained by this Signpost; its card can't be read ({error}).") from error


def _folded(version: Path) -> keras.Model:
    import tensorflow as tf

    how, shape, classes = _about(version)
    try:
        saved = tf.train.load_checkpoint(str(version / "variables" / "variables"))
        folded = architectures.build(how.without_normalisation(), shape, classes)
        count = len(folded.weights)
        folded.set_weights([saved.get_tensor(f"weights/{n}/.ATTRIBUTES/VARIABLE_VALUE") for n in range(count)])
    except (OSError, KeyError, TypeError, ValueError, tf.errors.OpError) as error:
        raise TrainingError(
            f"{version} was not trained by this Signpost; its weights can't be read ({error})."
        ) from error
    return folded


def _fits(layer: Any, weights: list[npt.NDArray[np.float32]] | None) -> bool:
    return weights is not None and [w.shape for w in weights] == [tuple(w.shape) for w in layer.weights]


def _read(version: Path) -> Mapping[str, list[npt.NDArray[np.float32]]]:
    """The weights of each layer by name, with the normalisation taken out of the kernels again."""
    folded = _folded(version)
    try:
        with np.load(version / NORMALISATION) as file:
            norms = {name: file[name] for name in file.files}
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"{version} was not trained by this Signpost; its weights can't be read ({error})."
        ) from error
    layers: dict[str, list[npt.NDArray[np.float32]]] = {}
    for layer in folded.layers:
        weights = layer.get_weights()
        name = f"{layer.name}{architectures.NORM}"
        if f"{name}/gamma" in norms:
            gamma, beta, mean, variance = (norms[f"{name}/{part}"] for part in _PARTS)
            scale = gamma / np.sqrt(variance + architectures.EPSILON)
            # A channel that normalisation had all but switched off can't be taken apart; it stays as it is.
            weights = [(weights[0] / np.where(np.abs(scale) > 1e-6, scale, 1.0)).astype(np.float32)]
            layers[name] = [gamma, beta, mean, variance]
        layers[layer.name] = weights
    return layers
