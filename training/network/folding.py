"""Batch normalisation folded into the convolutions before it: the same function in fewer steps."""

import keras
import numpy as np

from training.network import architectures
from training.recipe import Architecture


def fold(network: keras.Model, how: Architecture, shape: architectures.Shape) -> keras.Model:
    """The network without normalisation layers that gives the same logits when serving.

    Args:
        network: from `architectures.build(how, ...)`, with its weights.
        how: its choices.
        shape: (H, W, C) of the new network's pixels; may be fixed where the network takes any size.

    Returns:
        A float32 model with fewer layers and equal answers, but for rounding.
    """
    if how.kind == "transfer":
        return network  # the layers of a backbone are not ours to take apart
    classes = network.output_shape[-1]
    folded = architectures.build(how.without_normalisation(), shape, classes)
    norms = {layer.name: layer for layer in network.layers if layer.name.endswith(architectures.NORM)}
    for layer in folded.layers:
        if not layer.weights:
            continue
        weights = network.get_layer(layer.name).get_weights()
        norm = norms.get(f"{layer.name}{architectures.NORM}")
        if norm is not None:
            gamma, beta, mean, variance = (weight.astype(np.float64) for weight in norm.get_weights())
            scale = gamma / np.sqrt(variance + norm.epsilon)
            weights = [weights[0] * scale, beta - mean * scale]
        layer.set_weights([np.asarray(weight, dtype=np.float32) for weight in weights])
    return folded
