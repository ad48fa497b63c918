"""The command from end to end: what it publishes, and what it says when it can't."""

import errno
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from service import store
from service.commands.cli import main
from service.config.config_edit import ConfigFile, with_label
from service.errors import StoreError
from training import recipes
from training.errors import TrainingError
from training.loop import evaluate, fit
from training.network import architectures, initial
from training.output import export, gate
from training.recipe import Architecture

pytestmark = pytest.mark.slow  # TensorFlow


def train(at: Path, *options: str, recipe: str = "circles") -> Result:
    arguments = ["train", recipe, "--samples", "300", "--epochs", "1", "--store", str(at / "store")]
    if "--report" not in options:
        arguments += ["--report", str(at / "report")]
    return CliRunner(env={"SIGNPOST_CACHE": str(at / "cache")}).invoke(main, [*arguments, *options])


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("published")
    result = train(at, "--report", str(at / "report"))
    assert result.exit_code == 0, result.output
    assert "epoch 1/1: loss" in result.output
    assert "Published" in result.output
    return at


def test_the_version_is_contract_1(published: Path) -> None:
    import tensorflow as tf

    version = published / "store" / "circles" / "1"
    assert store.versions(version.parent) == {1: version}
    signature = tf.saved_model.load(str(version)).signatures["serving_default"]
    (image,) = signature.structured_input_signature[1].values()
    assert (image.name, image.dtype, image.shape.as_list()) == ("image", tf.uint8, [None, 32, 32, 1])
    golden = np.load(version / store.GOLDEN)
    answer = signature(image=tf.constant(golden["image"]))
    dtypes = {"scores": tf.float32, "classes": tf.string, "in_domain": tf.float32}
    assert {name: value.dtype for name, value in answer.items()} == dtypes
    assert answer["in_domain"].shape == (len(golden["image"]),)
    np.testing.assert_allclose(answer["scores"], golden["scores"], atol=1e-4)
    assert answer["classes"].numpy()[-1].tolist() == [b"1", b"2", b"3", b"4", b"5"]
    assert len(answer["classes"]) == len(golden["image"])


def test_the_version_explains_its_answers(published: Path) -> None:
    import tensorflow as tf

    version = published / "store" / "circles" / "1"
    image = tf.constant(np.load(version / store.GOLDEN)["image"])
    signatures = tf.saved_model.load(str(version)).signatures
    answer, explained = (signatures[name](image=image) for name in ("serving_default", "explain"))
    np.testing.assert_allclose(explained["scores"], answer["scores"], atol=1e-6)
    assert explained["classes"].numpy().tolist() == answer["classes"].numpy().tolist()
    heat = explained["heatmap"].numpy()
    assert (heat.dtype, heat.ndim, len(heat)) == (np.float32, 3, len(image))
    assert min(heat.shape) > 1
    assert 0 <= heat.min() < heat.max() <= 1 + 1e-6


def test_the_warm_up_requests_are_what_tensorflow_serving_reads(published: Path) -> None:
    import tensorflow as tf

    from service.protocol import from_tensor_proto, prediction_log_pb2

    path = published / "store" / "circles" / "1" / store.WARMUP
    logs = [
        prediction_log_pb2.PredictionLog.FromString(raw)
        for raw in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    ]
    shapes = [from_tensor_proto(log.predict_log.request.inputs["image"]).shape for log in logs]
    assert shapes == [(1, 32, 32, 1), (8, 32, 32, 1)]
    assert logs[0].predict_log.request.model_spec.name == "circles"
    assert logs[0].predict_log.request.model_spec.signature_name == "serving_default"


