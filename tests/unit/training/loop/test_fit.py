"""The loop on tiny networks: it learns, repeats itself, resumes and stops."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.unit.training.tiny import RECIPE, Listener, halves
from training.data.augmentation import Augmentation
from training.data.datasets import dataset
from training.errors import Interrupted, TrainingError
from training.loop import checkpoints, lr_finder
from training.loop.evaluate import loss_and_accuracy, predict
from training.loop.fit import Fitted, class_weights, fit
from training.loop.progress import TensorBoard
from training.network.architectures import build
from training.network.folding import fold
from training.recipe import Architecture, Recipe
from training.schedule import Phase

pytestmark = pytest.mark.slow  # TensorFlow


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


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_it_learns_in_16_bits_and_goes_on_where_it_was(tmp_path: Path, precision: str) -> None:
    recipe = replace(RECIPE, precision=precision)
    listener = Listener()
    whole = run(recipe, listener=listener)
    assert listener.epochs[-1]["val_accuracy"] >= 0.8
    assert all(weight.dtype == np.float32 for weight in whole.weights)
    with pytest.raises(Interrupted):
        run(recipe, listener=Listener(interrupt_in_epoch=3), keep=tmp_path)
    assert same(run(recipe, keep=tmp_path, resume=True), whole)


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


def test_a_share_of_the_first_weights_is_kept_in_the_last_ones(tmp_path: Path) -> None:
    begin, sharing = run(seed=5).weights, replace(RECIPE, start_share=0.25)

    def tune(recipe: Recipe, *, resume: bool = False) -> Fitted:
        return fit(
            recipe,
            halves(),
            halves(9),
            seed=0,
            progress=Listener(),
            keep=tmp_path,
            resume=resume,
            start=lambda network: network.set_weights(begin),
        )

    plain, shared = tune(RECIPE), tune(sharing)
    for first, last, got in zip(begin, plain.weights, shared.weights, strict=True):
        np.testing.assert_allclose(got, 0.25 * first + 0.75 * last, rtol=1e-5, atol=1e-6)
    assert same(tune(sharing, resume=True), shared)


def test_there_must_be_weights_to_keep_a_share_of() -> None:
    with pytest.raises(TrainingError, match=r"start_share.*--weights"):
        run(replace(RECIPE, start_share=0.5))


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
    with pytest.raises(TrainingError, match=r"no longer a number at step \d+ of epoch \d.*learning rate"):
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

    from training.network.layers import FastBatchNormalization

    images = np.random.default_rng(0).normal(3, 2, (6, 5, 5, 4)).astype(np.float32)
    ours, theirs = FastBatchNormalization(momentum=0.5), keras.layers.BatchNormalization(momentum=0.5)
    for _ in range(3):
        np.testing.assert_allclose(ours(images, training=True), theirs(images, training=True), atol=1e-4)
    np.testing.assert_allclose(ours.moving_mean, theirs.moving_mean, rtol=1e-5)
    # The fused kernel keeps the unbiased variance: n / (n - 1) of Keras's, here 150 / 149.
    np.testing.assert_allclose(ours.moving_variance, theirs.moving_variance, rtol=0.01)
    np.testing.assert_allclose(ours(images), theirs(images), rtol=0.02, atol=0.02)


def test_training_stops_early_and_the_best_weights_are_taken(tmp_path: Path) -> None:
    # The validation images have the wrong labels, so the more is learned, the worse they get.
    right = halves(20, seed=9)
    wrong = dataset(right.pixels, 1 - right.labels, right.classes)
    recipe = replace(RECIPE, phases=(Phase(9),), patience=3)
    stopped = fit(recipe, halves(), wrong, seed=0, progress=Listener())
    losses = [row["val_loss"] for row in stopped.history]
    assert len(losses) - 1 - int(np.argmin(losses)) == 3
    assert len(losses) < 9
    best = fit(replace(recipe, restore_best=True), halves(), wrong, seed=0, progress=Listener(), keep=tmp_path)
    network = build(recipe.architecture, (8, 8, 1), 2)
    network.set_weights(best.weights)
    found = loss_and_accuracy(predict(network, wrong, (8, 8)), wrong.targets())
    assert found["val_loss"] == pytest.approx(min(losses), rel=1e-3)
    assert not same(best, stopped)
    np.testing.assert_array_equal(checkpoints.load(tmp_path).best[0], best.weights[0])


def test_rare_classes_count_more() -> None:
    data = halves(100)
    rare = data.subset(np.concatenate([np.arange(0, 100, 2), np.arange(1, 20, 2)]))
    assert class_weights(rare).tolist() == pytest.approx([0.6, 3.0])
    assert class_weights(data).tolist() == [1.0, 1.0]
    unlike = [
        fit(replace(RECIPE, class_weights=on, phases=(Phase(1),)), rare, halves(4), seed=0, progress=Listener())
        for on in (False, True)
    ]
    assert not same(*unlike)


def test_the_mean_image_is_subtracted_inside_the_network() -> None:
    recipe = replace(RECIPE, architecture=Architecture("dense", widths=(4,), mean_image=True), phases=(Phase(1),))
    fitted = run(recipe)
    network = build(recipe.architecture, (8, 8, 1), 2)
    network.set_weights(fitted.weights)
    mean = network.get_layer("mean_image").get_weights()[0]
    np.testing.assert_allclose(mean, halves().pixels.mean(axis=0) / 127.5 - 1, atol=1e-4)
    with pytest.raises(TrainingError, match="images of one size"):
        run(replace(recipe, phases=(Phase(1, 4), Phase(1))))


def test_tensorboard_hears_the_numbers_of_each_epoch(tmp_path: Path) -> None:
    import tensorflow as tf

    listener = Listener()
    board = TensorBoard(listener, tmp_path)
    fit(replace(RECIPE, phases=(Phase(2),)), halves(), halves(20, seed=9), seed=0, progress=board)
    (path,) = tmp_path.iterdir()
    events = [tf.compat.v1.Event.FromString(raw) for raw in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()]
    written = {(event.step, value.tag): value.simple_value for event in events for value in event.summary.value}
    for number, row in enumerate(listener.epochs, start=1):
        assert written[number, "epoch/loss"] == pytest.approx(row["loss"])
        assert written[number, "epoch/val_accuracy"] == pytest.approx(row["val_accuracy"])


def test_the_rate_finder_suggests_a_rate_that_learns() -> None:
    found = lr_finder.find(replace(RECIPE, augmentation=Augmentation()), halves(), seed=0, steps=60)
    assert list(found.rates) == sorted(found.rates)
    assert 1e-5 < found.suggested < 0.5
    assert found == lr_finder.find(replace(RECIPE, augmentation=Augmentation()), halves(), seed=0, steps=60)


def test_the_suggestion_is_the_steepest_descent() -> None:
    rates = [10.0**power for power in range(-6, 1)]
    assert lr_finder.suggest(rates, [2.0, 2.0, 1.9, 1.2, 0.5, 0.4, 3.0]) == pytest.approx(1e-3)
