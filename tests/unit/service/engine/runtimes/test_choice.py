"""Which runtime serves: the fastest that answers the same."""

import numpy as np
import pytest

from service.engine.runtimes import choice
from service.engine.runtimes.choice import Candidate, Choice
from service.engine.runtimes.part import NotTaken, Opened
from service.errors import ModelFailed
from service.interface import Array, RunBy
from tests.unit.service.engine.runtimes.fake_runtimes import Answers, Clock, FakeRun, scores_of, trial


def choose(reference: FakeRun, *candidates: tuple[str, FakeRun], **changed: object) -> Choice:
    found = [Candidate(name, run.opened) for name, run in candidates]
    return choice.choose(found, reference, trial(**changed), clock=reference.clock)


@pytest.mark.parametrize(
    ("row_s", "serves"), [(0.5e-3, "openvino"), (0.94e-3, "openvino"), (0.96e-3, "tensorflow"), (2e-3, "tensorflow")]
)
def test_it_has_to_be_faster_by_more_than_a_twentieth(row_s: float, serves: str) -> None:
    clock = Clock()
    other = FakeRun(clock, row_s)
    chosen = choose(FakeRun(clock, 1e-3), ("openvino", other))
    assert chosen.by.runtime == serves
    assert other.closed == (serves == "tensorflow")
    if serves == "openvino":
        assert chosen.by.gain == pytest.approx(1e-3 / row_s)
        assert chosen.opened is not None
    else:
        assert "openvino is not faster" in chosen.by.why


def test_the_fastest_serves_and_the_others_are_closed() -> None:
    clock = Clock()
    slow, fast, slower = FakeRun(clock, 0.8e-3), FakeRun(clock, 0.4e-3), FakeRun(clock, 0.6e-3)
    chosen = choose(FakeRun(clock, 1e-3), ("a", slow), ("b", fast), ("c", slower))
    assert chosen.by == RunBy("b", pytest.approx(2.5))
    assert [slow.closed, fast.closed, slower.closed] == [1, 0, 1]


def test_a_lone_request_must_not_pay_for_large_batches() -> None:
    clock = Clock()
    chosen = choose(FakeRun(clock, 1e-3), ("openvino", FakeRun(clock, 0.3e-3, call_s=1.5e-3)))
    assert "not faster (times as fast as TensorFlow by the size of batches: 0.56 at 1" in chosen.by.why


def test_a_size_at_which_rows_take_longer_is_one_that_the_batcher_would_not_make() -> None:
    clock = Clock()

    class WorseWhenLarge(FakeRun):
        def __call__(self, inputs: object, outputs: tuple[str, ...]) -> object:  # type: ignore[override]
            self.row_s = 0.5e-3 if len(inputs["image"]) < 32 else 2e-3  # type: ignore[index]
            return super().__call__(inputs, outputs)  # type: ignore[arg-type]

    measured = choice.gains(WorseWhenLarge(clock), FakeRun(clock, 1e-3), trial(), clock)
    assert measured == pytest.approx({1: 2.0, 8: 2.0, 32: 2.0})


def test_what_takes_too_long_is_measured_at_small_sizes_only() -> None:
    clock = Clock()
    measured = choice.gains(FakeRun(clock, 0.1), FakeRun(clock, 0.2), trial(), clock)
    assert measured == pytest.approx({1: 2.0})
    assert clock() < 5


def shifted(by: float) -> Answers:
    return lambda pixels: (scores_of(pixels) + np.float32(by)).astype(np.float32)


