"""Which requests a gateway joins in a call to an engine elsewhere: those of which the engine says that it may."""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from service import errors, signature_messages
from service.engine.batching.parameters import BatchingParameters
from service.engine.remote.engine import RemoteEngine
from service.interface import DEFAULT_SIGNATURE, Array, Call, ModelSpec, RunBy
from service.rpc import prediction
from tests.fakes import FakeEngine, FakeServable, classifier, signature, spec
from tests.unit.service.engine.remote.test_engine import Peers, ask, peers, soon  # noqa: F401 - a fixture
from tests.unit.service.engine.versions import until


def repeater(**unjoined: str) -> FakeServable:
    """Repeats each number as often as it says; the first call is held until `may_run`."""
    may_run = threading.Event()

    def run(inputs: Mapping[str, Array], _call: Call) -> Mapping[str, Array]:
        assert may_run.wait(20)
        return {"y": np.repeat(inputs["x"], inputs["x"].astype(int))}

    signatures = {DEFAULT_SIGNATURE: signature([spec("x", "DT_FLOAT", -1)], [spec("y", "DT_FLOAT", -1)])}
    made = FakeServable(run, signatures, "echo", 1)
    made.unjoined = unjoined
    made.may_run = may_run  # type: ignore[attr-defined]
    return made


def ask_at_once(engine: RemoteEngine, servable: FakeServable, *numbers: float) -> list[list[float]]:
    with ThreadPoolExecutor(len(numbers)) as pool:
        asking = [pool.submit(ask, engine, number) for number in numbers]
        until(lambda: len(servable.asked) >= 2)
        servable.may_run.set()  # type: ignore[attr-defined]
        return [each.result(20) for each in asking]


def sizes(servable: FakeServable) -> list[int]:
    return [len(inputs["x"]) for inputs, _ in servable.asked]


def test_what_the_engine_does_not_join_is_sent_request_by_request(peers: Peers) -> None:  # noqa: F811 - the fixture
    servable = repeater(serving_default="its rows are not its own")
    engine, _ = peers.over(servable)
    numbers = [float(number % 4) for number in range(16)]
    assert ask_at_once(engine, servable, *numbers) == [[number] * int(number) for number in numbers]
    assert sizes(servable) == [1] * 16
    with engine.lease(ModelSpec("echo")) as lent:
        assert lent.unjoined == {"serving_default": "its rows are not its own"}


def test_what_it_joins_no_more_is_sent_request_by_request_from_then_on(peers: Peers) -> None:  # noqa: F811
    """It has found that rows depend on each other after the gateway asked what it joins."""
    servable = repeater()
    engine, _ = peers.over(servable)
    with engine.lease(ModelSpec("echo")) as lent:
        assert lent.unjoined == {}
        servable.unjoined = {"serving_default": "its rows are not its own"}
        numbers = [float(number % 4) for number in range(16)]
        assert ask_at_once(engine, servable, *numbers) == [[number] * int(number) for number in numbers]
        assert sizes(servable) == [1] * 16  # the calls with several were refused before they ran
        assert "its rows are not its own" in lent.unjoined["serving_default"]


def test_an_answer_with_other_rows_is_never_cut(peers: Peers) -> None:  # noqa: F811
    """The engine itself does not know yet: what it gives for several requests can't be shared out."""
    servable = repeater()
    engine, _ = peers.over(servable)
    numbers = [3.0, *[float(number % 3) for number in range(15)]]
    assert ask_at_once(engine, servable, *numbers) == [[number] * int(number) for number in numbers]
    with engine.lease(ModelSpec("echo")) as lent:
        assert "rows of input" in lent.unjoined["serving_default"]


def test_rows_of_several_requests_are_marked_and_those_of_one_are_not(peers: Peers) -> None:  # noqa: F811
    servable = repeater()
    engine, _ = peers.over(servable)
    ask_at_once(engine, servable, *[1.0] * 16)
    assert {(len(inputs["x"]) > 1, call.joined) for inputs, call in servable.asked} == {(False, False), (True, True)}


@pytest.mark.parametrize(
    ("parameters", "joined"),
    [
        (BatchingParameters(), {"a"}),
        (BatchingParameters(row_test=False), {"a", "echo"}),
        (None, set()),
    ],
    ids=["auto", "true", "false"],
)
def test_before_a_tensorflow_model_server_only_image_classifiers_are_joined(
    peers: Peers,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    parameters: BatchingParameters | None,
    joined: set[str],
) -> None:
    """It has no such metadata, and says so."""
    answer = prediction.PredictionService.GetModelMetadata

    def as_the_original(self: Any, request: Any, context: Any) -> Any:
        if signature_messages.JOINING_FIELD in request.metadata_field:
            with prediction.exchange(self._watch, context, "", request, request):
                raise errors.InvalidRequest("Metadata field signpost_joining is not supported")
        return answer(self, request, context)

    monkeypatch.setattr(prediction.PredictionService, "GetModelMetadata", as_the_original)
    servable = repeater()
    servable.may_run.set()  # type: ignore[attr-defined]
    engine = peers.engine(peers.serve(FakeEngine(classifier("a"), servable)), parameters=parameters)
    until(lambda: engine.status().ready)
    found = set()
    for name in ("a", "echo"):
        with engine.lease(ModelSpec(name)) as lent:
            found |= {name} - ({name} if DEFAULT_SIGNATURE in lent.unjoined else set())
    assert found == joined
    assert ask(engine, 2.0) == [2, 2]
    with engine.lease(ModelSpec("a")) as lent:
        answered = lent.predict({"image": np.full((1, 2, 3, 3), 255, np.uint8)}, Call(soon()))
    assert answered.outputs["scores"].tolist() == [[0, 1]]


def test_what_runs_a_version_there_is_told_here(peers: Peers) -> None:  # noqa: F811
    servable = repeater()
    servable.run_by = RunBy("openvino", 1.5)
    engine, _ = peers.over(servable)
    with engine.lease(ModelSpec("echo")) as lent:
        assert lent.run_by == RunBy("openvino", 1.5)
