"""An image classifier's outputs: the scores are run, the names are known, anything more is asked for."""

import time

import numpy as np
import pytest

from service.engine.classifier import check_scores, classify, read_classes
from service.errors import ModelFailed
from service.interface import Answer, Call, TensorSpec
from tests.fakes import signature, spec

SCORES = np.array([[0.25, 0.75], [1.0, 0.0]], dtype=np.float32)
NAMES = np.array([[b"cat", b"dog"]] * 2, dtype=np.object_)
SIGNATURE = signature(
    [spec("image", "DT_UINT8", -1, 2, 2, 1)],
    [spec("classes", "DT_STRING", -1, 2), spec("scores", "DT_FLOAT", -1, 2), spec("embedding", "DT_FLOAT", -1, 3)],
)


@pytest.mark.parametrize(
    ("wanted", "run"),
    [
        (("scores",), ("scores",)),
        (("classes",), ("scores",)),
        (("scores", "classes"), ("scores",)),
        ((), ()),  # all, and there is one more than the names and scores
        (("embedding",), ("embedding",)),
    ],
)
def test_only_what_must_be_run_is_run(wanted: tuple[str, ...], run: tuple[str, ...]) -> None:
    asked: list[tuple[str, ...]] = []

    def model(call: Call) -> Answer:
        asked.append(call.outputs)
        everything = {"classes": NAMES, "scores": SCORES, "embedding": np.zeros((2, 3), dtype=np.float32)}
        return Answer({name: everything[name] for name in call.outputs or everything}, 0.1, 0.2, 5)

    answer = classify(model, Call(time.monotonic() + 1, outputs=wanted), SIGNATURE, ("cat", "dog"), 2)
    assert asked == [run]
    assert set(answer.outputs) == set(wanted or SIGNATURE.outputs)
    assert answer.batch_rows == 5
    if "classes" in answer.outputs:
        assert answer.outputs["classes"].tolist() == NAMES.tolist()


TELLING = signature(
    [spec("image", "DT_UINT8", -1, 2, 2, 1)],
    [spec("classes", "DT_STRING", -1, 2), spec("scores", "DT_FLOAT", -1, 2), spec("in_domain", "DT_FLOAT", -1)],
)


@pytest.mark.parametrize("wanted", [(), ("scores",), ("in_domain",), ("classes", "in_domain")])
def test_what_tells_strangers_runs_with_the_scores(wanted: tuple[str, ...]) -> None:
    """One set of outputs for all requests, so that they can share a batch."""
    asked: list[tuple[str, ...]] = []
    known = np.array([0.9, 0.1], dtype=np.float32)

    def model(call: Call) -> Answer:
        asked.append(call.outputs)
        return Answer({"scores": SCORES, "in_domain": known})

    answer = classify(model, Call(time.monotonic() + 1, outputs=wanted), TELLING, ("cat", "dog"), 2)
    assert asked == [("scores", "in_domain")]
    assert set(answer.outputs) == set(wanted or TELLING.outputs)


@pytest.mark.parametrize("told", [spec("in_domain", "DT_FLOAT", -1, 2), spec("in_domain", "DT_DOUBLE", -1)])
def test_an_output_that_is_merely_called_so_is_one_of_the_models_own(told: TensorSpec) -> None:
    outputs = [TELLING.outputs[name] for name in ("classes", "scores")]
    other = signature([*TELLING.inputs.values()], [*outputs, told])
    assert other.image_outputs == ("scores",)
    assert TELLING.image_outputs == ("scores", "in_domain")
    assert not signature([spec("x", "DT_FLOAT", -1)], [spec("in_domain", "DT_FLOAT", -1)]).tells_strangers


def test_the_names_are_read() -> None:
    assert read_classes({"classes": NAMES, "scores": SCORES}) == ("cat", "dog")


def test_names_that_are_not_utf_8_stay_apart() -> None:
    names = np.array([[b"caf\xe9", b"caf\xe8"]], dtype=np.object_)
    assert read_classes({"classes": names, "scores": SCORES[:1]}) == (r"caf\xe9", r"caf\xe8")


@pytest.mark.parametrize(
    ("classes", "says"),
    [
        (NAMES[0], r"'classes' has the shape \[2\]"),
        (NAMES[:1], "must be"),
        (np.array([[b"cat", b"cat"]] * 2, dtype=np.object_), "not unique"),
    ],
)
def test_names_of_another_form_are_refused(classes: np.ndarray, says: str) -> None:
    with pytest.raises(ModelFailed, match=says):
        read_classes({"classes": classes, "scores": SCORES})


def test_another_number_of_rows_than_images_is_the_models_failure() -> None:
    answer = Answer({"scores": SCORES})
    assert check_scores(answer, 2) is answer
    assert isinstance(check_scores(answer, 3), ModelFailed)
    failed = ModelFailed("as it was")
    assert check_scores(failed, 2) is failed
    with pytest.raises(ModelFailed, match="returned 2 rows of scores for 5 images"):
        classify(lambda _: answer, Call(time.monotonic() + 1, outputs=("scores",)), SIGNATURE, ("cat", "dog"), 5)
