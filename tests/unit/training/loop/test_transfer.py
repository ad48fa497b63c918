"""Transfer learning with a backbone whose weights are random: the mechanics, not the accuracy."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import keras
import numpy as np
import pytest

from service import store
from tests.unit.training.tiny import RECIPE, Listener
from training.data.datasets import Dataset, dataset
from training.errors import TrainingError
from training.loop import transfer
from training.network import architectures, initial
from training.network.architectures import build
from training.output import export
from training.recipe import Architecture, Recipe

pytestmark = pytest.mark.slow  # TensorFlow

# Keras writes HDF5 through a protocol of NumPy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

HOW = Architecture("transfer", backbone="MobileNet", backbone_options=(("alpha", 0.25),))
TRANSFER = replace(RECIPE, architecture=HOW, size=(32, 32), channels=3, head_epochs=3, learning_rate=3e-2)


def colours(count: int = 64) -> Dataset:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 100, (count, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(count) % 2
    pixels[labels == 1, ..., 0] += 150
    return dataset(pixels, labels, ["blue", "red"])


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    keras.utils.set_random_seed(7)
    path = tmp_path_factory.mktemp("weights") / "backbone.weights.h5"
    body = keras.applications.MobileNet(
        include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg", alpha=0.25
    )
    for layer in body.layers:
        layer.momentum = 0.0
    # One look at some images gives the normalisation statistics that keep random features from vanishing.
    body(colours().pixels.astype(np.float32) / 127.5 - 1, training=True)
    body.save_weights(path)
    return path


def train(weights: Path, cache: Path, recipe: Recipe = TRANSFER) -> tuple[Listener, transfer.Fitted]:
    listener = Listener()
    return listener, transfer.train_head(recipe, colours(), colours(20), weights, 0, cache, listener)


def test_the_head_learns_and_the_backbone_stays(weights: Path, tmp_path: Path) -> None:
    listener, fitted = train(weights, tmp_path)
    assert [row["loss"] for row in fitted.history] == [row["loss"] for row in listener.epochs]
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"]
    network, untouched = (build(HOW, (32, 32, 3), 2) for _ in range(2))
    network.set_weights(fitted.weights)
    initial.load_backbone(untouched, HOW, weights)
    backbones = [model.get_layer(architectures.BACKBONE).get_weights() for model in (network, untouched)]
    assert all(np.array_equal(a, b) for a, b in zip(*backbones, strict=True))


def test_features_are_computed_once(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, first = train(weights, tmp_path)
    assert len(list((tmp_path / "features").iterdir())) == 2
    monkeypatch.setattr(transfer, "plain_batches", None)  # calling it would fail
    _, again = train(weights, tmp_path)
    assert all(np.array_equal(a, b) for a, b in zip(first.weights, again.weights, strict=True))


def test_mirrored_images_are_learned_too_when_the_recipe_mirrors(weights: Path, tmp_path: Path) -> None:
    train(weights, tmp_path, replace(TRANSFER, augmentation=replace(TRANSFER.augmentation, flip=True)))
    assert len(list((tmp_path / "features").iterdir())) == 3


def test_pixels_reach_the_backbone_as_it_wants_them() -> None:
    how = replace(HOW, backbone="ResNet50", backbone_options=())
    network = build(how, (32, 32, 3), 2)
    images = np.zeros((1, 32, 32, 3), dtype=np.uint8)
    images[..., 0] = 200
    backbone = network.get_layer(architectures.BACKBONE)
    wanted = keras.applications.resnet.preprocess_input(images.astype(np.float32))
    features = keras.Model(network.input, network.get_layer(architectures.FEATURES).output)
    means = backbone.predict_on_batch(wanted).mean(axis=(1, 2))
    np.testing.assert_allclose(features.predict_on_batch(images), means, rtol=1e-2, atol=1e-3)


def test_weights_that_do_not_fit_are_refused(weights: Path, tmp_path: Path) -> None:
    wider = replace(HOW, backbone_options=(("alpha", 0.5),))
    with pytest.raises(TrainingError, match="can't be loaded into MobileNet"):
        initial.load_backbone(build(wider, (32, 32, 3), 2), wider, weights)
    with pytest.raises(TrainingError, match="no file"):
        initial.load_backbone(build(HOW, (32, 32, 3), 2), HOW, tmp_path / "missing.weights.h5")
    (tmp_path / "broken.weights.h5").write_bytes(b"not HDF5")
    with pytest.raises(TrainingError, match="can't be loaded"):
        initial.load_backbone(build(HOW, (32, 32, 3), 2), HOW, tmp_path / "broken.weights.h5")
    with pytest.raises(TrainingError, match="no backbone 'Octopus'"):
        build(replace(HOW, backbone="Octopus"), (32, 32, 3), 2)


def test_the_first_layers_keep_their_weights_where_they_are_frozen() -> None:
    body = build(replace(HOW, frozen="conv_pw_3_relu"), (32, 32, 3), 2).get_layer(architectures.BACKBONE)
    learns = {layer.name: bool(layer.trainable_weights) for layer in body.layers if layer.weights}
    assert not learns["conv1"]
    assert not learns["conv_pw_3"]
    assert learns["conv_dw_4"]
    assert not learns["conv_dw_4_bn"]
    with pytest.raises(TrainingError, match="no layer 'octopus'"):
        build(replace(HOW, frozen="octopus"), (32, 32, 3), 2)


def test_a_training_goes_on_from_a_version(weights: Path, tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    network, other = (build(HOW, (32, 32, 3), 2) for _ in range(2))
    initial.load_backbone(network, HOW, weights)
    export.write(tmp_path, network, ["blue", "red"], (32, 32, 3), "m")
    initial.write_normalisation(tmp_path, network)
    card = {
        "recipe": {"architecture": asdict(HOW)},
        "input": {"height": 32, "width": 32, "channels": 3},
        "classes": ["blue", "red"],
    }
    (tmp_path / store.MODEL_CARD).write_text(json.dumps(card))
    assert initial.load_into(other, tmp_path).fresh == ()
    images = colours(4).pixels
    np.testing.assert_allclose(other.predict_on_batch(images), network.predict_on_batch(images), atol=1e-5)
