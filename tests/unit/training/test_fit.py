"""The loop on tiny networks: it learns, repeats itself, resumes and stops."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training.architectures import build
from training.augmentation import Augmentation
from training.datasets import Data, Dataset, dataset
from training.errors import Interrupted, TrainingError
from training.fit import Fitted, fit
from training.folding import fold
from training.recipe import Architecture, Recipe, Request
from training.schedule import Phase


def no_data(_: Request) -> Data:
    raise AssertionError


RECIPE = Recipe(
    model="halves",
    load=no_data,
    size=(8, 8),
    channels=1,
    architecture=Architecture("cnn", widths=(4, 8), dropout=0.2),
    augmentation=Augmentation(brightness=0.1, mixup=0.2),
    phases=(Phase(4),),
    batch_size=16,
    learning_rate=2e-2,
    average_decay=0.9,
)


def halves(count: int = 96, seed: int = 0) -> Dataset:
    """Noise that is brighter in its upper or its lower half."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 120, (count, 8, 8, 1), dtype=np.uint8)
    labels = np.arange(count) % 2
    pixels[labels == 0, :4] += 120
    pixels[labels == 1, 4:] += 120
    return dataset(pixels, labels, ["upper", "lower"])


class Listener:
    """Hears everything; calls back after each step."""

    def __init__(self, interrupt_in_epoch: int | None = None) -> None:
        self.interrupt_in_epoch = interrupt_in_epoch
        self.epochs: list[Mapping[str, float]] = []
        self.steps = 0

    def say(self, text: str) -> None:
        pass

    def step(self, epoch: int, epochs: int, step: int, steps: int, _numbers: Mapping[str, float]) -> None:
        assert 1 <= step <= steps
        assert 1 <= epoch <= epochs
        self.steps += 1
        if epoch == self.interrupt_in_epoch:
            raise KeyboardInterrupt

    def epoch(self, _epoch: int, _epochs: int, numbers: Mapping[str, float]) -> None:
        self.epochs.append(numbers)


def run(
    recipe: Recipe = RECIPE,
    *,
    seed: int = 0,
    listener: Listener | None = None,
    keep: Path | None = None,
    resume: bool = False,
) -> Fitted:
    return fit(
        recipe, halves(), halves(20, seed=9), seed=seed, progress=listener or Listener(), keep=keep, resume=resume
    )


def same(first: Fitted, second: Fitted) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first.weights, second.weights, strict=True))


def test_it_learns_and_tells_how() -> None:
    listener = Listener()
    fitted = run(listener=listener)
    assert fitted.history == listener.epochs
    assert len(fitted.history) == 4
    assert listener.steps == 4 * 6
    assert fitted.history[-1]["loss"] < 0.7 * fitted.history[0]["loss"]
    assert fitted.history[-1]["val_accuracy"] >= 0.9


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others() -> None:
    first = run()
    assert same(first, run())
    assert not same(first, run(seed=1))


def test_a_resumed_run_ends_like_an_uninterrupted_one(tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match=r"in epoch 3 of 4; epochs 1 to 2 are kept in .*--resume"):
        run(listener=Listener(interrupt_in_epoch=3), keep=tmp_path)
    resumed, whole = run(keep=tmp_path, resume=True), run()
    assert same(resumed, whole)
    assert [row["loss"] for row in resumed.history] == [row["loss"] for row in whole.history]


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    run(keep=tmp_path)
    with pytest.raises(TrainingError, match="another recipe, seed or data"):
        run(seed=5, keep=tmp_path, resume=True)
    with pytest.raises(TrainingError, match="another recipe, seed or data"):
        run(replace(RECIPE, learning_rate=0.1), keep=tmp_path, resume=True)


def test_nothing_to_resume_from_is_said(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no checkpoint at"):
        run(keep=tmp_path / "none", resume=True)


def test_an_interruption_without_a_checkpoint_says_that_nothing_was_kept() -> None:
    with pytest.raises(Interrupted, match="nothing was kept"):
        run(listener=Listener(interrupt_in_epoch=1))


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_step() -> None:
    with pytest.raises(TrainingError, match=r"no number any more at step \d+ of epoch \d.*learning rate"):
        run(replace(RECIPE, learning_rate=1e30, optimizer="sgd", warmup=0.0, architecture=Architecture("dense", (8,))))


def test_growing_sizes_train_one_network() -> None:
    recipe = replace(
        RECIPE, phases=(Phase(1, 4), Phase(1, 6, mix=False), Phase(1)), architecture=Architecture("cnn", (4,))
    )
    assert len(run(recipe).history) == 3


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "rmsprop", "sgd"])
def test_each_optimizer_learns(optimizer: str) -> None:
    fitted = run(replace(RECIPE, optimizer=optimizer, phases=(Phase(2),)))
    assert fitted.history[1]["loss"] < fitted.history[0]["loss"]


def test_unknown_choices_are_refused() -> None:
    with pytest.raises(TrainingError, match="no optimizer 'lion'"):
        run(replace(RECIPE, optimizer="lion"))
    with pytest.raises(TrainingError, match="no architecture 'octopus'"):
        run(replace(RECIPE, architecture=Architecture("octopus")))


@pytest.mark.parametrize(
    "how",
    [
        Architecture("cnn", widths=(4, 8)),
        Architecture("cnn", widths=(4, 8), units=5, l2=0.01),
        Architecture("cnn", widths=(4,), normalise=False),
        Architecture("vgg", widths=(4, 8), dropout=0.2),
        Architecture("resnet", stem=4, widths=(8, 12), depths=(1, 2)),
        Architecture("dense", widths=(6,)),
    ],
)
def test_folding_keeps_the_answers_and_leaves_no_normalisation(how: Architecture) -> None:
    network = build(how, (16, 16, 3), 3)
    rng = np.random.default_rng(0)
    network.set_weights([rng.uniform(0.2, 1.0, weight.shape) for weight in network.get_weights()])
    images = rng.integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    folded = fold(network, how, (16, 16, 3))
    expected = network.predict_on_batch(images)
    np.testing.assert_allclose(folded.predict_on_batch(images), expected, rtol=1e-4)
    assert not any(layer.name.endswith("_norm") for layer in folded.layers)
    assert float(np.ptp(expected)) > 0


def test_the_fused_normalisation_is_keras_own() -> None:
    import keras

    from training.layers import FastBatchNormalization

    images = np.random.default_rng(0).normal(3, 2, (6, 5, 5, 4)).astype(np.float32)
    ours, theirs = FastBatchNormalization(momentum=0.5), keras.layers.BatchNormalization(momentum=0.5)
    for _ in range(3):
        np.testing.assert_allclose(ours(images, training=True), theirs(images, training=True), atol=1e-4)
    np.testing.assert_allclose(ours.moving_mean, theirs.moving_mean, rtol=1e-5)
    # The fused kernel keeps the unbiased variance: n / (n - 1) of Keras's, here 150 / 149.
    np.testing.assert_allclose(ours.moving_variance, theirs.moving_variance, rtol=0.01)
    np.testing.assert_allclose(ours(images), theirs(images), rtol=0.02, atol=0.02)
