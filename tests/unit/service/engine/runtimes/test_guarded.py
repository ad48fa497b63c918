"""What happens while a runtime serves: whatever it is not for, or does oddly, the reference answers."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from service.engine.batching.batcher import Run
from service.engine.runtimes.guarded import Guarded
from service.errors import InvalidRequest, ModelFailed
from service.interface import Array, Signature
from tests.fakes import classifier_signature, signature, spec

FLOATS = signature([spec("x", "DT_FLOAT", -1, 2)], [spec("y", "DT_FLOAT", -1, 2)])
X = np.array([[1, 2], [3, 4]], np.float32)

Answers = Callable[[Array], Array]


class Counted:
    """A function of `x` that counts its calls."""

    def __init__(self, answers: Answers) -> None:
        self.calls = 0
        self._answers = answers

    def __call__(self, inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> Mapping[str, Array]:
        self.calls += 1
        return dict.fromkeys(outputs or ("y",), self._answers(inputs["x"]))


def fail(_: Array) -> Array:
    raise RuntimeError("it is broken")


def refuse(_: Array) -> Array:
    raise InvalidRequest("The model does not take this input.")


class Case:
    """A runtime before a reference that doubles what it is given."""

    def __init__(self, answers: Answers, reference: Answers = lambda x: x * 2, sizes: tuple[int, ...] = ()) -> None:
        self.run, self.reference = Counted(answers), Counted(reference)
        self.told: list[str] = []
        self.guarded = Guarded(self.run, self.reference, FLOATS, outputs=("y",), sizes=sizes, given_up=self.told.append)

    def ask(self, x: Array = X, outputs: tuple[str, ...] = ()) -> Array:
        return self.guarded({"x": x}, outputs)["y"]


def test_the_runtime_answers_alone() -> None:
    case = Case(lambda x: x * 2)
    np.testing.assert_array_equal(case.ask(), X * 2)
    np.testing.assert_array_equal(case.ask(outputs=("y",)), X * 2)
    assert (case.run.calls, case.reference.calls, case.told) == (2, 0, [])


def test_after_an_error_the_reference_answers_that_very_request_and_all_others() -> None:
    case = Case(fail)
    for _ in range(3):
        np.testing.assert_array_equal(case.ask(), X * 2)
    assert (case.run.calls, case.reference.calls, case.told) == (1, 3, ["it failed: it is broken"])


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_what_is_no_number_where_the_reference_gives_one_is_odd(odd: float) -> None:
    case = Case(lambda x: np.where(x > 3, np.float32(odd), x * 2))
    np.testing.assert_array_equal(case.ask(X[:1]), X[:1] * 2)
    np.testing.assert_array_equal(case.ask(), X * 2)
    assert case.told == ["it gave what is not a number"]


def test_what_is_no_number_for_the_reference_either_changes_nothing() -> None:
    infinite = np.array([[np.inf, 1]], np.float32)
    case = Case(lambda x: x * 2)
    np.testing.assert_array_equal(case.ask(infinite), infinite * 2)
    np.testing.assert_array_equal(case.ask(), X * 2)
    assert (case.run.calls, case.reference.calls, case.told) == (2, 1, [])


def test_what_the_reference_refuses_too_is_the_callers_fault() -> None:
    case = Case(fail, refuse)
    for _ in range(2):
        with pytest.raises(InvalidRequest):
            case.ask()
    assert (case.run.calls, case.told) == (2, [])


@pytest.mark.parametrize(
    "x", [np.ones((2, 3), np.float32), np.ones(2, np.float32), np.ones((0, 2), np.float32), np.ones((2, 2), np.float64)]
)
def test_other_shapes_and_types_than_the_declared_ones_are_the_references(x: Array) -> None:
    case = Case(fail)
    np.testing.assert_array_equal(case.ask(x), x * 2)
    assert (case.run.calls, case.told) == (0, [])


def test_sizes_that_a_runtime_does_not_take_are_the_references() -> None:
    case = Case(lambda x: x * 2, sizes=(2, 4))
    for rows in (1, 2, 3, 4):
        case.ask(np.ones((rows, 2), np.float32))
    assert (case.run.calls, case.reference.calls) == (2, 2)


def classifier(run: Run, reference: Run, about: Signature) -> Guarded:
    return Guarded(run, reference, about, outputs=about.image_outputs, given_up=lambda _: None)


def test_only_what_wants_the_runtimes_outputs_runs_there() -> None:
    ran: list[tuple[str, ...]] = []

    def run(_: Mapping[str, Array], outputs: tuple[str, ...]) -> Mapping[str, Array]:
        ran.append(outputs)
        return {"scores": np.zeros((1, 2), np.float32)}

    def reference(_inputs: Mapping[str, Array], _outputs: tuple[str, ...]) -> Mapping[str, Array]:
        raise ModelFailed("here")

    guarded = classifier(run, reference, classifier_signature(tells=True))
    image = {"image": np.zeros((1, 2, 3, 3), np.uint8)}
    guarded(image, ("scores",))
    guarded(image, ("scores", "in_domain"))
    for outputs in ((), ("classes",), ("classes", "scores")):
        with pytest.raises(ModelFailed, match="here"):
            guarded(image, outputs)
    assert ran == [("scores",), ("scores", "in_domain")]
