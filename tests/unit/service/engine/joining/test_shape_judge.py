"""Shapes that no signature declares, judged by TensorFlow's inference without running anything."""

from pathlib import Path
from typing import Any

import pytest

from service.engine.joining import shape_judge
from service.engine.joining.shape_judge import ShapeJudge
from service.engine.tf import definition

pytestmark = pytest.mark.slow  # TensorFlow


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> definition.Definition:
    from tests.unit.service.engine.tf import saved_models as make

    module = make.tf.Module()
    module.weights = make.tf.Variable(make.tf.ones((3, 500)))
    large = make.tf.ones((500, 2))
    numbers = make.spec("x", None, 3)

    @make.tf.function(input_signature=[numbers, make.spec("unread", None), make.spec("through", None)])
    def multiply(x: Any, unread: Any, through: Any) -> dict[str, Any]:  # noqa: ARG001 - so is its name
        return {"y": make.tf.matmul(make.tf.matmul(x, module.weights), large), "through": through}

    @make.tf.function(input_signature=[make.spec("word", None, dtype=make.tf.string)])
    def lengths(word: Any) -> dict[str, Any]:
        return {"length": make.tf.strings.length(word)}

    folder = tmp_path_factory.mktemp("judged")
    make.save(module, folder, serving_default=multiply, lengths=lengths)
    return definition.read(folder, ["serve"])


def judge(found: definition.Definition, name: str = "serving_default") -> ShapeJudge:
    import tensorflow as tf

    return ShapeJudge(tf, found.outlines[name], found.signatures[name])


def test_what_the_graph_takes_is_taken_and_what_it_refuses_is_told(found: definition.Definition) -> None:
    multiply = judge(found)
    rest = {"unread": (7, 7), "through": ()}
    assert multiply.why_not({"x": (0, 3), **rest}) == ""
    assert multiply.why_not({"x": (5, 3), **rest}) == ""
    assert multiply.why_not({"x": (5, 4), **rest}) == "Dimensions must be equal, but are 4 and 3"
    assert multiply.why_not({"x": (5,), **rest}) == "Shape must be rank 2 but is rank 1"
    assert judge(found, "lengths").why_not({"word": (2, 0, 1)}) == ""


def test_weights_are_left_out(found: definition.Definition) -> None:
    assert sum(outline.ByteSize() for outline in found.outlines.values()) < 10_000


def test_a_judgement_is_remembered_and_the_memory_is_bounded(
    found: definition.Definition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shape_judge, "_REMEMBERED", 2)
    multiply = judge(found)
    inferred: list[Any] = []
    infer = multiply._infer
    monkeypatch.setattr(multiply, "_infer", lambda shapes: inferred.append(shapes) or infer(shapes))
    for x in ((1, 3), (1, 3), (2, 3), (1, 3), (3, 3), (1, 3), (2, 3)):
        multiply.why_not({"x": x, "unread": (7,), "through": ()})
    assert [each[-1] for each in inferred] == [(1, 3), (2, 3), (3, 3), (2, 3)]


def test_a_classifiers_shapes_need_no_judgement(tmp_path: Path) -> None:
    from tests.unit.service.engine.tf import saved_models as make

    assert definition.read(make.classifier(tmp_path / "classifier"), ["serve"]).outlines == {}
