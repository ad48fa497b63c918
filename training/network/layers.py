"""Layers that Keras lacks, or has only slower."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="signpost")
class MeanImage(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Subtracts an image from each image; it is a weight, set from the training images and never learned."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the mean, (H, W, C), zero until it is set."""
        self.mean = self.add_weight(shape=input_shape[1:], initializer="zeros", trainable=False, name="mean")

    def call(self, inputs: Any) -> Any:
        """(N, H, W, C) to the same."""
        return inputs - self.mean


@keras.saving.register_keras_serializable(package="signpost")
class FastBatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]  # Keras has no types
    """Keras's batch normalisation of the last axis, with TensorFlow's fused kernel where that is the backend.

    Keras computes mean, variance and scaling as separate passes over the activations; on a CPU the fused kernel
    makes a whole training step of a ResNet 1.7 times as fast (bfloat16, 96 px: 2.2 instead of 3.7 ms per image).
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalise (N, H, W, C) or (N, C) activations; the statistics stay float32 whatever the compute type."""
        if keras.backend.backend() != "tensorflow" or len(inputs.shape) != 4 or mask is not None:
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        fused = tf.raw_ops.FusedBatchNormV3
        common = {"x": inputs, "scale": ops.cast(self.gamma, "float32"), "offset": ops.cast(self.beta, "float32")}
        if not (training and self.trainable):
            mean, variance = ops.cast(self.moving_mean, "float32"), ops.cast(self.moving_variance, "float32")
            return fused(**common, mean=mean, variance=variance, epsilon=self.epsilon, is_training=False).y
        empty = tf.zeros((0,))
        result = fused(**common, mean=empty, variance=empty, epsilon=self.epsilon, is_training=True)
        keep = self.momentum
        self.moving_mean.assign(self.moving_mean * keep + result.batch_mean * (1.0 - keep))
        self.moving_variance.assign(self.moving_variance * keep + result.batch_variance * (1.0 - keep))
        return result.y