def nan(pixels: Array) -> Array:
    return np.full((len(pixels), 2), np.nan, np.float32)


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        (shifted(0.002), "differs from TensorFlow's by up to 0.002"),
        (nan, "differs from TensorFlow's by up to nan"),
        (lambda pixels: scores_of(pixels)[:, :1], "is float32 [4, 1] and should be float32 [4, 2]"),
        (lambda pixels: scores_of(pixels).astype(np.float64), "is float64 [4, 2] and should be float32 [4, 2]"),
    ],
)
def test_what_answers_something_else_does_not_serve_however_fast_it_is(answers: Answers, says: str) -> None:
    clock = Clock()
    other = FakeRun(clock, 1e-6, answers=answers)
    chosen = choose(FakeRun(clock), ("openvino", other))
    assert (chosen.by.runtime, chosen.opened, other.closed) == ("tensorflow", None, 1)
    assert f"openvino does not answer the same: its 'scores' {says}" in chosen.by.why


def test_a_difference_within_the_tolerance_is_one_of_rounding() -> None:
    clock = Clock()
    assert choose(FakeRun(clock), ("openvino", FakeRun(clock, 1e-4, answers=shifted(5e-4)))).by.runtime == "openvino"


def test_the_first_class_has_to_be_the_same_unless_two_are_as_good() -> None:
    near = np.array([[0.5002, 0.4998], [0.3, 0.7]], np.float32)
    other = np.array([[0.4998, 0.5002], [0.3, 0.7]], np.float32)
    tie = np.array([[0.500001, 0.499999], [0.3, 0.7]], np.float32)
    asked = trial(np.zeros((2, 2, 3, 3), np.uint8), recorded={})
    moved = choice.why_not(FakeRun(answers=lambda _: other), FakeRun(answers=lambda _: near), asked)
    assert moved == "it puts another class first for 1 of 2 images"
    assert choice.why_not(FakeRun(answers=lambda _: tie[:, ::-1].copy()), FakeRun(answers=lambda _: tie), asked) != ""
    assert choice.why_not(FakeRun(answers=lambda _: near), FakeRun(answers=lambda _: near), asked) == ""


def test_recorded_scores_must_hold_as_well() -> None:
    recorded = {"scores": trial().recorded["scores"] + np.float32(0.021)}
    why = choice.why_not(FakeRun(), FakeRun(), trial(recorded=recorded))
    assert why == "its 'scores' differs from those recorded by up to 0.021"


def test_a_model_that_draws_lots_stays_with_the_reference() -> None:
    generator = np.random.default_rng(0)
    reference = FakeRun(answers=lambda pixels: generator.random((len(pixels), 2), np.float32))
    other = FakeRun()
    chosen = choose(reference, ("openvino", other))
    assert chosen.by == RunBy(why="two runs gave different 'scores', so nothing can be compared")
    assert other.calls == []


def test_what_can_not_take_the_model_or_fails_is_told_and_the_next_is_tried() -> None:
    clock = Clock()

    def refuse() -> Opened:
        raise NotTaken("can't run it here: no such instruction")

    def fail(_: Array) -> Array:
        raise ModelFailed("it is broken")

    broken = FakeRun(clock, answers=fail)
    reference = FakeRun(clock)
    found = [Candidate("a", refuse), Candidate("b", broken.opened)]
    chosen = choice.choose(found, reference, trial(), clock)
    assert chosen.by.why == "a can't run it here: no such instruction; b failed: it is broken"
    assert broken.closed == 1
    good = Candidate("c", FakeRun(clock, 1e-4).opened)
    assert choice.choose([*found, good], reference, trial(), clock).by.runtime == "c"


def test_a_runtime_of_a_few_sizes_is_tried_at_those() -> None:
    clock = Clock()
    other = FakeRun(clock, 1e-4)
    chosen = choice.choose([Candidate("xla", lambda: other.opened((1, 8)))], FakeRun(clock), trial(), clock)
    assert chosen.by.runtime == "xla"
    assert set(other.calls) == {1, 8}


def test_what_serves_is_told_in_words() -> None:
    assert str(RunBy("openvino", 1.6)) == "openvino, 1.60 times as fast as TensorFlow"
    assert str(RunBy(why="it is random")) == "tensorflow (it is random)"
    assert str(RunBy()) == "tensorflow"
