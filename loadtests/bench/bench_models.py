"""Models for `loadtests.bench.limit` beside those of the store, made without training.

    python -m loadtests.bench.bench_models FOLDER [NAME …]

What a network has learnt does not change its speed, so its weights may be random.
"""

import os
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

TUTORIAL_CNN: Final = "tutorial_cnn"
MOBILENET_V2: Final = "mobilenet_v2"
EFFICIENTNET_LITE0: Final = "efficientnet_lite0"
RESNET50: Final = "resnet50"
NAMES: Final = (TUTORIAL_CNN, MOBILENET_V2, EFFICIENTNET_LITE0, RESNET50)


def make(store: Path, names: Collection[str]) -> None:
    """Write those of these names, each as version 1, into a store."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from training.output import export

    sizes = {TUTORIAL_CNN: 150, MOBILENET_V2: 160, EFFICIENTNET_LITE0: 224, RESNET50: 224}
    builds = {
        TUTORIAL_CNN: _tutorial_cnn,
        MOBILENET_V2: _mobilenet_v2,
        EFFICIENTNET_LITE0: _efficientnet_lite0,
        RESNET50: _resnet50,
    }
    for name in names:
        network, size = builds[name](), sizes[name]
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

    return _over(keras.applications.MobileNetV2, 160)


def _resnet50() -> Any:
    import keras

    return _over(keras.applications.ResNet50, 224)


def _efficientnet_lite0() -> Any:
    from training.network import architectures
    from training.recipe import Architecture

    return architectures.build(Architecture("efficientnet_lite0"), (224, 224, 3), 2)


def _over(backbone: Any, size: int) -> Any:
    """A classifier of two classes over one of Keras's networks."""
    import keras
    from keras import layers

    body = backbone(input_shape=(size, size, 3), include_top=False, weights=None, pooling="avg")
    image = layers.Input((size, size, 3), dtype="uint8")
    logits = layers.Dense(2, name="logits")(body(layers.Rescaling(1 / 127.5, offset=-1)(image)))
    return keras.Model(image, logits)


if __name__ == "__main__":
    make(Path(sys.argv[1]), sys.argv[2:] or NAMES)