def test_the_card_tells_what_the_version_is(published: Path) -> None:
    card = json.loads((published / "store" / "circles" / "1" / store.MODEL_CARD).read_text())
    assert card["name"] == "circles"
    assert card["classes"] == ["1", "2", "3", "4", "5"]
    test = card["metrics"]["test"]
    assert test["images"] == sum(map(sum, test["confusion"])) == 50
    assert test["accuracy"] == test["correct"] / test["images"]
    assert card["recipe"]["phases"] == [{"epochs": 1, "size": None, "mix": True}]
    assert card["data"]["train"]["images"] == 270
    assert card["timings"]["ms_per_image_batch_32"] > 0
    assert card["purpose"].startswith("Counts the circles")
    assert set(card["training"]["history"][0]) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert sum(count for count, _, _ in test["reliability"]) == 50
    assert {"keras", "tensorflow", "signpost"} <= set(card["libraries"])


def test_the_figures_are_in_the_report_and_in_the_version(published: Path) -> None:
    for folder in (published / "report", published / "store" / "circles" / "1" / store.EXTRA):
        for name in ("curves.png", "confusion_matrix.png"):
            assert (folder / name).read_bytes().startswith(b"\x89PNG")
    assert (published / "report" / "augmentation.png").read_bytes().startswith(b"\x89PNG")
    assert "data:image/png;base64," in (published / "report" / "report.html").read_text("utf-8")


def test_the_card_tells_what_the_model_takes_for_its_own(published: Path) -> None:
    card = json.loads((published / "store" / "circles" / "1" / store.MODEL_CARD).read_text())
    about = card["in_domain"]
    assert about["threshold"] == 0.5
    assert about["validation_passing"] >= about["validation_wanted"] - 0.05
    assert set(about["outsiders"]) == {"noise", "blank", "text", "drawings"}
    assert (published / "report" / "in_domain.png").read_bytes().startswith(b"\x89PNG")


def test_without_an_epoch_the_same_network_is_published_again(published: Path, tmp_path: Path) -> None:
    weights = published / "store" / "circles" / "1"
    result = train(tmp_path, "--epochs", "0", "--weights", str(weights))
    assert result.exit_code == 0, result.output
    version = tmp_path / "store" / "circles" / "1"
    data = "variables/variables.data-00000-of-00001"
    assert (version / data).read_bytes() == (weights / data).read_bytes()
    first, again = (np.load(folder / store.GOLDEN)["scores"] for folder in (weights, version))
    np.testing.assert_allclose(again, first, atol=1e-5)
    before, card = (json.loads((folder / store.MODEL_CARD).read_text()) for folder in (weights, version))
    assert card["training"] == {**before["training"], "published_again_from": "circles/1"}
    assert card["recipe"] == before["recipe"]
    assert (version / store.EXTRA / "curves.png").read_bytes() == (weights / store.EXTRA / "curves.png").read_bytes()


