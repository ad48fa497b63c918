"""The batcher under everything at once: every caller gets exactly one answer, its own, and no thread is left."""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.batching.batcher import Batcher
from service.engine.batching.objective import Objective
from service.engine.batching.parameters import BatchingParameters
from service.engine.batching.warm_batcher import WarmBatcher
from service.engine.batching.warmer import sample_of
from service.errors import (
    Abandoned,
    DeadlineExceeded,
    DeviceOutOfMemory,
    ModelFailed,
    Overloaded,
    SignpostError,
    TooLarge,
    Unavailable,
)
from service.interface import Answer, Array, Call

LONG_S = 20.0  # nothing here takes this long; what waits for it has failed
POISON = -1.0


@dataclass
class Sent:
    """One request of a caller: its values, and what may become of it besides its answer."""

    values: list[int]
    deadline_s: float = LONG_S
    leaves: bool = False
    outputs: tuple[str, ...] = ()

    @property
    def poisoned(self) -> bool:
        return POISON in self.values


@dataclass
class Caller:
    """A thread that sends some requests together after a while."""

    delay_s: float
    sent: list[Sent]


@dataclass
class Model:
    """Doubles; fails on poison, and on more rows than it has memory for."""

    memory_rows: int
    largest: int = 0
    at_once: int = 0
    most_at_once: int = 0
    runs: list[int] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, inputs: Mapping[str, Array], _outputs: tuple[str, ...]) -> Mapping[str, Array]:
        rows = inputs["x"][:, 0]
        with self.lock:
            self.runs.append(len(rows))
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            time.sleep(0.0003)
            if len(rows) > self.memory_rows:
                raise DeviceOutOfMemory("The device has no memory for that.")
            if POISON in rows:
                raise ValueError("poison")
            return {"y": inputs["x"] * 2}
        finally:
            with self.lock:
                self.at_once -= 1


values = st.lists(st.one_of(st.integers(0, 50), st.integers(0, 50), st.just(int(POISON))), min_size=1, max_size=9)
sent = st.builds(
    Sent,
    values,
    st.sampled_from([LONG_S, LONG_S, LONG_S, 0.0, 0.001]),
    st.sampled_from([False, False, True]),
    st.sampled_from([(), (), ("y",)]),
)
callers = st.lists(
    st.builds(Caller, st.floats(0, 0.003), st.lists(sent, min_size=1, max_size=4)), min_size=1, max_size=12
)


@st.composite
def parameters(draw: st.DrawFn) -> BatchingParameters:
    size = draw(st.integers(1, 8))
    return BatchingParameters(
        max_batch_size=size,
        batch_timeout_micros=draw(st.sampled_from([0, 0, 500])),
        max_enqueued_batches=draw(st.sampled_from([1, 2, 100])),
        num_batch_threads=draw(st.integers(1, 3)),
        allowed_batch_sizes=draw(st.sampled_from([(), (size,), BatchingParameters(max_batch_size=size).sizes()])),
        max_queue_s=draw(st.sampled_from([0.0, 0.001, 10.0])),
        objective=draw(st.sampled_from([None, Objective(0.99, 0.0005), Objective(0.9, 0.01)])),
    )


def told(batcher: Batcher, caller: Caller) -> list[Answer | SignpostError]:
    time.sleep(caller.delay_s)
    now = time.monotonic()
    gone: Callable[[], bool] = lambda: True  # noqa: E731 - a caller that has left
    wanted = [
        (
            {"x": np.array(each.values, dtype=np.float64).reshape(-1, 1)},
            Call(now + each.deadline_s, outputs=each.outputs, abandoned=gone if each.leaves else None),
        )
        for each in caller.sent
    ]
    if len(wanted) > 1:
        return batcher.submit_all(wanted)
    try:
        return [batcher.submit(*wanted[0])]
    except SignpostError as error:
        return [error]


