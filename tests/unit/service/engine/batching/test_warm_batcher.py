"""Nobody waits for a first run: with a model on which each size that never ran takes until the test lets it."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from service.engine.batching.batcher import Unjoinable
from service.engine.batching.parameters import BatchingParameters
from service.engine.batching.warm_batcher import WarmBatcher
from service.engine.batching.warmer import MOST_KINDS, Sample, Used, Warmer, run_sizes, sample_of
from service.errors import DeviceOutOfMemory, InvalidRequest, ModelFailed
from service.interface import Array
from tests.unit.service.engine.batching.test_batcher import LONG_S, call

SIZES = (1, 2, 4, 8)
PARAMETERS = BatchingParameters(max_batch_size=8).with_sizes()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.002)


def rows(count: int, width: int = 1) -> dict[str, Array]:
    return {"x": np.arange(count * width, dtype=np.float64).reshape(count, width)}


class Device:
    """Doubles. Each shape runs for the first time only when it may, as on a GPU, where kernels are chosen then."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []
        self.first: list[tuple[int, ...]] = []
        self.may_run_first = threading.Event()
        self.may_run_first.set()
        self.fits = 1000

    def __call__(self, inputs: Mapping[str, Array], _outputs: tuple[str, ...]) -> Mapping[str, Array]:
        shape = inputs["x"].shape
        if shape[0] > self.fits:
            raise DeviceOutOfMemory("The device is out of memory.")
        if shape not in self.seen:
            self.first.append(shape)
            assert self.may_run_first.wait(LONG_S)
        self.seen.append(shape)
        if (inputs["x"] < 0).any():
            raise ValueError("negative")
        return {"y": inputs["x"] * 2}


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def used() -> list[Sample]:
    return []


@pytest.fixture
def batcher(device: Device, used: list[Sample]) -> Iterator[WarmBatcher]:
    made = WarmBatcher(device, PARAMETERS, devices=[device], name="m", used=used.append)
    made.warmer.warm_up(sample_of(rows(1), ()))
    yield made
    device.may_run_first.set()
    made.close()


def test_what_is_warm_runs_in_no_other_size(batcher: WarmBatcher, device: Device) -> None:
    assert device.first == [(size, 1) for size in SIZES]
    for count in (1, 3, 5, 7, 8, 20):
        assert batcher.submit(rows(count), call()).outputs["y"].tolist() == (rows(count)["x"] * 2).tolist()
    assert device.first == [(size, 1) for size in SIZES]
    assert set(device.seen) == set(device.first)


def test_a_first_run_is_beside_the_queue_and_the_others_go_on(
    batcher: WarmBatcher, device: Device, used: list[Sample]
) -> None:
    device.may_run_first.clear()
    with ThreadPoolExecutor(4) as pool:
        new = pool.submit(batcher.submit, rows(3, width=2), call())
        until(lambda: (4, 2) in device.first)  # padded there too
        for _ in range(5):
            assert batcher.submit(rows(2), call()).outputs["y"].tolist() == [[0.0], [2.0]]
        other = pool.submit(batcher.submit, rows(1, width=3), call())  # new kinds do not wait for each other
        until(lambda: (1, 3) in device.first)
        assert not new.done()
        assert not other.done()
        device.may_run_first.set()
        assert new.result(LONG_S).outputs["y"].tolist() == (rows(3, width=2)["x"] * 2).tolist()
        assert other.result(LONG_S).outputs["y"].tolist() == [[0.0, 2.0, 4.0]]
    until(lambda: all(batcher.warmer.is_warm(sample_of(rows(1, width), ()).kind) for width in (1, 2, 3)))
    assert {shape for shape in device.first if shape[1] == 2} == {(size, 2) for size in SIZES}
    assert sorted(sample.row["x"].shape for sample in used) == [(1, 2), (1, 3)]
    before = len(device.first)
    for count in range(1, 9):
        batcher.submit(rows(count, width=2), call())
    assert len(device.first) == before


def test_requests_of_one_thread_may_be_of_both(batcher: WarmBatcher) -> None:
    outcomes = batcher.submit_all([(rows(1), call()), (rows(2, width=2), call()), ({"x": np.zeros((0, 1))}, call())])
    assert [type(each).__name__ for each in outcomes] == ["Answer", "Answer", "InvalidRequest"]


def test_what_fails_is_not_warmed(batcher: WarmBatcher, used: list[Sample]) -> None:
    with pytest.raises(ModelFailed):
        batcher.submit({"x": np.full((1, 2), -1.0)}, call())
    with pytest.raises(InvalidRequest):
        batcher.submit({"x": np.zeros((0, 2))}, call())
    assert used == []


