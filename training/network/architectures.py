"""The networks: uint8 pixels in, one logit per class out; scaling is their first layer.

Each is a function of the input's shape and the number of classes, listed in `ARCHITECTURES`. A height and width of
None make a network that takes any size, which the training in growing sizes uses.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import keras
from keras import layers

from training.errors import TrainingError
from training.network import mobile
from training.network.layers import FastBatchNormalization, MeanImage
from training.recipe import Architecture

Tensor = Any  # keras.KerasTensor; Keras has no types
Shape = tuple[int | None, int | None, int]

EPSILON: Final = 1e-3  # of batch normalisation
BACKBONE: Final = "backbone"
PLACES: Final = "places"
FEATURES: Final = mobile.FEATURES  # where a backbone ends and the head begins
MEAN: Final = "mean_image"
NORM: Final = "_norm"  # a convolution's batch normalisation is called like it, with this behind


def build(how: Architecture, shape: Shape, classes: int, precision: str = "float32") -> keras.Model:
    """Build a network with fresh weights.

    Args:
        how: its choices.
        shape: (H, W, C) of the pixels; H and W may be None where `how.kind` allows it.
        classes: K.
        precision: a Keras dtype policy, `float32` or a mixed one; weights are float32 in any case.

    Returns:
        A model from uint8 (N, H, W, C) to float32 logits (N, K).

    Raises:
        TrainingError: there is no such architecture, or it does not go with the shape.
    """
    if how.kind not in ARCHITECTURES:
        raise TrainingError(f"There is no architecture {how.kind!r}; there are {', '.join(ARCHITECTURES)}.")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        pixels = keras.Input(shape, dtype="uint8", name="image")
        # Scaled in float32: bfloat16 has 8 bits of mantissa and would blur the pixels.
        scaled = layers.Rescaling(1 / 127.5, -1.0, dtype="float32", name="scale")(pixels)
        if how.mean_image:
            if None in shape:
                raise TrainingError("A mean image needs images of one size; leave the growing sizes out.")
            scaled = MeanImage(dtype="float32", name=MEAN)(scaled)
        features = ARCHITECTURES[how.kind](scaled, how)
        if how.frozen and how.is_pretrained and how.kind != "transfer":  # which freezes its backbone itself
            _freeze(keras.Model(pixels, features), how)
        if how.units:
            features = layers.Dense(how.units, activation="relu", kernel_regularizer=_l2(how), name="hidden")(features)
        if how.dropout:
            features = layers.Dropout(how.dropout)(features)
        logits = layers.Dense(classes, dtype="float32", kernel_regularizer=_l2(how), name="logits")(features)
        return keras.Model(pixels, logits, name=how.kind)
    except ValueError as error:  # of Keras: an image that is too small for so many stages, say
        raise TrainingError(
            f"The architecture {how.kind} can't be built for images of shape {shape}: {str(error).splitlines()[0]}"
        ) from error
    finally:
        keras.config.set_dtype_policy(before)


def dense(x: Tensor, how: Architecture) -> Tensor:
    """The tutorials' baseline: flattened pixels and hidden layers."""
    x = layers.Flatten()(x)
    for stage, width in enumerate(how.widths):
        x = layers.Dense(width, activation="relu", kernel_regularizer=_l2(how), name=f"hidden{stage + 1}")(x)
    return x


def cnn(x: Tensor, how: Architecture) -> Tensor:
    """Stages of 3x3 convolutions, each followed by 2x2 max pooling; the mean over the places at the end."""
    for stage, width in enumerate(how.widths):
        for block in range(how.depth(stage)):
            x = _convolution(x, width, how, f"stage{stage + 1}_conv{block + 1}")
        x = layers.MaxPooling2D(2)(x)  # (H/2, W/2, width)
    return layers.Flatten()(x) if how.units else layers.GlobalAveragePooling2D()(x)


def vgg(x: Tensor, how: Architecture) -> Tensor:
    """The modified VGGNet for small images: two convolutions per stage, dropout after each pooling."""
    for stage, width in enumerate(how.widths):
        for block in range(max(2, how.depth(stage))):
            x = _convolution(x, width, how, f"stage{stage + 1}_conv{block + 1}")
        x = layers.MaxPooling2D(2)(x)
        if how.dropout:
            x = layers.Dropout(how.dropout / 2)(x)
    return layers.Flatten()(x)


