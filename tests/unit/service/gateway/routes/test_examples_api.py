"""`:classify` and `:regress` over HTTP, before an engine without TensorFlow."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from service import protocol
from service.config.settings import Settings
from service.gateway import create_app
from service.gateway.routes.metrics import Metrics
from service.interface import Array, Call
from service.security import access
from tests.fakes import FakeEngine, FakeServable, signature, spec

STRINGS = spec("inputs", "DT_STRING", -1)
SIGNATURES = {
    "serving_default": signature([STRINGS], [spec("outputs", "DT_FLOAT", -1)]),
    "classify": signature([STRINGS], [spec("classes", "DT_STRING", -1, 2), spec("scores", "DT_FLOAT", -1, 2)]),
}


def run(inputs: Mapping[str, Array], call: Call) -> Mapping[str, Array]:
    """The first float of `x`, or 0.2."""
    features = [protocol.example_pb2.Example.FromString(each).features.feature for each in inputs["inputs"]]
    x = np.array([f["x"].float_list.value[0] if "x" in f else 0.2 for f in features], np.float32)
    outputs: dict[str, Array] = {
        "outputs": x,
        "classes": np.array([[b"a", b"\xff"]] * len(x), np.object_),
        "scores": np.stack([x, -x], axis=1),
    }
    return {name: outputs[name] for name in call.outputs}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(FakeEngine())


@pytest.fixture
def client(settings: Settings, metrics: Metrics) -> FlaskClient:
    engine = FakeEngine(FakeServable(run, SIGNATURES, "M", 7), labels={"Stable": 7})
    return create_app(settings, engine, metrics, admits=access.read(settings).access()).test_client()


@pytest.mark.parametrize("at", ["", "/versions/7", "/labels/Stable"])
def test_a_regression_is_a_list_of_numbers(client: FlaskClient, at: str) -> None:
    answer = client.post(f"/v1/models/M{at}:regress", json={"examples": [{"x": 1.5}, {}]})
    assert answer.get_json() == {"results": [1.5, 0.2]}
    assert answer.headers["X-Model-Version"] == "7"


def test_a_classification_is_a_list_of_pairs_for_each_example(client: FlaskClient) -> None:
    document = {"signature_name": "classify", "examples": [{"x": 1.0}, {}]}
    answer = client.post("/v1/models/M:classify", json=document)
    lost = {"b64": "/w=="}  # a label that is not UTF-8
    assert answer.get_json() == {"results": [[["a", 1.0], [lost, -1.0]], [["a", 0.2], [lost, -0.2]]]}


def test_the_context_counts_where_an_example_says_nothing(client: FlaskClient) -> None:
    document = {"context": {"x": [3.0]}, "examples": [{}, {"x": 4.0}]}
    assert client.post("/v1/models/M:regress", json=document).get_json() == {"results": [3.0, 4.0]}


def test_what_is_no_number_is_written_as_javascript_does(client: FlaskClient) -> None:
    body = b'{"examples": [{"x": NaN}, {"x": -Infinity}]}'
    assert client.post("/v1/models/M:regress", data=body).get_data() == b'{"results":[NaN,-Infinity]}\n'


def test_paths_are_taken_in_any_case(client: FlaskClient) -> None:
    assert client.post("/V1/Models/M/Labels/Stable:Regress", json={"examples": [{}]}).status_code == 200
    assert client.post("/v1/models/m:regress", json={"examples": [{}]}).status_code == 404


@pytest.mark.parametrize(
    ("path", "document", "status", "says"),
    [
        ("M:regress", {"examples": []}, 400, '"examples"'),
        ("M:regress", [], 400, "must be a JSON object"),
        ("M:regress", {"examples": [{}], "signature_name": 3}, 400, '"signature_name"'),
        ("M:regress", {"examples": [{}], "signature_name": "x"}, 400, "No signature was found with the name: x"),
        ("M:regress", {"examples": [{}], "signature_name": "classify"}, 400, "Expected one output Tensor"),
        ("M:classify", {"examples": [{}]}, 400, "at least one of"),
        ("N:classify", {"examples": [{}]}, 404, "Servable not found"),
        ("M/versions/8:classify", {"examples": [{}]}, 404, "Servable not found"),
    ],
)
def test_what_can_not_be_asked_is_told(client: FlaskClient, path: str, document: Any, status: int, says: str) -> None:
    answer = client.post(f"/v1/models/{path}", json=document)
    assert answer.status_code == status
    assert says in answer.get_json()["error"]


def test_requests_are_counted_under_tf_servings_names(client: FlaskClient, metrics: Metrics) -> None:
    client.post("/v1/models/M:regress", json={"examples": [{}, {}]})
    client.post("/v1/models/M:classify", json={"examples": [{}]})
    client.post("/v1/models/N:classify", json={"examples": [{}]})
    page = metrics.serving.text()
    assert ':tensorflow:serving:request_count{model_name="M",status="OK"} 1' in page
    assert ':tensorflow:serving:request_count{model_name="M",status="INVALID_ARGUMENT"} 1' in page
    assert ':tensorflow:serving:request_latency_count{model_name="M",API="regress",entrypoint="REST"} 1' in page
    assert ':tensorflow:serving:runtime_latency_count{model_name="M",API="Regress",runtime="TF1"} 1' in page
    assert ':tensorflow:serving:request_example_count_total{model="M"} 2' in page
    assert '"N"' not in page