def test_a_size_without_memory_limits_the_batches(device: Device) -> None:
    device.fits = 4
    batcher = WarmBatcher(device, PARAMETERS, devices=[device], name="m")
    batcher.warmer.warm_up(sample_of(rows(1), ()))
    assert batcher.most_rows == 4
    assert len(batcher.submit(rows(7), call()).outputs["y"]) == 7
    assert set(device.seen) == {(1, 1), (2, 1), (4, 1)}


def test_a_batch_without_memory_goes_on_at_the_size_below(device: Device) -> None:
    batcher = WarmBatcher(device, PARAMETERS, devices=[device], name="m")
    batcher.warmer.warm_up(sample_of(rows(1), ()))
    device.fits = 4
    assert len(batcher.submit(rows(5), call()).outputs["y"]) == 5
    assert batcher.most_rows == 4


def test_closed_it_refuses_in_both_queues_and_its_thread_ends(batcher: WarmBatcher, device: Device) -> None:
    batcher.submit(rows(1, width=2), call())
    batcher.close()
    for width in (1, 2, 3):
        with pytest.raises(Exception, match="unloaded"):
            batcher.submit(rows(1, width), call())
    assert not [each for each in threading.enumerate() if each.name == "warmer"]
    assert device.first


def test_joined_no_more_each_runs_as_it_came(batcher: WarmBatcher, device: Device) -> None:
    batcher.stop_joining()
    batcher.submit(rows(3), call())
    batcher.submit(rows(3, width=2), call())
    assert device.first[len(SIZES) : len(SIZES) + 2] == [(3, 1), (3, 2)]


def test_every_device_runs_every_size() -> None:
    devices = [Device(), Device()]
    assert run_sizes(devices, sample_of(rows(5), ()), SIZES) == 8
    assert all(device.first == [(size, 1) for size in SIZES] for device in devices)
    devices[1].fits = 3
    assert run_sizes(devices, sample_of(rows(5), ()), SIZES) == 2
    devices[0].fits = 0
    with pytest.raises(DeviceOutOfMemory):
        run_sizes(devices, sample_of(rows(5), ()), SIZES)


def test_rows_that_get_lost_are_no_batch() -> None:
    def total(inputs: Mapping[str, Array], _outputs: tuple[str, ...]) -> Mapping[str, Array]:
        return {"y": inputs["x"].sum(axis=0, keepdims=True)}

    with pytest.raises(Unjoinable, match="'y' has 1 row for 2 rows"):
        run_sizes([total], sample_of(rows(1), ()), SIZES)


@pytest.fixture
def warmer(device: Device) -> Iterator[Warmer]:
    made = Warmer([device], SIZES, lambda _rows: None, "m")
    yield made
    device.may_run_first.set()
    made.close()


def test_only_so_many_kinds_are_warmed(warmer: Warmer, caplog: pytest.LogCaptureFixture, device: Device) -> None:
    samples: Sequence[Sample] = [sample_of(rows(1, width), ()) for width in range(1, MOST_KINDS + 4)]
    assert [warmer.note(sample) for sample in samples] == [True] * MOST_KINDS + [False] * 3
    assert not warmer.note(samples[0])
    until(lambda: all(warmer.is_warm(sample.kind) for sample in samples[:MOST_KINDS]))
    assert not warmer.is_warm(samples[-1].kind)
    assert caplog.text.count("more than 64 kinds") == 1
    assert len(device.first) == MOST_KINDS * len(SIZES)


def test_the_thread_survives_whatever_a_run_raises(warmer: Warmer, device: Device, monkeypatch: Any) -> None:
    run, broken = device.__call__, [RuntimeError("odd"), ModelFailed("it fails")]

    def sometimes(_self: Device, inputs: Any, outputs: Any) -> Any:
        if broken and inputs["x"].shape[1] < 3:
            raise broken.pop()
        return run(inputs, outputs)

    monkeypatch.setattr(Device, "__call__", sometimes)
    for width in (1, 2, 3):
        assert warmer.note(sample_of(rows(1, width), ()))
    until(lambda: warmer.is_warm(sample_of(rows(1, 3), ()).kind))
    assert not warmer.is_warm(sample_of(rows(1, 1), ()).kind)


def test_what_was_used_is_remembered_once_and_not_without_end() -> None:
    used = Used()
    for width in (1, 1, 2):
        used.add("s", sample_of(rows(1, width), ()))
    assert sorted(sample.row["x"].shape[1] for sample in used.of("s")) == [1, 2]
    for width in range(3, MOST_KINDS + 9):
        used.add("s", sample_of(rows(1, width), ()))
    assert len(used.of("s")) == MOST_KINDS
    assert used.of("other") == []