def test_the_rate_finder_draws_and_trains_nothing(tmp_path: Path) -> None:
    result = train(tmp_path, "--find-rate", "--report", str(tmp_path / "report"))
    assert result.exit_code == 0, result.output
    assert "Suggested: --learning-rate" in result.output
    assert (tmp_path / "report" / "learning_rate.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "store").exists()


def test_a_network_can_begin_with_the_weights_of_a_version(published: Path) -> None:
    recipe = recipes.get("circles")
    model = published / "store" / "circles"
    network = architectures.build(recipe.architecture, (32, 32, 1), 5)
    origin = initial.load_into(network, model)
    golden = np.load(model / "1" / store.GOLDEN)
    np.testing.assert_allclose(evaluate.predict_pixels(network, golden["image"]), golden["scores"], atol=1e-4)
    assert (origin.version, origin.fresh) == (model / "1", ())
    more_classes = architectures.build(recipe.architecture, (32, 32, 1), 7)
    assert initial.load_into(more_classes, model / "1").fresh == ("logits",)
    np.testing.assert_array_equal(more_classes.get_weights()[0], network.get_weights()[0])


def test_a_card_that_is_older_than_a_knob_can_be_read(published: Path, tmp_path: Path) -> None:
    version = Path(shutil.copytree(published / "store" / "circles" / "1", tmp_path / "1"))
    path = version / store.MODEL_CARD
    card = json.loads(path.read_text())
    for knob in ("mean_image", "backbone"):
        del card["recipe"]["architecture"][knob]
    path.write_text(json.dumps(card))
    golden = np.load(version / store.GOLDEN)
    scores = evaluate.predict_pixels(initial.rebuild(version), golden["image"])
    np.testing.assert_allclose(scores, golden["scores"], atol=1e-4)


def test_weights_that_do_not_fit_are_refused(published: Path, tmp_path: Path) -> None:
    other = architectures.build(Architecture("cnn", widths=(4, 8)), (32, 32, 1), 5)
    with pytest.raises(TrainingError, match="of another architecture"):
        initial.load_into(other, published / "store" / "circles")
    with pytest.raises(TrainingError, match="no version at"):
        initial.load_into(other, tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(TrainingError, match="not trained by this Signpost"):
        initial.load_into(other, tmp_path)


def test_a_finished_run_resumed_publishes_the_same_scores(published: Path) -> None:
    result = train(published, "--resume")
    assert result.exit_code == 0, result.output
    first, second = (np.load(published / "store" / "circles" / number / store.GOLDEN)["scores"] for number in "12")
    np.testing.assert_array_equal(first, second)
    shutil.rmtree(published / "store" / "circles" / "2")


def test_a_version_that_passes_the_gate_takes_over_the_label_stable(published: Path) -> None:
    config = ConfigFile(published / "store")
    config.change("circles", lambda model: with_label(model, "stable", 1))
    result = train(published, "--resume")
    assert "The label stable moved from version 1 to 2." in result.output
    assert config.model("circles").labels == {"stable": 2}
    config.file.unlink()
    shutil.rmtree(published / "store" / "circles" / "2")


def test_what_another_backend_trained_is_published_by_tensorflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(export, "possible", lambda: False)
        result = train(tmp_path)
        assert result.exit_code == 0, result.output
        assert "KERAS_BACKEND=tensorflow" in result.output
        assert "Test:" not in result.output
        assert not (tmp_path / "store" / "circles").exists()
    assert "Published" in train(tmp_path, "--resume").output


def test_a_share_of_weights_that_do_not_fit_is_refused(published: Path, tmp_path: Path) -> None:
    choices = ("start_share=0.5", "architecture.widths=16,32,64", "architecture.depths=1")
    options = [option for choice in choices for option in ("--set", choice)]
    result = train(tmp_path, "--weights", str(published / "store" / "circles"), *options, recipe="circles_many")
    assert result.exit_code == 2
    assert "logits" in result.output
    assert "start_share=0" in result.output


def test_a_version_that_answers_otherwise_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = export.load_version

    def wrong(folder: Path) -> export.Loaded:
        loaded = real(folder)
        return replace(loaded, run=lambda images: loaded.run(images)[:, ::-1])

    monkeypatch.setattr(export, "load_version", wrong)
    result = train(tmp_path)
    assert result.exit_code == 2
    assert "does not reproduce the trainer's answers" in result.output
    assert not (tmp_path / "store" / "circles").exists()


def difference(off: float, apart: float = 0.0) -> export.Difference:
    """Of a version whose scores are off by so much, so that every class is another where it is much."""
    from training.data.datasets import dataset

    data = dataset(np.zeros((3, 4, 4, 1), dtype=np.uint8), np.zeros(3, dtype=int), ["a", "b"])
    scores = np.tile(np.array([[0.6, 0.4]], dtype=np.float32), (3, 1))
    known = np.ones(3, dtype=np.float32)
    answered = scores + np.float32([-off, off])
    loaded = export.Loaded(lambda _: answered, (4, 4, 1), ("a", "b"), lambda _: known - np.float32(apart))
    return export.compare(loaded, data, scores, known, data.pixels, scores)


def test_a_small_difference_of_the_scores_is_found_too() -> None:
    about = export.check(difference(0.0), 3)
    assert about == {"arithmetic": "float32", "tolerance": 1e-3, "largest_difference": 0.0, "other_classes": 0}
    with pytest.raises(TrainingError, match=r"0 of 3 classes differ, scores by up to 0\.01"):
        export.check(difference(0.01), 3)
    with pytest.raises(TrainingError, match="3 of 3 classes differ"):
        export.check(difference(0.2), 3)
    with pytest.raises(TrainingError, match="scores by up to nan"):
        export.check(difference(np.nan), 3)
    with pytest.raises(TrainingError, match=r"in_domain; it differs by up to 0\.2"):
        export.check(difference(0.0, apart=0.2), 3)


def test_what_tf32_changes_is_told_and_refuses_nothing() -> None:
    about, says = export.tell_tf32(difference(0.0032), 3)
    assert about == {"arithmetic": "TF32", "tolerance": 0.02, "largest_difference": 0.0032, "other_classes": 0}
    assert "up to 0.0032 and 0 of 3 test images get another class." in says
    assert "NVIDIA_TF32_OVERRIDE=0" not in says
    about, says = export.tell_tf32(difference(0.15), 3)
    assert (about["largest_difference"], about["other_classes"]) == (0.15, 3)
    assert "more than 0.02, so a GPU may refuse to serve it; NVIDIA_TF32_OVERRIDE=0" in says


def test_on_a_gpu_float32_decides_and_the_card_tells_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU as far as a CPU can be one: what is computed in TF32 is off by what that was seen to change."""
    import tensorflow as tf

    enabled = tf.config.experimental.tensor_float_32_execution_enabled
    real = export.load_version

    def load(folder: Path) -> export.Loaded:
        loaded = real(folder)
        return replace(loaded, run=lambda images: loaded.run(images) + np.float32(0.003 if enabled() else 0.0))

    monkeypatch.setattr(export, "load_version", load)
    monkeypatch.setattr(export, "computes_in_tf32", lambda: True)
    result = train(tmp_path)
    assert result.exit_code == 0, result.output
    assert "In TF32, as this GPU computes, scores differ by up to 0.003" in result.output
    exact, coarse = json.loads((tmp_path / "store" / "circles" / "1" / store.MODEL_CARD).read_text())["checked"]
    assert (exact["arithmetic"], coarse["arithmetic"], coarse["largest_difference"]) == ("float32", "TF32", 0.003)
    assert exact["largest_difference"] < 1e-4
    assert enabled()


def test_memory_of_a_gpu_is_taken_as_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", "false")  # what the user says counts
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "")
    monkeypatch.delenv("XLA_PYTHON_CLIENT_PREALLOCATE")
    train(tmp_path, "--set", "learning_rate=-1")
    assert os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == "false"
    assert os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"


def sign_csv(*labels: int) -> str:
    return "\n".join(["label," + ",".join(f"pixel{n}" for n in range(1, 785)), *(f"{n}" + ",7" * 784 for n in labels)])


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({}, r"no sign_mnist_train\.csv"),
        ({"sign_mnist_train.csv": "", "sign_mnist_test.csv": sign_csv(1)}, "header"),
        ({"sign_mnist_train.csv": sign_csv(1, 9), "sign_mnist_test.csv": sign_csv(1)}, "line 3: the label 9"),
        ({"sign_mnist_train.csv": sign_csv(1, 2), "sign_mnist_test.csv": sign_csv(77)}, "line 2: the label 77"),
    ],
)
def test_bad_data_is_one_sentence_and_exit_code_2(files: dict[str, str], problem: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    folders = ["--store", str(tmp_path / "store"), "--report", str(tmp_path / "report")]
    result = CliRunner().invoke(main, ["train", "sign_language", "--data", str(tmp_path), *folders])
    assert result.exit_code == 2
    assert result.output.startswith("Error: ")
    assert result.output.count("\n") == 1
    assert re.search(problem, result.output)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files)


def test_a_store_that_can_not_be_written_is_found_before_the_training(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file in the way")
    result = train(tmp_path)
    assert result.exit_code == 2
    assert "can't be written" in result.output
    assert "epoch" not in result.output


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def full_for_tensorflow(*_: object, **__: object) -> None:
    import tensorflow as tf

    message = "{{node SaveV2}} store/circles/.tmp-1/variables.data; No space left on device [Op:SaveV2]"
    raise tf.errors.ResourceExhaustedError(None, None, message)


def last_line(result: Result) -> str:
    """The one line about an error, which is all that is said of it."""
    lines = str(result.output).splitlines()
    assert [line for line in lines if line.startswith("Error: ")] == lines[-1:], result.output
    return lines[-1]


@pytest.mark.parametrize(
    ("place", "refuse", "told"),
    [
        (
            "tensorflow.saved_model.save",
            full_for_tensorflow,
            r"The store .* can't be written: No space left on device\.",
        ),
        ("tensorflow.io.TFRecordWriter.write", full_for_tensorflow, r"The store .* can't be written: No space left"),
        ("numpy.savez_compressed", full, r"The store .* can't be written: No space left on device\."),
        (
            "training.output.figures.confusion_matrix",
            full,
            r"The folder .*report can't be written: No space .* with --report",
        ),
    ],
)
def test_a_full_disk_while_publishing_is_one_sentence_and_resume_publishes(
    place: str, refuse: Any, told: str, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_folder = published / "store"
    before = sorted(store_folder.rglob("*")), sorted((published / "report").iterdir())
    with monkeypatch.context() as disk:
        disk.setattr(place, refuse)
        result = train(published, "--resume")
    assert result.exit_code == 2
    line = last_line(result)
    assert re.search(told, line)
    assert f"Nothing was published. The training is kept in {published / 'cache'}/checkpoints/circles; " in line
    assert "--resume" in line
    assert (sorted(store_folder.rglob("*")), sorted((published / "report").iterdir())) == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 120 KB, too small for any version."""
    at = tmp_path / "disk"
    at.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120k", "tmpfs", at], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"mounting a small disk takes rights that this test does not have: {mounted.stderr.decode()}")
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)


def test_a_disk_that_is_full_indeed(published: Path, small_disk: Path) -> None:
    result = train(published, "--resume", "--store", str(small_disk))
    assert result.exit_code == 2
    assert "can't be written: No space left on device" in last_line(result)
    assert list(small_disk.iterdir()) == []
    assert "can't be written: No space left on device" in last_line(train(published, "--checkpoints", str(small_disk)))
    assert list(small_disk.iterdir()) == []
    subprocess.run(["mount", "-o", "remount,size=10m", small_disk], check=True)
    assert "Published" in train(published, "--resume", "--store", str(small_disk)).output
    assert [*store.versions(small_disk / "circles")] == [1]
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    result = train(published, "--resume", "--store", str(small_disk))
    assert "circles can't be written: Read-only file system; choose another with --store." in last_line(result)
    assert "epoch" not in result.output


def test_a_label_that_can_not_move_says_that_the_version_is_published(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StoreError("models.config can't be written: No space left on device.")

    monkeypatch.setattr(store, "publish", lambda *_: 2)
    monkeypatch.setattr(gate, "move_stable", refuse)
    line = last_line(train(published, "--resume"))
    assert line.endswith("Version 2 is published, but the label stable stays where it is.")


def test_output_that_can_not_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.loop.progress.Lines.say", full)
    assert "Can't continue: No space left on device." in last_line(train(tmp_path))


def test_an_interruption_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = fit.checkpoints.save

    def interrupted(*arguments: object) -> object:
        real(*arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(fit.checkpoints, "save", interrupted)
    result = train(tmp_path, "--epochs", "2")
    assert result.exit_code == 2
    assert "--resume" in result.output
    assert not (tmp_path / "store" / "circles").exists()
