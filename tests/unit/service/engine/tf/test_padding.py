"""Batches of few sizes, all of which ran before: asked for by `pad_batches`, as a GPU wants it by itself."""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.engine.batching.parameters import BatchingParameters
from service.engine.batching.warmer import Used
from service.engine.tf import loading, saved_model, servable
from service.engine.tf.device import DeviceSettings
from service.engine.tf.servable import TensorflowServable
from service.interface import Array, Call

pytestmark = pytest.mark.slow  # TensorFlow

LONG_S = 60.0
PADS = DeviceSettings(threads=1, pad_batches=True)
PIXELS = (2, 3, 3)
Ran = list[tuple[str, tuple[int, ...], tuple[str, ...]]]
Load = Callable[..., TensorflowServable]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.unit.service.engine.tf import saved_models as make

    folder = tmp_path_factory.mktemp("models")
    make.explained(folder / "explained")
    make.inputs_in_no_order(folder / "several")
    make.centred(folder / "centred")
    return folder


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Ran:
    """What ran in sessions: an input's name, its shape, and the outputs."""
    noted: Ran = []
    run_of = saved_model.run_of

    def noting(*arguments: Any) -> Any:
        run = run_of(*arguments)

        def noted_run(inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> Mapping[str, Array]:
            name, array = sorted(inputs.items())[0]
            noted.append((name, array.shape, outputs))
            return run(inputs, outputs)

        return noted_run

    monkeypatch.setattr(saved_model, "run_of", noting)
    return noted


@pytest.fixture
def load() -> Iterator[Load]:
    loaded: list[TensorflowServable] = []

    def load(folder: Path, device: DeviceSettings = PADS, **more: Any) -> TensorflowServable:
        used = more.pop("used", None)
        parameters = BatchingParameters(**{"max_batch_size": 4, **more})
        loaded.append(loading.load(folder, "m", 1, parameters, device, used=used))
        return loaded[-1]

    yield load
    for each in loaded:
        each.close()


def ask(model: TensorflowServable, name: str = "serving_default", *outputs: str, **inputs: Array) -> dict[str, Array]:
    return dict(model.predict(inputs, Call(time.monotonic() + LONG_S, name, outputs)).outputs)


def images(count: int) -> Array:
    values = np.linspace(0, 255, count, dtype=np.uint8)
    return np.broadcast_to(values[:, None, None, None], (count, *PIXELS)).copy()


def sizes(ran: Ran, outputs: tuple[str, ...]) -> set[int]:
    return {shape[0] for _, shape, wanted in ran if wanted == outputs}


def test_a_classifier_answers_right_in_sizes_that_ran_before(load: Load, models: Path, ran: Ran) -> None:
    model = load(models / "explained")
    assert sizes(ran, ("scores",)) == {1, 2, 4}
    for count in range(1, 12):
        outputs = ask(model, image=images(count))
        assert outputs["classes"].shape == (count, 2)
        np.testing.assert_allclose(outputs["scores"][:, 1], images(count)[:, 0, 0, 0] / 255, atol=1e-6)
    assert sizes(ran, ("scores",)) == {1, 2, 4}


def test_on_a_cpu_nothing_is_padded(load: Load, models: Path, ran: Ran) -> None:
    model = load(models / "explained", DeviceSettings(threads=1))
    assert sizes(ran, ("scores",)) == {1, 2, 4}  # the last one to measure its memory
    ran.clear()
    ask(model, image=images(3))
    assert sizes(ran, ("scores",)) == {3}


def test_numbers_are_warm_before_they_serve(load: Load, models: Path, ran: Ran) -> None:
    model = load(models / "several")
    assert sizes(ran, ()) == {1, 2, 4}
    before = len(ran)
    numbers = np.arange(7, dtype=np.float32)
    np.testing.assert_allclose(ask(model, z=numbers, a=numbers * 0, m=numbers)["sum"], numbers * 101)
    assert {shape[0] for _, shape, _ in ran[before:]} <= {1, 4}  # that of one is the recheck


def test_what_requests_use_beyond_is_warm_in_the_next_version(load: Load, models: Path, ran: Ran) -> None:
    used = Used()
    first = load(models / "explained", used=used)
    assert {outputs for _, _, outputs in ran} == {("scores",)}
    heat = ask(first, "explain", image=images(3) + 1)
    assert heat["heatmap"].shape == (3, *PIXELS[:2])
    end = time.monotonic() + LONG_S
    while sizes(ran, ()) != {1, 2, 4}:
        assert time.monotonic() < end
        time.sleep(0.01)
    [sample] = used.of("explain")
    assert not sample.row["image"].any()  # no client's pixels are kept
    ran.clear()
    second = load(models / "explained", used=used)
    assert sizes(ran, ()) == {1, 2, 4}
    ran.clear()
    np.testing.assert_allclose(ask(second, "explain", image=images(2))["heatmap"][1], 255)
    assert sizes(ran, ()) == {2}
    other = load(models / "several", used=used)  # a version with another signature
    assert ask(other, z=np.ones(1, np.float32), a=np.ones(1, np.float32), m=np.ones(1, np.float32))


def test_rows_that_are_not_shown_to_be_independent_are_not_padded(load: Load, models: Path, ran: Ran) -> None:
    for row_test in (True, False):
        model = load(models / "centred", row_test=row_test)
        ran.clear()
        numbers = np.array([1, 2, 6], np.float32)
        np.testing.assert_allclose(ask(model, x=numbers)["y"], [-2, -1, 3])
        assert [shape for _, shape, _ in ran] == [(3,)]


def test_sizes_that_are_told_are_kept(load: Load, models: Path, ran: Ran) -> None:
    model = load(models / "explained", allowed_batch_sizes=(3, 4))
    ask(model, image=images(1))
    assert sizes(ran, ("scores",)) == {3, 4}


@pytest.mark.parametrize(("gain", "at_once"), [(1.5, 2), (1.02, 1)])
def test_on_a_gpu_two_batches_run_at_a_time_where_that_measures_quicker(
    load: Load, models: Path, monkeypatch: pytest.MonkeyPatch, gain: float, at_once: int
) -> None:
    measured: list[tuple[tuple[str, ...], int]] = []

    def gain_of_pairs(_run: Any, sample: Any, size: int) -> float:
        measured.append((sample.outputs, size))
        return gain

    monkeypatch.setattr(servable, "gain_of_pairs", gain_of_pairs)
    monkeypatch.setattr(loading, "has_gpu", lambda: True)
    model = load(models / "explained", pairs=True)
    assert measured == [(("scores",), 4)]
    assert {name: batcher.at_once for name, batcher in model.batchers.items()} == {
        "serving_default": at_once,
        "explain": 1,
    }
    assert load(models / "explained").batchers["serving_default"].at_once == 1  # a number that is told is kept


@pytest.mark.parametrize(
    ("times", "says"), [(1.4, "1.40 times as long as in float32; leave it out"), (0.5, "0.50 times")]
)
def test_whether_16_bits_are_worth_it_is_told(
    load: Load, models: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, times: float, says: str
) -> None:
    def times_as_long(run: Any, plain: Any, sample: Any, size: int) -> float:
        rows = {name: np.repeat(row, size, axis=0) for name, row in sample.row.items()}
        one, other = (each(rows, sample.outputs)["scores"] for each in (run, plain))
        np.testing.assert_allclose(one, other, atol=0.02)
        return times

    monkeypatch.setattr(loading, "times_as_long", times_as_long)
    caplog.set_level("INFO")
    load(models / "explained", DeviceSettings(threads=1, mixed_precision=True))
    assert f"m version 1: with --mixed_precision a batch of 4 takes {says}" in caplog.text
    assert [each.levelname for each in caplog.records if "mixed" in each.message] == [
        "WARNING" if times > 1 else "INFO"
    ]
