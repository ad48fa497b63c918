"""Heat maps of networks of which it is known what they look at."""

import keras
import numpy as np
import pytest

from tests.unit.training.network.test_insight import brightness_finder, images
from training.network import insight
from training.network.architectures import BACKBONE, build
from training.network.grad_cam import grad_cam
from training.recipe import Architecture

pytestmark = pytest.mark.slow  # TensorFlow


def test_it_looks_where_the_evidence_is() -> None:
    pixels = np.zeros((2, 16, 16, 1), dtype=np.uint8)
    pixels[0, 2:6, 10:14] = 255
    where, nowhere = insight.looked_at(brightness_finder(), pixels)
    assert where.shape == (16, 16)
    assert where.max() == pytest.approx(1.0)
    assert (where[2:6, 10:14] > 0.99).all()
    assert where.sum() == pytest.approx(16.0)
    assert not nowhere.any()  # a black image speaks for nothing


@pytest.mark.parametrize(
    ("how", "places"),
    [
        (Architecture("cnn", widths=(4, 6)), (8, 8)),
        (Architecture("cnn", widths=(4, 6), units=5), (8, 8)),
        (Architecture("vgg", widths=(4, 6)), (8, 8)),
        (Architecture("resnet", widths=(4, 6), stem=4), (2, 2)),
    ],
    ids=["mean", "hidden layer", "vgg", "resnet"],
)
def test_every_network_with_places_explains_itself(how: Architecture, places: tuple[int, int]) -> None:
    network = build(how, (16, 16, 1), 3)
    pixels = images()
    explain = grad_cam(network)
    assert explain is not None
    logits, maps = (np.asarray(each) for each in explain(pixels))
    np.testing.assert_allclose(logits, network(pixels, training=False), atol=1e-5)
    assert maps.shape == (3, *places)
    assert 0 <= maps.min() <= maps.max() <= 1 + 1e-6


def test_a_frozen_backbone_explains_itself_too() -> None:
    keras.utils.set_random_seed(0)  # a network of random weights may find that nothing speaks for its answer
    how = Architecture("transfer", backbone="MobileNet", backbone_options=(("alpha", 0.25),))
    network = build(how, (64, 64, 3), 2)
    network.get_layer(BACKBONE).trainable = False
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    maps = insight.looked_at(network, pixels)
    assert maps.shape == (2, 2, 2)
    assert maps.max() == pytest.approx(1.0)


def test_a_sequential_network_explains_itself_too() -> None:
    layers = keras.layers
    convolution = layers.Conv2D(4, 3, activation="relu")
    stack = [layers.Input((16, 16, 1), dtype="uint8"), layers.Rescaling(1 / 255), convolution]
    network = keras.Sequential([*stack, layers.Flatten(), layers.Dense(2)])
    assert insight.looked_at(network, images()).shape == (3, 14, 14)


def test_a_network_without_places_looks_nowhere() -> None:
    network = build(Architecture("dense", widths=(4,)), (16, 16, 1), 2)
    assert grad_cam(network) is None
    assert insight.looked_at(network, images()).shape == (3, 0, 0)
