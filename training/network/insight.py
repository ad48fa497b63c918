"""Looking into a network: where it looks, what its layers see, and whether their scale is sound."""

from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np
import numpy.typing as npt

from training.data.datasets import Pixels
from training.network.grad_cam import grad_cam

Maps = npt.NDArray[np.float32]

_VANISHED: Final = 1e-3
_EXPLODED: Final = 1e3
_DEAD: Final = 0.95


@dataclass(frozen=True, eq=False)
class Activation:
    """How a layer's output is spread over some images.

    Attributes:
        layer: its name.
        deviation: standard deviation.
        zeros: share of exact zeros.
        counts: of a histogram with 40 bins.
        edges: of its bins, 41 of them.
        warning: what is wrong with it, or nothing.
    """

    layer: str
    deviation: float
    zeros: float
    counts: npt.NDArray[np.int64]
    edges: npt.NDArray[np.float64]
    warning: str


def looked_at(network: keras.Model, pixels: Pixels) -> Maps:
    """How much each place of each image speaks for the predicted class; see `training.network.grad_cam`.

    Args:
        network: from pixels to logits.
        pixels: uint8 (N, H, W, C).

    Returns:
        float32 (N, h, w), 0 to 1, of the size of the last layer that has places; (N, 0, 0) when there is none.
    """
    explain = grad_cam(network)
    if explain is None:
        return np.zeros((len(pixels), 0, 0), dtype=np.float32)
    return np.asarray(explain(pixels)[1], dtype=np.float32)


def first_filters(network: keras.Model) -> Maps:
    """The kernels of the first convolution, float32 (F, h, w, C); (0, 0, 0, 0) when there is none."""
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D):
            return np.asarray(layer.get_weights()[0], dtype=np.float32).transpose(3, 0, 1, 2)
    return np.zeros((0, 0, 0, 0), dtype=np.float32)


def feature_maps(network: keras.Model, pixels: Pixels, most: int = 12) -> list[tuple[str, Maps]]:
    """What the first convolution of each stage makes of one image.

    Args:
        network: from pixels to logits.
        pixels: uint8 (1, H, W, C).
        most: how many maps of each layer.

    Returns:
        For some layers the name and the strongest maps, float32 (n, h, w).
    """
    layers = [
        layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D) and "shortcut" not in layer.name
    ]
    chosen = layers[:: max(1, len(layers) // 4)][:4]
    if not chosen:
        return []
    outputs = _outputs(network, chosen, pixels)
    found = []
    for layer, output in zip(chosen, outputs, strict=True):
        maps = output[0].transpose(2, 0, 1)
        strongest = np.argsort(-maps.std(axis=(1, 2)))[:most]
        found.append((str(layer.name), maps[strongest]))
    return found


def activations(network: keras.Model, pixels: Pixels) -> list[Activation]:
    """How the outputs of the layers with weights are spread, with a warning where the scale explodes or vanishes.

    Args:
        network: from pixels to logits.
        pixels: uint8 (N, H, W, C), some dozens.
    """
    layers = [layer for layer in network.layers if isinstance(layer, keras.layers.Activation | keras.layers.Dense)]
    found = []
    for layer, output in zip(layers, _outputs(network, layers, pixels), strict=True):
        finite = output[np.isfinite(output)]
        deviation, zeros = float(finite.std()) if len(finite) else 0.0, float((output == 0).mean())
        counts, edges = np.histogram(finite, bins=40)
        found.append(Activation(str(layer.name), deviation, zeros, counts, edges, _warning(output, deviation, zeros)))
    return found


def _warning(output: Maps, deviation: float, zeros: float) -> str:
    if not np.isfinite(output).all():
        return "some values are not numbers; lower the learning rate"
    if deviation > _EXPLODED:
        return f"its values explode (standard deviation {deviation:.3g}); lower the learning rate or normalise"
    if zeros > _DEAD:
        return f"{zeros:.0%} of its values are zero; lower the learning rate"
    if deviation < _VANISHED:
        return f"its values vanish (standard deviation {deviation:.3g}); raise the initial scale or normalise"
    return ""


def _outputs(network: keras.Model, layers: list[Any], pixels: Pixels) -> list[Maps]:
    outputs = keras.Model(network.input, [layer.output for layer in layers]).predict_on_batch(pixels)
    listed = outputs if isinstance(outputs, list) else [outputs]
    return [np.asarray(output, dtype=np.float32) for output in listed]
