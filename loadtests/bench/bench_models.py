"""Two models for `loadtests.bench.limit` beside those of the store, made without training.

    python -m loadtests.bench.bench_models FOLDER

What a network has learnt does not change its speed, so its weights may be random.
"""

import os
import sys
from pathlib import Path
from typing import Any, Final

TUTORIAL_CNN: Final = "tutorial_cnn"
MOBILENET_V2: Final = "mobilenet_v2"


def make(store: Path) -> None:
    """Write both as version 1 into a store."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from training.output import export

    for name, network, size in ((TUTORIAL_CNN, _tutorial_cnn(), 150), (MOBILENET_V2, _mobilenet_v2(), 160)):
        (store / name).mkdir()
        export.write(store / name / "1", network, ("cat", "dog"), (size, size, 3), name)


def _tutorial_cnn() -> Any:
    """Four convolutions and two dense layers, as TensorFlow's tutorials on cats and dogs have them."""
    from keras import Sequential, layers

    convolutions = [
        layer for n in (32, 64, 128, 128) for layer in (layers.Conv2D(n, 3, activation="relu"), layers.MaxPooling2D(2))
    ]
    head = [layers.Flatten(), layers.Dense(512, activation="relu"), layers.Dense(2, name="logits")]
    return Sequential([layers.Input((150, 150, 3), dtype="uint8"), layers.Rescaling(1 / 255), *convolutions, *head])


def _mobilenet_v2() -> Any:
    import keras
    from keras import layers

    body = keras.applications.MobileNetV2(input_shape=(160, 160, 3), include_top=False, weights=None, pooling="avg")
    image = layers.Input((160, 160, 3), dtype="uint8")
    return keras.Model(image, layers.Dense(2, name="logits")(body(layers.Rescaling(1 / 127.5, offset=-1)(image))))


if __name__ == "__main__":
    make(Path(sys.argv[1]))
