"""SavedModels that tell bright images from dark ones, as a program, since making one needs TensorFlow.

Usage: python -m tests.e2e.make_brightness FOLDER[,SIGNATURE[,MIDDLE]] ...

Images are 32 x 32 grey, the classes `dark` and `bright`; it does not know what is quite black.
What is lighter than the MIDDLE, of 255, is bright.
With a SIGNATURE it has one of that name that explains the answer: where an image is bright, its heat map is hot.
"""

import sys
from typing import Any

import tensorflow as tf

_IMAGE = tf.TensorSpec([None, 32, 32, 1], tf.uint8, name="image")


class Brightness(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
    """Tells bright images from dark ones."""

    def __init__(self, middle: float) -> None:
        super().__init__()
        self.middle = middle

    @tf.function(input_signature=[_IMAGE])  # type: ignore[untyped-decorator]
    def predict(self, image: Any) -> dict[str, Any]:
        bright = tf.minimum(1.0, tf.reduce_mean(tf.cast(image, tf.float32), [1, 2, 3]) / (2 * self.middle))
        names = tf.tile(tf.constant([["dark", "bright"]]), [tf.shape(image)[0], 1])
        known = tf.where(bright > 0.0, 0.9, 0.1)
        return {"scores": tf.stack([1 - bright, bright], 1), "classes": names, "in_domain": known}

    @tf.function(input_signature=[_IMAGE])  # type: ignore[untyped-decorator]
    def explain(self, image: Any) -> dict[str, Any]:
        cells = tf.nn.avg_pool2d(tf.cast(image, tf.float32) / 255, 8, 8, "VALID")
        return {**self.predict(image), "heatmap": cells[..., 0]}


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        folder, explaining, middle = (*argument.split(","), "", "")[:3]
        model = Brightness(float(middle or 127.5))
        signatures = {"serving_default": model.predict} | ({explaining: model.explain} if explaining else {})
        tf.saved_model.save(model, folder, signatures)