def resnet(x: Tensor, how: Architecture) -> Tensor:
    """Residual stages of two 3x3 convolutions a block; stem and each stage halve the size."""
    x = _convolution(x, how.stem, how, "stem", stride=2)  # (H/2, W/2, stem)
    for stage, width in enumerate(how.widths):
        for block in range(how.depth(stage)):
            x = _residual(x, width, 2 if block == 0 else 1, how, f"stage{stage + 1}_block{block + 1}")
    return layers.GlobalAveragePooling2D()(x)


def transfer(x: Tensor, how: Architecture) -> Tensor:
    """A backbone from `keras.applications`, and the mean of its features over the places."""
    make = getattr(keras.applications, how.backbone, None)
    if not callable(make):
        raise TrainingError(f"There is no backbone {how.backbone!r} in keras.applications; MobileNet is one.")
    if None in x.shape[1:]:
        raise TrainingError("A backbone needs images of one size; leave the growing sizes out.")
    body = make(include_top=False, weights=None, input_shape=x.shape[1:], **dict(how.backbone_options))
    for layer in body.layers:
        # Fine-tuning in small batches would ruin the statistics that the backbone was trained with.
        layer.trainable = not isinstance(layer, layers.BatchNormalization)
    _freeze(body, how)
    body.name = BACKBONE
    prepare = importlib.import_module(make.__module__).preprocess_input  # each backbone wants its pixels its own way
    # An activation of ours: what Grad-CAM looks for lies within the body, out of its sight.
    places = layers.Activation("linear", name=PLACES)(body(prepare((x + 1.0) * 127.5)))  # (N, h, w, F)
    return layers.GlobalAveragePooling2D(name=FEATURES)(places)


def _freeze(body: keras.Model, how: Architecture) -> None:
    if not how.frozen:
        return
    names = [layer.name for layer in body.layers]
    if how.frozen not in names:
        network = how.backbone or how.kind
        raise TrainingError(f"{network} has no layer {how.frozen!r} to freeze up to; {names[-1]} is its last.")
    for layer in body.layers[: names.index(how.frozen) + 1]:
        layer.trainable = False


ARCHITECTURES: Final[Mapping[str, Callable[[Tensor, Architecture], Tensor]]] = {
    "dense": dense,
    "cnn": cnn,
    "vgg": vgg,
    "resnet": resnet,
    "transfer": transfer,
    "mobilenet": mobile.mobilenet,
    "efficientnet_lite0": mobile.efficientnet_lite0,
}


def _residual(x: Tensor, width: int, stride: int, how: Architecture, name: str) -> Tensor:
    y = _convolution(x, width, how, f"{name}_conv1", stride=stride)
    y = _convolution(y, width, how, f"{name}_conv2", activation=None, gain="zeros")
    if stride > 1:
        x = layers.AveragePooling2D(stride, padding="same")(x)  # keeps what a strided 1x1 would throw away
    if x.shape[-1] != width:
        x = _convolution(x, width, how, f"{name}_shortcut", kernel=1, activation=None)
    return layers.Activation("relu", name=f"{name}_relu")(layers.Add()([x, y]))


def _convolution(
    x: Tensor,
    width: int,
    how: Architecture,
    name: str,
    *,
    kernel: int = 3,
    stride: int = 1,
    activation: str | None = "relu",
    gain: str = "ones",
) -> Tensor:
    x = layers.Conv2D(
        width,
        kernel,
        strides=stride,
        padding="same",
        use_bias=not how.normalise,
        kernel_initializer="he_normal",
        kernel_regularizer=_l2(how),
        name=name,
    )(x)
    if how.normalise:
        # A gain of zero makes a residual block begin as the identity, which eases the first epochs.
        x = FastBatchNormalization(momentum=0.95, epsilon=EPSILON, gamma_initializer=gain, name=f"{name}{NORM}")(x)
    return layers.Activation(activation, name=f"{name}_{activation}")(x) if activation else x


def _l2(how: Architecture) -> keras.regularizers.Regularizer | None:
    return keras.regularizers.L2(how.l2) if how.l2 else None
