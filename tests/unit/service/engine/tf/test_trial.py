"""What a version goes through before it serves, without TensorFlow."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service import protocol
from service.engine.tf import trial
from service.errors import InvalidRequest, LoadFailed
from service.interface import Array, ImageSize
from tests.fakes import signature, spec

STRINGS = spec("inputs", "DT_STRING", -1)
SIGNATURES = {
    "serving_default": signature([spec("x", "DT_FLOAT", -1)], [spec("y", "DT_FLOAT", -1)]),
    "classify": signature([STRINGS], [spec("scores", "DT_FLOAT", -1, 2)]),
    "regress": signature([STRINGS], [spec("outputs", "DT_FLOAT", -1)]),
}
Asked = tuple[str, list[str], tuple[str, ...]]


class Runs(dict[str, Any]):
    """Functions of signatures that note what they are asked."""

    def __init__(self) -> None:
        super().__init__({name: self._run(name) for name in SIGNATURES})
        self.asked: list[Asked] = []

    def _run(self, name: str) -> Any:
        def run(inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> Mapping[str, Array]:
            self.asked.append((name, sorted(inputs), outputs))
            return {}

        return run


def a_log() -> Any:
    return protocol.prediction_log_pb2.PredictionLog()


def predict_log(name: str = "") -> Any:
    log = a_log()
    log.predict_log.request.model_spec.signature_name = name
    log.predict_log.request.inputs["x"].CopyFrom(protocol.to_tensor_proto(np.zeros(1, np.float32)))
    return log


def examples_log(kind: str, name: str) -> Any:
    log = a_log()
    request = getattr(log, kind).request
    request.model_spec.signature_name = name
    request.input.example_list.examples.add()
    return log


def multi_log(*tasks: tuple[str, str]) -> Any:
    log = a_log()
    request = log.multi_inference_log.request
    request.input.example_list.examples.add()
    for method, name in tasks:
        request.tasks.add(method_name=f"tensorflow/serving/{method}").model_spec.signature_name = name
    return log


def replay(*logs: Any, times: int = 1) -> list[Asked]:
    runs = Runs()
    trial.replay([log.SerializeToString() for log in logs], Path("file"), SIGNATURES, runs, times)
    return runs.asked


def test_requests_of_every_kind_are_replayed() -> None:
    asked = replay(
        predict_log(),
        examples_log("classify_log", "classify"),
        examples_log("regress_log", "regress"),
        multi_log(("classify", "classify"), ("regress", "regress")),
    )
    classified, regressed = ("classify", ["inputs"], ("scores",)), ("regress", ["inputs"], ("outputs",))
    assert asked == [("serving_default", ["x"], ()), classified, regressed, classified, regressed]


def test_each_runs_as_often_as_is_wanted() -> None:
    assert len(replay(predict_log(), predict_log(), times=3)) == 6


@pytest.mark.parametrize(
    ("log", "says"),
    [
        (predict_log("other"), "file asks for the signature 'other'"),
        (examples_log("classify_log", "other"), "asks for the signature 'other'"),
        (examples_log("classify_log", "regress"), "at least one of"),
        (multi_log(("predict", "regress")), "Unsupported signature method_name"),
        (a_log(), "file contains a None"),
    ],
)
def test_what_the_version_does_not_have_is_told(log: Any, says: str) -> None:
    with pytest.raises((LoadFailed, InvalidRequest), match=says):
        replay(log)


def test_a_session_run_is_not_replayed() -> None:
    log = a_log()
    log.session_run_log.SetInParent()
    with pytest.raises(LoadFailed, match="file contains a session_run_log"):
        replay(log)


def test_a_record_that_is_no_log_and_too_many_are_told() -> None:
    with pytest.raises(LoadFailed, match="record 0 is not a PredictionLog"):
        trial.replay([b"\xff"], Path("file"), SIGNATURES, Runs(), 1)
    with pytest.raises(LoadFailed, match="more than 1000 requests"):
        replay(*[predict_log()] * 1001)


def test_every_batch_size_is_warmed() -> None:
    sizes: list[int] = []

    def run(inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> Mapping[str, Array]:
        assert outputs == ("scores",)
        assert inputs["image"].shape[1:] == (2, 3, 3)
        sizes.append(len(inputs["image"]))
        return {"scores": np.zeros((min(4, len(inputs["image"])), 3))}

    trial.warm_up([run], ImageSize(2, 3, 3), (1, 2, 4))
    assert sizes == [1, 2, 4]
    with pytest.raises(
        LoadFailed, match="one row of scores for each image, but its output 'scores' has 4 rows for 5 rows"
    ):
        trial.warm_up([run], ImageSize(2, 3, 3), (1, 5))
