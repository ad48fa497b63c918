"""A SavedModel that tells bright images from dark ones, as a program, since making one needs TensorFlow.

Usage: python -m tests.e2e.make_brightness FOLDER [SIGNATURE]

Images are 32 x 32 grey, the classes `dark` and `bright`; it does not know what is quite black.
With a SIGNATURE it has one of that name that explains the answer: where an image is bright, its heat map is hot.
"""

import sys
from typing import Any

import tensorflow as tf

_IMAGE = tf.TensorSpec([None, 32, 32, 1], tf.uint8, name="image")


class Brightness(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
    """Tells bright images from dark ones."""

    @tf.function(input_signature=[_IMAGE])  # type: ignore[untyped-decorator]
    def predict(self, image: Any) -> dict[str, Any]:
        bright = tf.reduce_mean(tf.cast(image, tf.float32), [1, 2, 3]) / 255
        names = tf.tile(tf.constant([["dark", "bright"]]), [tf.shape(image)[0], 1])
        known = tf.where(bright > 0.0, 0.9, 0.1)
        return {"scores": tf.stack([1 - bright, bright], 1), "classes": names, "in_domain": known}

    @tf.function(input_signature=[_IMAGE])  # type: ignore[untyped-decorator]
    def explain(self, image: Any) -> dict[str, Any]:
        cells = tf.nn.avg_pool2d(tf.cast(image, tf.float32) / 255, 8, 8, "VALID")
        return {**self.predict(image), "heatmap": cells[..., 0]}


if __name__ == "__main__":
    model = Brightness()
    folder, *explaining = sys.argv[1:]
    tf.saved_model.save(model, folder, {"serving_default": model.predict, **dict.fromkeys(explaining, model.explain)})
