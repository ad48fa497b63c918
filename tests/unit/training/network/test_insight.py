"""Looking into networks whose insides are known."""

import keras
import numpy as np
import pytest

from training.network import insight
from training.network.architectures import build
from training.recipe import Architecture

pytestmark = pytest.mark.slow  # TensorFlow

HOW = Architecture("cnn", widths=(4, 6), normalise=False)


def images(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 16, 16, 1), dtype=np.uint8)


def brightness_finder() -> keras.Model:
    """Says `bright` by the mean of the pixels, through one convolution that passes them on."""
    network = build(Architecture("cnn", widths=(1,), normalise=False), (16, 16, 1), 2)
    kernel = np.zeros((3, 3, 1, 1), dtype=np.float32)
    kernel[1, 1] = 1.0
    network.get_layer("stage1_conv1").set_weights([kernel, np.zeros(1)])
    network.get_layer("logits").set_weights([np.array([[0.0, 1.0]]), np.zeros(2)])
    return network


def test_filters_and_feature_maps_have_the_networks_shapes() -> None:
    network = build(HOW, (16, 16, 1), 2)
    assert insight.first_filters(network).shape == (4, 3, 3, 1)
    assert [(name, maps.shape) for name, maps in insight.feature_maps(network, images(1), most=5)] == [
        ("stage1_conv1", (4, 16, 16)),
        ("stage2_conv1", (5, 8, 8)),
    ]
    dense = build(Architecture("dense", widths=(4,)), (16, 16, 1), 2)
    assert len(insight.first_filters(dense)) == 0
    assert insight.feature_maps(dense, images(1)) == []


@pytest.mark.parametrize(("scale", "warning"), [(1.0, ""), (1e5, "explode"), (1e-6, "vanish"), (-1.0, "are zero")])
def test_a_layer_out_of_scale_is_named(scale: float, warning: str) -> None:
    network = brightness_finder()
    bright = np.maximum(images(), 200)
    layer = network.get_layer("stage1_conv1")
    layer.set_weights([layer.get_weights()[0] * scale, np.zeros(1)])
    first = insight.activations(network, bright)[0]
    assert first.layer == "stage1_conv1_relu"
    assert warning in first.warning
    assert bool(first.warning) == bool(warning)
    assert len(first.edges) == len(first.counts) + 1


def test_values_that_are_no_numbers_are_named() -> None:
    network = brightness_finder()
    layer = network.get_layer("stage1_conv1")
    layer.set_weights([layer.get_weights()[0], np.array([np.inf])])
    assert "not numbers" in insight.activations(network, images())[0].warning
