"""Images that a model does not know get no score from any way of asking; other models are left alone."""

import time
from dataclasses import replace

import numpy as np
import pytest

from service.engine.rejecting import RejectingEngine
from service.interface import Answer, Call, ModelSpec
from tests.fakes import FakeEngine, classifier

BLACK_AND_GREY = np.stack([np.zeros((2, 3, 3), np.uint8), np.full((2, 3, 3), 102, np.uint8)])
CALL = Call(time.monotonic() + 60)


@pytest.mark.parametrize("wanted", [(), ("scores",), ("classes", "scores"), ("scores", "in_domain")])
def test_all_scores_of_a_stranger_are_0(wanted: tuple[str, ...]) -> None:
    servable = classifier(tells=True)
    with RejectingEngine(FakeEngine(servable)).lease(ModelSpec("fake")) as rejecting:
        answer = rejecting.predict({"image": BLACK_AND_GREY}, replace(CALL, outputs=wanted))
    np.testing.assert_allclose(answer.outputs["scores"], [[0, 0], [0.6, 0.4]], atol=1e-6)
    assert answer.outputs["scores"].dtype == np.float32
    assert set(answer.outputs) == set(wanted or ("classes", "scores", "in_domain"))


def test_scores_of_several_requests_are_rejected_one_by_one() -> None:
    with RejectingEngine(FakeEngine(classifier(tells=True))).lease(ModelSpec("fake")) as rejecting:
        call = replace(CALL, outputs=("scores",))
        outcomes = rejecting.score_all([BLACK_AND_GREY[:1], BLACK_AND_GREY[1:]], [call, call])
    scores = [each.outputs["scores"].max() for each in outcomes if isinstance(each, Answer)]
    assert scores == pytest.approx([0.0, 0.6])


def test_what_wants_no_scores_and_models_that_can_not_tell_are_asked_as_they_were() -> None:
    for servable, outputs in ((classifier(tells=True), ("classes",)), (classifier(), ("scores",))):
        with RejectingEngine(FakeEngine(servable)).lease(ModelSpec("fake")) as rejecting:
            answer = rejecting.predict({"image": BLACK_AND_GREY}, replace(CALL, outputs=outputs))
        assert servable.asked[0][1].outputs == outputs
        assert set(answer.outputs) == set(outputs)
    assert answer.outputs["scores"][0].tolist() == [1.0, 0.0]
