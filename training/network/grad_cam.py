"""Grad-CAM: which places of an image spoke for the class that a network found.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization" (2017).
"""

from collections.abc import Callable
from typing import Any

import keras

Explain = Callable[[Any], tuple[Any, Any]]


def grad_cam(network: keras.Model) -> Explain | None:
    """Make a function that explains a network's answers.

    Args:
        network: from uint8 pixels (N, H, W, C) to logits (N, K), on Keras's TensorFlow backend.

    Returns:
        From pixels to the logits and heat maps: float32 (N, h, w), 0 to 1, of the size of the last layer that has
        places; how much each of them spoke for the class with the highest logit. TensorFlow can trace it. None where
        no layer has places, or another backend computes.
    """
    layer = _last_with_places(network)
    if layer is None or keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    before = keras.Model(network.inputs[0], layer.output)
    behind = keras.Model(layer.output, network.outputs[0])

    def explain(pixels: Any) -> tuple[Any, Any]:
        features = before(pixels, training=False)  # (N, h, w, F)
        with tf.GradientTape() as tape:
            tape.watch(features)
            logits = behind(features, training=False)  # (N, K)
            best = tf.reduce_max(logits, axis=1)
        weights = tf.reduce_mean(tape.gradient(best, features), axis=(1, 2), keepdims=True)  # (N, 1, 1, F)
        maps = tf.nn.relu(tf.reduce_sum(weights * features, axis=-1))  # (N, h, w)
        return logits, tf.math.divide_no_nan(maps, tf.reduce_max(maps, axis=(1, 2), keepdims=True))

    return explain


def _last_with_places(network: keras.Model) -> Any:
    """The last layer that computes something for each place; pooling after it would only blur the picture."""
    computing = keras.layers.Activation | keras.layers.Conv2D
    for layer in reversed(network.layers):
        if isinstance(layer, computing) and len(layer.output.shape) == 4:
            return layer
    return None