def check(each: Sent, result: Answer | SignpostError, rules: BatchingParameters, memory: int, closes: bool) -> None:
    room = rules.max_batch_size * rules.max_enqueued_batches
    padded = max(1, min(rules.allowed_batch_sizes, default=1))
    if isinstance(result, Answer):
        assert result.outputs["y"][:, 0].tolist() == [2 * value for value in each.values]
        assert not each.leaves
        assert not each.poisoned
    elif isinstance(result, TooLarge):
        assert len(each.values) > room
    elif isinstance(result, DeviceOutOfMemory):  # what is padded can't be made smaller than this
        assert memory < padded
    elif isinstance(result, ModelFailed):
        assert each.poisoned
    elif isinstance(result, DeadlineExceeded):
        assert each.deadline_s < LONG_S
    elif isinstance(result, Abandoned):
        assert each.leaves
    elif isinstance(result, Unavailable):
        assert closes
    else:
        assert isinstance(result, Overloaded)
        assert room < 100 or rules.max_queue_s < 10 or each.deadline_s < LONG_S
        assert result.retry_after_s > 0


@settings(max_examples=80, deadline=None)
@given(
    callers=callers,
    rules=parameters(),
    memory=st.sampled_from([1, 2, 5, 100, 100]),
    closes=st.sampled_from([None, None, 0.0, 0.002]),
)
def test_every_caller_gets_exactly_one_answer_its_own(
    callers: list[Caller], rules: BatchingParameters, memory: int, closes: float | None
) -> None:
    model = Model(memory)
    batcher = Batcher(model, rules)
    threads = threading.active_count()
    with ThreadPoolExecutor(len(callers) + 1) as pool:
        futures = [pool.submit(told, batcher, caller) for caller in callers]
        if closes is not None:
            time.sleep(closes)
            batcher.close()
        assert not wait(futures, LONG_S).not_done
    for caller, future in zip(callers, futures, strict=True):
        results = future.result()
        assert len(results) == len(caller.sent)
        for each, result in zip(caller.sent, results, strict=True):
            check(each, result, rules, memory, closes is not None)
    assert threading.active_count() == threads
    assert max(model.runs, default=1) <= rules.max_batch_size
    assert model.most_at_once <= rules.num_batch_threads
    # No batch may be that large again, unless one instance is padded to so many.
    if failed := [run for run in model.runs if run > max(memory, rules.padded(1))]:
        assert batcher.most_rows < min(failed)
    assert batcher.queued_rows == 0
    if closes is None and memory >= max(1, *rules.allowed_batch_sizes, 1):  # it is idle and alive afterwards
        [again] = told(batcher, Caller(0.0, [Sent([1])]))
        assert isinstance(again, Answer)
        assert again.outputs["y"].tolist() == [[2]]


@settings(max_examples=40, deadline=None)
@given(callers=callers, rules=parameters(), memory=st.sampled_from([1, 2, 5, 100, 100]), warm=st.booleans())
def test_so_it_is_beside_the_queue_and_nothing_else_runs_than_the_sizes(
    callers: list[Caller], rules: BatchingParameters, memory: int, warm: bool
) -> None:
    rules = replace(rules, allowed_batch_sizes=()).with_sizes()
    model = Model(memory)
    threads = threading.active_count()
    batcher = WarmBatcher(model, rules, devices=[model], name="m")
    if warm:
        batcher.warmer.warm_up(sample_of({"x": np.ones((1, 1))}, ()))
    with ThreadPoolExecutor(len(callers)) as pool:
        futures = [pool.submit(told, batcher, caller) for caller in callers]
        assert not wait(futures, LONG_S).not_done
    batcher.close()
    for caller, future in zip(callers, futures, strict=True):
        for each, result in zip(caller.sent, future.result(), strict=True):
            check(each, result, rules, memory, closes=False)
    assert threading.active_count() == threads
    assert set(model.runs) <= set(rules.allowed_batch_sizes)
