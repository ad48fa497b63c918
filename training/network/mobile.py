"""Two small networks that were trained on ImageNet elsewhere, written out so that they hold nothing but convolutions.

Their batch normalisation is folded into the convolutions when the weights are loaded (`training.network.pretrained`):
its statistics would stay as they are anyway, and a step of the training takes a third less, an answer a quarter less.
Any height and width will do.
"""

from typing import Any, Final

from keras import layers

from training.recipe import Architecture

Tensor = Any  # keras.KerasTensor; Keras has no types

FEATURES: Final = "features"  # where the pretrained part ends and the head begins

# Channels and stride of each pair of a depthwise and a 1x1 convolution (Howard et al. 2017).
_MOBILENET: Final = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))

# Expansion, channels, blocks, stride and kernel of each stage (EfficientNet-B0 without squeeze-and-excite and swish).
_LITE0: Final = (
    (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5), (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)  # fmt: skip


def mobilenet(x: Tensor, how: Architecture) -> Tensor:
    """MobileNet with `how.scale` times its channels; a 32nd of the size at the end."""
    x = _relu6(_convolution(x, int(32 * how.scale), 3, 2, "stem"))
    for block, (width, stride) in enumerate(_MOBILENET, start=1):
        x = _relu6(_depthwise(x, 3, stride, f"block{block}_depthwise"))
        x = _relu6(_convolution(x, int(width * how.scale), 1, 1, f"block{block}_pointwise"))
    return _mean(x)


def efficientnet_lite0(x: Tensor, _: Architecture) -> Tensor:
    """EfficientNet-Lite0; a 32nd of the size at the end, 1,280 features."""
    x = _relu6(_convolution(x, 32, 3, 2, "stem"))
    block = 0
    for expansion, width, depth, stride, kernel in _LITE0:
        for turn in range(depth):
            block += 1
            before, name = x, f"block{block}"
            if expansion > 1:
                x = _relu6(_convolution(x, x.shape[-1] * expansion, 1, 1, f"{name}_expand"))
            x = _relu6(_depthwise(x, kernel, stride if turn == 0 else 1, f"{name}_depthwise"))
            x = _convolution(x, width, 1, 1, f"{name}_project")
            x = layers.Add(name=f"{name}_add")([before, x]) if turn else x
    return _mean(_relu6(_convolution(x, 1280, 1, 1, "head")))


def _mean(x: Tensor) -> Tensor:
    return layers.GlobalAveragePooling2D(name=FEATURES)(x)


def _convolution(x: Tensor, width: int, kernel: int, stride: int, name: str) -> Tensor:
    return layers.Conv2D(width, kernel, strides=stride, padding="same", name=name)(x)


def _depthwise(x: Tensor, kernel: int, stride: int, name: str) -> Tensor:
    return layers.DepthwiseConv2D(kernel, strides=stride, padding="same", name=name)(x)


def _relu6(x: Tensor) -> Tensor:
    return layers.Activation("relu6", name=f"{x.name}_relu6")(x)
