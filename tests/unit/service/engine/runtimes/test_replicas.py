"""Several devices with a copy of a model each: who runs what, and what a device without memory does to a batch."""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.batching.batch import Request, Slice, halve
from service.engine.batching.batcher import Batcher
from service.engine.batching.parameters import BatchingParameters
from service.engine.runtimes.replicas import Replicas
from service.engine.tf import trial
from service.errors import DeviceOutOfMemory
from service.interface import Array, Call, ImageSize
from tests.unit.service.engine.batching.test_batcher import LONG_S, Doubler, call, queue_up, rows


class Device:
    """A device that notes what it runs; it can be held."""

    def __init__(self) -> None:
        self.ran = 0
        self.may_run = threading.Event()
        self.may_run.set()
        self.running = threading.Event()

    def __call__(self, inputs: Mapping[str, Array], _outputs: tuple[str, ...]) -> Mapping[str, Array]:
        self.running.set()
        assert self.may_run.wait(LONG_S)
        self.ran += 1
        return {"y": inputs["x"]}


def test_idle_devices_take_turns() -> None:
    devices = [Device(), Device(), Device()]
    run = Replicas(devices)
    for _ in range(7):
        run(rows(1), ())
    assert sorted(device.ran for device in devices) == [2, 2, 3]


def test_a_busy_device_gets_nothing_while_another_is_idle() -> None:
    busy, idle = Device(), Device()
    run = Replicas([busy, idle])
    busy.may_run.clear()
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(run, rows(1), ())
        assert busy.running.wait(LONG_S)
        for _ in range(5):
            run(rows(1), ())
        assert idle.ran == 5
        busy.may_run.set()
        held.result(LONG_S)
    run(rows(1), ())
    assert busy.ran == 2


def test_a_device_that_fails_is_idle_again() -> None:
    def broken(*_: object) -> Mapping[str, Array]:
        raise ValueError("broken")

    whole = Device()
    run = Replicas([broken, whole])
    for _ in range(3):  # were it thought to be busy, all would go to the other
        with pytest.raises(ValueError, match="broken"):
            run(rows(1), ())
        run(rows(1), ())
    assert whole.ran == 3


class Small:
    """A device with memory for so many rows."""

    def __init__(self, fits: int) -> None:
        self.fits = fits
        self.batches: list[int] = []

    def __call__(self, inputs: Mapping[str, Array], _outputs: tuple[str, ...]) -> Mapping[str, Array]:
        count = len(next(iter(inputs.values())))
        self.batches.append(count)
        if count > self.fits:
            raise DeviceOutOfMemory("The device is out of memory.")
        return {"y": next(iter(inputs.values())) * 2, "scores": np.zeros((count, 2))}


def test_out_of_memory_halves_the_batch_answers_all_and_goes_on_smaller() -> None:
    device = Small(fits=3)
    batcher = Batcher(device, BatchingParameters(max_batch_size=8))
    answer = batcher.submit(rows(*range(8)), call())
    assert answer.outputs["y"][:, 0].tolist() == [2.0 * n for n in range(8)]
    assert device.batches == [8, 4, 2, 2, 4, 2, 2]
    device.batches.clear()
    assert batcher.submit(rows(*range(5)), call()).outputs["y"][:, 0].tolist() == [0, 2, 4, 6, 8]
    assert device.batches == [2, 2, 1]


def test_out_of_memory_in_a_shared_batch_gives_each_its_own_answer() -> None:
    model = Doubler()

    def run(inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> Mapping[str, Array]:
        if len(inputs["x"]) > 2:
            raise DeviceOutOfMemory("The device is out of memory.")
        return model(inputs, outputs)

    batcher = Batcher(run, BatchingParameters())
    model.hold()
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(batcher.submit, rows(0), call())
        model.wait_until_running()
        others = [queue_up(pool, batcher, rows(n, n + 10), call()) for n in (1, 2, 3)]
        model.may_run.set()
        assert first.result(LONG_S)
        assert [f.result(LONG_S).outputs["y"][:, 0].tolist() for f in others] == [[2, 22], [4, 24], [6, 26]]


def test_a_single_row_that_does_not_fit_fails_and_the_next_is_tried() -> None:
    device = Small(fits=0)
    batcher = Batcher(device, BatchingParameters())
    with pytest.raises(DeviceOutOfMemory):
        batcher.submit(rows(1, 2), call())
    device.fits = 1
    assert batcher.submit(rows(1), call()).outputs["y"].tolist() == [[2]]


def test_the_warm_up_finds_the_largest_batch_that_fits_on_every_device() -> None:
    small, large = Small(fits=5), Small(fits=100)
    assert trial.warm_up([small, large], ImageSize(2, 2, 1), (1, 2, 4, 8, 16)) == 4
    assert small.batches[:3] == large.batches[:3] == [1, 2, 4]
    with pytest.raises(DeviceOutOfMemory):
        trial.warm_up([Small(fits=0)], ImageSize(2, 2, 1), (1, 2))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=6))
def test_halves_hold_every_row_once_and_in_order(parts: list[tuple[int, int]]) -> None:
    request = Request(rows(0), 1, Call(0.0), 0.0)
    batch = [Slice(request, start, start + count) for start, count in parts]
    whole = [row for part in batch for row in range(part.start, part.stop)]
    left, right = halve(batch)
    assert [row for part in [*left, *right] for row in range(part.start, part.stop)] == whole
    assert sum(part.stop - part.start for part in left) == len(whole) // 2
    assert np.all([part.stop > part.start for part in [*left, *right]])
