"""Versions that are loaded with another runtime than TensorFlow."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service import store
from service.engine.batching.parameters import BatchingParameters
from service.engine.runtimes import openvino
from service.engine.runtimes.asked import Wish
from service.engine.runtimes.part import NotTaken
from service.engine.tf import loading
from service.engine.tf.device import DeviceSettings
from service.engine.tf.servable import TensorflowServable
from service.errors import InvalidRequest, ModelFailed
from service.interface import Array, Call, RunBy

pytestmark = pytest.mark.slow  # TensorFlow

Load = Callable[..., TensorflowServable]
IMAGES = np.random.default_rng(1).integers(0, 256, (5, 2, 3, 3), np.uint8)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of SavedModels, made once."""
    from tests.unit.service.engine.tf import saved_models as make

    folder = tmp_path_factory.mktemp("models")
    make.classifier(folder / "classifier")
    (folder / "classifier" / store.EXTRA).mkdir()
    make.golden(folder / "classifier")
    make.telling(folder / "telling")
    make.noisy(folder / "noisy")
    make.inputs_in_no_order(folder / "several")
    make.lookup(folder / "lookup")
    make.looping(folder / "looping")
    make.keras_saved(folder / "keras")
    return folder


@pytest.fixture
def load() -> Iterator[Load]:
    loaded: list[TensorflowServable] = []

    def load(folder: Path, runtime: str, cache: Path | None = None, **told: Any) -> TensorflowServable:
        parameters, device = BatchingParameters(max_batch_size=4), DeviceSettings(threads=1)
        wish = Wish(runtime, cache, **told)
        loaded.append(loading.load(folder, "m", 3, parameters, device, wish=wish))
        return loaded[-1]

    yield load
    for each in loaded:
        each.close()


def ask(
    model: TensorflowServable, *outputs: str, signature: str = "serving_default", **inputs: Any
) -> dict[str, Array]:
    call = Call(time.monotonic() + 60, signature, outputs)
    return dict(model.predict({name: np.asarray(value) for name, value in inputs.items()}, call).outputs)


@pytest.mark.parametrize("runtime", ["openvino", "xla"])
def test_an_image_classifier_answers_as_with_tensorflow(load: Load, models: Path, runtime: str) -> None:
    model, reference = load(models / "telling", runtime), load(models / "telling", "tensorflow")
    assert (model.run_by.runtime, reference.run_by) == (runtime, RunBy())
    assert model.queue.run_by == model.run_by
    assert model.classes == ("dark", "bright")
    for rows in (1, 2, 3, 5):
        for outputs in ((), ("scores",), ("classes", "scores"), ("in_domain",)):
            found, expected = (ask(each, *outputs, image=IMAGES[:rows]) for each in (model, reference))
            assert found.keys() == expected.keys()
            for name, array in expected.items():
                if name == "classes":
                    assert found[name].tolist() == array.tolist()
                else:
                    np.testing.assert_allclose(found[name], array, atol=1e-6)


def test_it_is_openvino_that_answers_and_tensorflow_after_it_fails(
    load: Load, models: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[int] = []
    broken = threading.Event()
    run = openvino._Runner.__call__

    def counting(self: Any, inputs: Any, outputs: Any) -> Any:
        ran.append(len(inputs["image"]))
        if broken.is_set():
            raise ModelFailed("OpenVINO failed: it is broken")
        return run(self, inputs, outputs)

    monkeypatch.setattr(openvino._Runner, "__call__", counting)
    counted: list[tuple[str, int, str]] = []
    model = load(models / "classifier", "openvino", given_up=lambda *what: counted.append(what))
    ran.clear()
    expected = ask(model, image=IMAGES)["scores"]
    assert sum(ran) == 5
    broken.set()
    for _ in range(2):
        np.testing.assert_allclose(ask(model, image=IMAGES)["scores"], expected, atol=1e-6)
    assert counted == [("m", 3, "openvino")]
    assert model.run_by == RunBy(why="openvino was given up: it failed: OpenVINO failed: it is broken")
    assert "m version 3 is run by TensorFlow from now on" in caplog.text


def test_numbers_by_name_and_other_signatures_stay_themselves(load: Load, models: Path) -> None:
    model = load(models / "several", "openvino")
    found = ask(model, m=np.float32([3, 6]), a=np.float32([2, 5]), z=np.float32([1, 4]))
    np.testing.assert_allclose(found["sum"], [123, 456])
    np.testing.assert_allclose(found["first"], [0.1, 0.4])
    np.testing.assert_allclose(found["again"], [2, 5])
    assert ask(model, signature="shout", text=np.array([b"ab"], np.object_))["loud"].tolist() == [b"AB"]


def test_inputs_that_tensorflow_refuses_are_refused_and_change_nothing(load: Load, models: Path) -> None:
    model = load(models / "classifier", "openvino")
    with pytest.raises(InvalidRequest):
        ask(model, image=np.zeros((1, 4, 3, 3), np.uint8))
    assert model.run_by.runtime == "openvino"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("lookup", "its input 'word' is DT_STRING"),
        ("looping", r"which of its operations run depends on the input \((Stateless)?While\)"),
    ],
)
def test_what_it_can_not_take_is_refused_where_it_was_asked_for_and_else_stays(
    load: Load, models: Path, tmp_path: Path, name: str, says: str
) -> None:
    with pytest.raises(NotTaken, match=rf"^m version 3 can't be run by --runtime=openvino: {says}\.$"):
        load(models / name, "openvino")
    assert load(models / name, "auto", tmp_path).run_by.runtime == "tensorflow"


def test_what_draws_lots_stays_with_tensorflow_and_is_told_why(load: Load, models: Path, tmp_path: Path) -> None:
    for runtime in ("auto", "openvino"):
        by = load(models / "noisy", runtime, tmp_path).run_by
        assert by.runtime == "tensorflow"
        assert "it draws random numbers" in by.why


def test_what_auto_finds_is_kept_and_found_again(
    load: Load, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(models / "classifier", "auto", tmp_path).run_by
    assert first.runtime in ("tensorflow", "openvino")
    assert len(list(tmp_path.glob("*.json"))) == 1
    monkeypatch.setattr("service.engine.runtimes.fitting.choose", None)  # nothing is chosen again
    assert load(models / "classifier", "auto", tmp_path).run_by == first


def test_a_keras_model_runs_in_openvino(load: Load, models: Path) -> None:
    model = load(models / "keras", "openvino")
    assert model.run_by.runtime == "openvino"


def resident_mb() -> float:
    with open("/proc/self/statm") as file:  # noqa: PTH123 - of the kernel
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_its_memory_comes_back(load: Load, models: Path) -> None:
    for number in range(12):
        model = load(models / "classifier", "openvino")
        ask(model, image=IMAGES)
        model.close()
        if number == 3:
            before_mb = resident_mb()
    assert resident_mb() - before_mb < 40
