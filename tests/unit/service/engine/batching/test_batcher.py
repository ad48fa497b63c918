"""The batcher, without TensorFlow: every caller gets exactly one answer, its own."""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from service.engine.batching.batcher import Batcher
from service.engine.batching.parameters import BatchingParameters
from service.errors import (
    Abandoned,
    DeadlineExceeded,
    InvalidRequest,
    ModelFailed,
    Overloaded,
    TooLarge,
    Unavailable,
)
from service.interface import Answer, Array, Call

LONG_S = 20.0  # nothing here takes this long; what waits for it has failed


def call(
    deadline_s: float = LONG_S, outputs: tuple[str, ...] = (), abandoned: Callable[[], bool] | None = None
) -> Call:
    return Call(deadline=time.monotonic() + deadline_s, outputs=outputs, abandoned=abandoned)


def rows(*values: float) -> dict[str, Array]:
    return {"x": np.array(values, dtype=np.float64).reshape(-1, 1)}


class Doubler:
    """A model that doubles; it can be held, and it fails on negative numbers."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.may_run = threading.Event()
        self.may_run.set()
        self.running = threading.Semaphore(0)

    def __call__(self, inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> dict[str, Array]:  # noqa: ARG002 - as the batcher calls it
        self.batches.append(inputs["x"][:, 0].tolist())
        self.running.release()
        assert self.may_run.wait(LONG_S)
        if (inputs["x"] < 0).any():
            raise ValueError("negative")
        return {"y": inputs["x"] * 2}

    def hold(self) -> None:
        self.may_run.clear()

    def wait_until_running(self) -> None:
        assert self.running.acquire(timeout=LONG_S)


@pytest.fixture
def model() -> Doubler:
    return Doubler()


@pytest.fixture
def pool():  # noqa: ANN201 - a fixture's type is that of its yield
    with ThreadPoolExecutor(64) as executor:
        yield executor


def queue_up(pool: ThreadPoolExecutor, batcher: Batcher, inputs: Mapping[str, Array], made: Call) -> Future[Answer]:
    """Submit from a thread of its own and return once the request is in the queue."""
    before = batcher.queued_rows
    future = pool.submit(batcher.submit, inputs, made)
    until = time.monotonic() + LONG_S
    while batcher.queued_rows == before and not future.done():
        assert time.monotonic() < until
        time.sleep(0.001)
    return future


def test_a_lone_request_runs_at_once_in_its_own_thread(model: Doubler) -> None:
    threads: list[threading.Thread] = []

    def run(inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> Mapping[str, Array]:
        threads.append(threading.current_thread())
        return model(inputs, outputs)

    answer = Batcher(run, BatchingParameters()).submit(rows(1, 2), call())
    assert answer.outputs["y"].tolist() == [[2], [4]]
    assert answer.batch_rows == 2
    assert threads == [threading.current_thread()]


def test_requests_gather_while_the_model_is_busy(model: Doubler, pool: ThreadPoolExecutor) -> None:
    batcher = Batcher(model, BatchingParameters(max_batch_size=8))
    model.hold()
    first = pool.submit(batcher.submit, rows(0), call())
    model.wait_until_running()
    others = [queue_up(pool, batcher, rows(n), call()) for n in range(1, 6)]
    model.may_run.set()
    assert first.result(LONG_S).outputs["y"].tolist() == [[0]]
    assert [f.result(LONG_S).outputs["y"].tolist() for f in others] == [[[2.0 * n]] for n in range(1, 6)]
    assert model.batches == [[0], [1, 2, 3, 4, 5]]
    assert others[0].result().queue_s > 0


def test_requests_of_one_thread_share_a_batch_and_each_gets_its_own_answer(model: Doubler) -> None:
    batcher = Batcher(model, BatchingParameters(max_batch_size=4))
    wanted = [(rows(1), call()), (rows(2, 3), call()), (rows(), call()), (rows(4, 5), call()), (rows(6), call(-1.0))]
    first, second, empty, third, late = batcher.submit_all(wanted)
    assert isinstance(first, Answer)
    assert isinstance(second, Answer)
    assert isinstance(third, Answer)
    assert [each.outputs["y"][:, 0].tolist() for each in (first, second, third)] == [[2], [4, 6], [8, 10]]
    assert isinstance(empty, InvalidRequest)
    assert isinstance(late, DeadlineExceeded)
    assert model.batches == [[1, 2, 3, 4], [5]]
    assert batcher.queued_rows == 0


def test_a_thread_torn_away_from_several_requests_leaves_the_lead_to_others() -> None:
    torn = True

    def run(inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> dict[str, Array]:  # noqa: ARG001 - as the batcher calls it
        if torn:
            raise SystemExit
        return {"y": inputs["x"]}

    batcher = Batcher(run, BatchingParameters(max_batch_size=1))
    with pytest.raises(SystemExit):
        batcher.submit_all([(rows(1), call()), (rows(2), call()), (rows(3), call())])
    torn = False
    assert batcher.queued_rows == 0
    assert batcher.submit(rows(4), call()).outputs["y"].tolist() == [[4]]


def test_a_large_request_is_split_and_put_together_in_order(model: Doubler) -> None:
    batcher = Batcher(model, BatchingParameters(max_batch_size=4))
    answer = batcher.submit(rows(*range(11)), call())
    assert answer.outputs["y"][:, 0].tolist() == [2.0 * n for n in range(11)]
    assert [len(b) for b in model.batches] == [4, 4, 3]
    assert answer.batch_rows == 4


def test_batches_are_padded_to_allowed_sizes(model: Doubler) -> None:
    batcher = Batcher(model, BatchingParameters(max_batch_size=8, allowed_batch_sizes=(2, 8)))
    assert batcher.submit(rows(7, 8, 9), call()).outputs["y"][:, 0].tolist() == [14, 16, 18]
    assert model.batches == [[7, 8, 9, 7, 7, 7, 7, 7]]


def test_the_end_of_a_split_request_is_padded_right(model: Doubler, pool: ThreadPoolExecutor) -> None:
    batcher = Batcher(model, BatchingParameters(max_batch_size=4, allowed_batch_sizes=(4,)))
    model.hold()
    first = pool.submit(batcher.submit, rows(0), call())
    model.wait_until_running()
    small = queue_up(pool, batcher, rows(1, 2), call())
    whole = queue_up(pool, batcher, rows(3, 4, 5, 6), call())  # two rows go with `small`, two in a padded batch
    model.may_run.set()
    wait([first, small, whole], LONG_S)
    assert whole.result().outputs["y"][:, 0].tolist() == [6, 8, 10, 12]
    assert model.batches[1:] == [[1, 2, 3, 4], [5, 6, 5, 5]]


def test_a_failing_request_costs_the_others_nothing(model: Doubler, pool: ThreadPoolExecutor) -> None:
    batcher = Batcher(model, BatchingParameters())
    model.hold()
    first = pool.submit(batcher.submit, rows(0), call())
    model.wait_until_running()
    good = queue_up(pool, batcher, rows(1), call())
    bad = queue_up(pool, batcher, rows(-1), call())
    model.may_run.set()
    assert first.result(LONG_S)
    assert good.result(LONG_S).outputs["y"].tolist() == [[2]]
    with pytest.raises(ModelFailed, match="negative"):
        bad.result(LONG_S)


@pytest.mark.parametrize("shape", [(3, 1), (1, 1), (), (0,)])
def test_a_request_that_runs_by_itself_gets_what_the_model_gives(shape: tuple[int, ...]) -> None:
    told: list[str] = []
    batcher = Batcher(lambda *_: {"y": np.zeros(shape)}, BatchingParameters(), unjoinable=told.append)
    assert batcher.submit(rows(1, 2), call()).outputs["y"].shape == shape
    assert told == []


class Repeater(Doubler):
    """Gives each number as often as it says, so that rows of a batch can't be told apart."""

    def __call__(self, inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> dict[str, Array]:
        super().__call__(inputs, outputs)
        flat = inputs["x"].ravel().astype(int)
        return {"y": np.repeat(flat, flat)}


def test_what_a_batch_gives_is_never_cut_by_guess(pool: ThreadPoolExecutor) -> None:
    model = Repeater()
    told: list[str] = []
    batcher = Batcher(model, BatchingParameters(), unjoinable=told.append)
    model.hold()
    first = pool.submit(batcher.submit, rows(4), call())
    model.wait_until_running()
    several = [queue_up(pool, batcher, rows(*each), call()) for each in ([1], [2], [2, 0])]
    model.may_run.set()
    assert first.result(LONG_S).outputs["y"].tolist() == [4] * 4
    assert [each.result(LONG_S).outputs["y"].tolist() for each in several] == [[1], [2, 2], [2, 2]]
    assert told == ["its output 'y' has 5 rows for 4 rows of input"]
    assert model.batches[2:] == [[1], [2], [2, 0]]  # one by one, each whole
    assert batcher.queued_rows == 0


def test_a_request_in_slices_runs_again_whole_where_they_can_not_be_trusted(pool: ThreadPoolExecutor) -> None:
    model = Repeater()
    batcher = Batcher(model, BatchingParameters(max_batch_size=2))
    assert batcher.submit(rows(2, 0, 3), call()).outputs["y"].tolist() == [2, 2, 3, 3, 3]
    model.hold()
    first = pool.submit(batcher.submit, rows(1), call())
    model.wait_until_running()
    large = queue_up(pool, batcher, rows(2, 2, 2), call())
    other = queue_up(pool, batcher, rows(3), call())
    model.may_run.set()
    assert first.result(LONG_S).outputs["y"].tolist() == [1]
    assert large.result(LONG_S).outputs["y"].tolist() == [2] * 6
    assert other.result(LONG_S).outputs["y"].tolist() == [3] * 3
    assert batcher.queued_rows == 0


def test_once_nothing_is_joined_any_more_each_request_runs_whole(pool: ThreadPoolExecutor) -> None:
    model = Repeater()
    batcher = Batcher(model, BatchingParameters(max_batch_size=2, allowed_batch_sizes=(2,)))
    model.hold()
    first = pool.submit(batcher.submit, rows(1, 1), call())
    model.wait_until_running()
    waiting = [queue_up(pool, batcher, rows(*each), call()) for each in ([1], [1, 2, 3], [2])]
    batcher.stop_joining()
    model.may_run.set()
    assert first.result(LONG_S).outputs["y"].tolist() == [1, 1]
    answers = [each.result(LONG_S).outputs["y"].tolist() for each in waiting]
    assert answers == [[1], [1, 2, 2, 3, 3, 3], [2, 2]]
    assert model.batches[1:] == [[1], [1, 2, 3], [2]]
    assert batcher.queued_rows == 0


def test_a_request_that_fails_alone_fails_alone(pool: ThreadPoolExecutor) -> None:
    class Odd(Repeater):
        def __call__(self, inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> dict[str, Array]:
            answered = super().__call__(inputs, outputs)
            if inputs["x"].ravel().tolist() == [7]:
                raise InvalidRequest("no seven")
            return answered

    model = Odd()
    batcher = Batcher(model, BatchingParameters())
    model.hold()
    first = pool.submit(batcher.submit, rows(1), call())
    model.wait_until_running()
    bad, good = (queue_up(pool, batcher, rows(each), call()) for each in (7, 3))
    model.may_run.set()
    first.result(LONG_S)
    with pytest.raises(InvalidRequest, match="no seven"):
        bad.result(LONG_S)
    assert good.result(LONG_S).outputs["y"].tolist() == [3] * 3


def test_batches_that_were_shared_are_told_with_what_they_gave(pool: ThreadPoolExecutor) -> None:
    model = Doubler()
    told: list[Any] = []
    batcher = Batcher(model, BatchingParameters(), joined=lambda *batch: told.append(batch))
    batcher.submit(rows(1, 2), call())
    assert told == []  # one request is not joined with anything
    batcher.submit(rows(1, 2), replace(call(), joined=True))  # but a gateway may have joined several in it
    assert len(told) == 1
    model.hold()
    first = pool.submit(batcher.submit, rows(1), call())
    model.wait_until_running()
    others = [queue_up(pool, batcher, rows(each), call()) for each in (5, 6)]
    model.may_run.set()
    wait([first, *others], LONG_S)
    inputs, outputs, answered = told[1]
    assert (inputs["x"].tolist(), outputs, answered["y"].tolist()) == ([[5], [6]], (), [[10], [12]])


def test_requests_of_differing_shapes_or_outputs_never_share_a_batch(pool: ThreadPoolExecutor) -> None:
    seen: list[tuple[tuple[int, ...], tuple[str, ...]]] = []
    model = Doubler()

    def run(inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> Mapping[str, Array]:
        seen.append((inputs["x"].shape, outputs))
        return model({"x": inputs["x"].reshape(len(inputs["x"]), -1)}, outputs)

    batcher = Batcher(run, BatchingParameters())
    model.hold()
    futures = [pool.submit(batcher.submit, rows(0), call())]
    model.wait_until_running()
    wide = {"x": np.ones((1, 2))}
    for inputs, outputs in [(rows(1), ()), (wide, ()), (rows(2), ("y",)), (rows(3), ()), (wide, ())]:
        futures.append(queue_up(pool, batcher, inputs, call(outputs=outputs)))
    model.may_run.set()
    wait(futures, LONG_S)
    assert seen[1:] == [((2, 1), ()), ((2, 2), ()), ((1, 1), ("y",))]


def test_a_full_queue_refuses_and_estimates_when_to_come_back(model: Doubler, pool: ThreadPoolExecutor) -> None:
    batcher = Batcher(model, BatchingParameters(max_batch_size=2, max_enqueued_batches=2))
    model.hold()
    futures = [pool.submit(batcher.submit, rows(0), call())]
    model.wait_until_running()
    futures += [queue_up(pool, batcher, rows(n), call()) for n in range(4)]
    with pytest.raises(Overloaded, match="4 instances wait, at most 4") as refused:
        batcher.submit(rows(9), call())
    assert refused.value.retry_after_s > 0
    model.may_run.set()
    assert len(wait(futures, LONG_S).done) == 5
    assert batcher.submit(rows(9), call()).outputs["y"].tolist() == [[18]]


def test_a_request_may_be_larger_than_the_queue_but_has_a_limit(model: Doubler) -> None:
    parameters = BatchingParameters(max_batch_size=2, max_enqueued_batches=2, max_instances=6)
    assert Batcher(model, parameters).submit(rows(*range(5)), call()).outputs["y"].tolist() == [
        [0], [2], [4], [6], [8]
    ]  # fmt: skip
    with pytest.raises(TooLarge, match="7 instances; at most 6"):
        Batcher(model, parameters).submit(rows(*range(7)), call())


def test_a_request_past_its_deadline_is_answered_then_and_never_runs(model: Doubler, pool: ThreadPoolExecutor) -> None:
    batcher = Batcher(model, BatchingParameters())
    model.hold()
    first = pool.submit(batcher.submit, rows(0), call())
    model.wait_until_running()
    with pytest.raises(DeadlineExceeded, match="within the deadline"):
        batcher.submit(rows(1), call(deadline_s=0.02))
    assert batcher.queued_rows == 0
    model.may_run.set()
    first.result(LONG_S)
    assert model.batches == [[0]]


def test_a_running_request_is_given_up_at_its_deadline(model: Doubler, pool: ThreadPoolExecutor) -> None:
    batcher = Batcher(model, BatchingParameters())
    model.hold()
    first = pool.submit(batcher.submit, rows(0), call())
    model.wait_until_running()
    short = queue_up(pool, batcher, rows(1), call(deadline_s=0.05))
    patient = queue_up(pool, batcher, rows(2), call())
    with pytest.raises(DeadlineExceeded):
        short.result(LONG_S)
    model.may_run.set()
    assert first.result(LONG_S)
    assert patient.result(LONG_S).outputs["y"].tolist() == [[4]]


def test_a_request_whose_caller_left_is_not_run(model: Doubler, pool: ThreadPoolExecutor) -> None:
    batcher = Batcher(model, BatchingParameters())
    model.hold()
    first = pool.submit(batcher.submit, rows(0), call())
    model.wait_until_running()
    gone = queue_up(pool, batcher, rows(1), call(abandoned=lambda: True))
    there = queue_up(pool, batcher, rows(2), call(abandoned=lambda: 1 / 0 > 0))  # a broken check counts as "there"
    model.may_run.set()
    first.result(LONG_S)
    with pytest.raises(Abandoned):
        gone.result(LONG_S)
    assert there.result(LONG_S).outputs["y"].tolist() == [[4]]
    assert model.batches == [[0], [2]]


def test_with_a_batch_timeout_a_batch_waits_to_fill(model: Doubler, pool: ThreadPoolExecutor) -> None:
    batcher = Batcher(model, BatchingParameters(max_batch_size=3, batch_timeout_micros=int(LONG_S * 1e6)))
    futures = [queue_up(pool, batcher, rows(n), call()) for n in range(2)]
    assert model.batches == []
    futures.append(pool.submit(batcher.submit, rows(2), call()))
    assert len(wait(futures, LONG_S).done) == 3
    assert [sorted(b) for b in model.batches] == [[0, 1, 2]]


def test_several_batches_run_at_once_where_allowed(model: Doubler, pool: ThreadPoolExecutor) -> None:
    batcher = Batcher(model, BatchingParameters(max_batch_size=2, num_batch_threads=2))
    model.hold()
    whole = pool.submit(batcher.submit, rows(0, 1, 2, 3), call())
    model.wait_until_running()
    other = pool.submit(batcher.submit, rows(9), call())
    model.wait_until_running()  # the second batch starts while the first is held
    model.may_run.set()
    assert whole.result(LONG_S).outputs["y"][:, 0].tolist() == [0, 2, 4, 6]
    assert other.result(LONG_S).outputs["y"].tolist() == [[18]]


def test_closing_answers_those_who_wait(model: Doubler, pool: ThreadPoolExecutor) -> None:
    batcher = Batcher(model, BatchingParameters())
    model.hold()
    running = pool.submit(batcher.submit, rows(0), call())
    model.wait_until_running()
    waiting = queue_up(pool, batcher, rows(1), call())
    batcher.close()
    with pytest.raises(Unavailable):
        waiting.result(LONG_S)
    model.may_run.set()
    assert running.result(LONG_S).outputs["y"].tolist() == [[0]]
    with pytest.raises(Unavailable):
        batcher.submit(rows(1), call())


def test_a_leader_that_is_torn_away_leaves_nobody_waiting(pool: ThreadPoolExecutor) -> None:
    model = Doubler()

    def run(inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> Mapping[str, Array]:
        result = model(inputs, outputs)
        if len(model.batches) == 2:
            raise SystemExit
        return result

    batcher = Batcher(run, BatchingParameters())
    model.hold()
    first = pool.submit(batcher.submit, rows(0), call())
    model.wait_until_running()
    torn = [queue_up(pool, batcher, rows(n), call()) for n in (1, 2)]
    model.may_run.set()
    first.result(LONG_S)
    for future in torn:
        with pytest.raises((ModelFailed, SystemExit)):
            future.result(LONG_S)
    assert batcher.submit(rows(3), call()).outputs["y"].tolist() == [[6]]


@pytest.mark.parametrize(
    "inputs", [{}, {"x": np.zeros((0, 1))}, {"x": np.zeros(())}, {"x": np.zeros(1), "y": np.zeros(2)}]
)
def test_inputs_without_rows_are_refused(model: Doubler, inputs: dict[str, Array]) -> None:
    with pytest.raises(InvalidRequest):
        Batcher(model, BatchingParameters()).submit(inputs, call())


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_batch_size": 0},
        {"batch_timeout_micros": -1},
        {"max_enqueued_batches": 0},
        {"num_batch_threads": 0},
        {"max_batch_size": 8, "allowed_batch_sizes": (8, 4)},
        {"max_batch_size": 8, "allowed_batch_sizes": (2, 4)},
    ],
)
def test_parameters_that_do_not_fit_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must"):
        BatchingParameters(**wrong)  # type: ignore[arg-type]


def test_sizes_to_warm_up() -> None:
    assert BatchingParameters(max_batch_size=12).sizes() == (1, 2, 4, 8, 12)
    assert BatchingParameters(max_batch_size=12).sizes(few=True) == (1, 2)
    assert BatchingParameters(max_batch_size=1).sizes(few=True) == (1,)
    assert BatchingParameters(max_batch_size=8, allowed_batch_sizes=(3, 8)).sizes() == (3, 8)


def test_a_request_that_fails_at_its_start_leaves_nothing_in_the_queue(model: Doubler) -> None:
    batcher = Batcher(model, BatchingParameters(max_batch_size=1, max_enqueued_batches=3))
    with pytest.raises(ModelFailed):
        batcher.submit(rows(-1, 2, 3), call())
    assert batcher.queued_rows == 0
    assert batcher.submit(rows(1, 2, 3), call()).outputs["y"][:, 0].tolist() == [2, 4, 6]  # there is room for all
