"""Kinds of layers of Keras 3: what they take and give, and what batches do to them."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from loadtests.exports.draws import numbers, of_any_length
from loadtests.exports.export import CHANGES_STATE, OPEN_DIMENSIONS, Export, default
from loadtests.exports.saving import save

_X: Final = numbers("x", 3)


def _layers(inputs: tuple[int | None, ...], dtype: str, layers: Any, tf: Any, folder: Path) -> None:
    """Export a Sequential model of `layers(keras.layers)`."""
    keras = tf.keras
    model = keras.Sequential([keras.Input(inputs, name="x", dtype=dtype), *layers(keras.layers)])
    model.export(str(folder), format="tf_saved_model", verbose=False)


def _in_training_mode(layers: Any, tf: Any, folder: Path) -> None:
    model = tf.keras.Sequential([tf.keras.Input((3,)), *layers(tf.keras.layers)])
    state = [variable.value for variable in model.variables]  # that of random layers is not the model's to TensorFlow
    save(tf, folder, lambda x: {"y": model(x, training=True)}, [tf.TensorSpec([None, 3], name="x")], keep=state)


def _mixed_precision(tf: Any, folder: Path) -> None:
    layers = tf.keras.layers
    model = tf.keras.Sequential([tf.keras.Input((16,), name="x"), layers.Dense(8, "tanh", dtype="mixed_bfloat16")])
    model.add(layers.Dense(2, dtype="float32"))
    model.export(str(folder), format="tf_saved_model", verbose=False)


def _image_classifier(tf: Any, folder: Path) -> None:
    keras = tf.keras
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(2, 3), keras.layers.GlobalAveragePooling2D()]
    model = keras.Sequential([keras.Input((8, 8, 3)), *layers, keras.layers.Dense(2, "softmax")])
    classes = tf.constant([["cat", "dog"]])

    def classify(image: Any) -> Any:
        scores = model(tf.cast(image, tf.float32))
        return {"scores": scores, "classes": tf.repeat(classes, tf.shape(scores)[0], 0)}

    save(tf, folder, classify, [tf.TensorSpec([None, 8, 8, 3], tf.uint8, name="image")], keep=model)


def _embedding(layers: Any) -> Sequence[Any]:
    return [layers.Embedding(20_000, 16), layers.Flatten(), layers.Dense(2)]


EXPORTS: Final = (
    Export(
        "image_classifier",
        "an image classifier",
        _image_classifier,
        default(numbers("image", 8, 8, 3, low=0, high=256, dtype="uint8"), True),
    ),
    Export(
        "mixed_precision",
        "a layer of bfloat16 between float32",
        _mixed_precision,
        default(numbers("x", 16), None, rounding=0.02),
    ),
    Export(
        "lstm",
        "LSTM over sequences of one length",
        partial(_layers, (5, 3), "float32", lambda layers: [layers.LSTM(4), layers.Dense(2)]),
        default(numbers("x", 5, 3), True),
    ),
    Export(
        "gru",
        "GRU over sequences of any length",
        partial(_layers, (None, 3), "float32", lambda layers: [layers.GRU(4), layers.Dense(2)]),
        default(numbers("x", 5, 3), False, why=OPEN_DIMENSIONS),
    ),
    Export(
        "embedding",
        "a large embedding",
        partial(_layers, (4,), "int32", _embedding),
        default(numbers("x", 4, low=0, high=20_000, dtype="int32"), True),
    ),
    Export(
        "sequence",
        "token IDs of any length, padding masked",
        partial(
            _layers,
            (None,),
            "int32",
            lambda layers: [layers.Embedding(50, 4, mask_zero=True), layers.GlobalAveragePooling1D()],
        ),
        default(of_any_length("x", 9, shortest=1), False, why=OPEN_DIMENSIONS),
    ),
    Export(
        "wide",
        "wide layers, whose sums are rounded otherwise in a batch",
        partial(_layers, (512,), "float32", lambda layers: [layers.Dense(256, "tanh"), layers.Dense(8)]),
        default(numbers("x", 512), True),
    ),
    Export(
        "dropout_in_training",
        "dropout in training mode: random outputs",
        partial(_in_training_mode, lambda layers: [layers.Dropout(0.5)]),
        default(_X, False, why=CHANGES_STATE, within={"y": (-2.0, 2.0)}),
    ),
    Export(
        "batch_norm_in_training",
        "batch normalisation in training mode",
        partial(_in_training_mode, lambda layers: [layers.Dense(4), layers.BatchNormalization()]),
        default(_X, False, why=CHANGES_STATE),
    ),
)
