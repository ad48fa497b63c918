"""The protocol over HTTP: bodies of JSON and bytes, what there is, models loaded and unloaded."""

import gzip
import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from service.config.settings import Settings
from service.errors import NotFound
from service.gateway import create_app
from service.gateway.routes.metrics import Metrics
from service.interface import Array, Call, State, VersionStatus
from service.oip.tensors import to_bytes
from service.security import access, keys
from tests.fakes import FakeEngine, FakeRepository, FakeServable, classifier, signature, spec
from tests.unit.service.gateway.pictures import BLACK, WHITE

LETTERS = "/v2/models/letters/infer"
DOUBLE = "/v2/models/double/infer"
LENGTH = "Inference-Header-Content-Length"


def double() -> FakeServable:
    def run(inputs: Mapping[str, Array], call: Call) -> Mapping[str, Array]:
        outputs: dict[str, Array] = {
            "y": inputs["x"] * 2,
            "text": np.array([b"t\xff"] * len(inputs["x"]), np.object_),
        }
        return {name: outputs[name] for name in call.outputs or outputs}

    outputs = [spec("y", "DT_FLOAT", -1, 2), spec("text", "DT_STRING", -1)]
    return FakeServable(run, {"serving_default": signature([spec("x", "DT_FLOAT", -1, 2)], outputs)}, "double")


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(classifier("letters", 1, ("A", "B", "C")), double(), labels={"stable": 1})


@pytest.fixture
def repository() -> FakeRepository:
    return FakeRepository()


@pytest.fixture
def client(engine: FakeEngine, settings: Settings, repository: FakeRepository) -> FlaskClient:
    return create_app(
        settings, engine, Metrics(engine), admits=access.read(settings).access(), repository=repository
    ).test_client()


def x(*values: float, **changed: Any) -> dict[str, Any]:
    return {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": values or (1, 2), **changed}


def ask(client: FlaskClient, *inputs: dict[str, Any], **more: Any) -> Any:
    return client.post(DOUBLE, json={"inputs": inputs or [x()], "outputs": [{"name": "y"}], **more})


@pytest.mark.parametrize(
    "kind", [None, "application/octet-stream", "text/html", "image/png", "multipart/form-data; boundary=b"]
)
def test_the_content_type_says_nothing(client: FlaskClient, kind: str | None) -> None:
    body = json.dumps({"inputs": [x()], "outputs": [{"name": "y"}]})
    answer = client.post(DOUBLE, data=body, content_type=kind)
    assert answer.json == {
        "model_name": "double",
        "model_version": "1",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [2.0, 4.0]}],
    }
    assert answer.headers["X-Model-Version"] == "1"
    assert {"decode", "queue", "infer", "encode", "total"} <= {
        part.partition(";")[0] for part in answer.headers["Server-Timing"].split(", ")
    }


def test_an_id_comes_back_where_one_was_sent(client: FlaskClient) -> None:
    assert ask(client, id="7").json["id"] == "7"
    assert "id" not in ask(client).json
    assert ask(client, id=7).status_code == 400
    assert client.post(DOUBLE, data=b'{"id": "\\ud800", "inputs": []}').status_code == 400


def test_numbers_have_no_more_digits_than_they_need(client: FlaskClient) -> None:
    assert '"data":[0.2,2e+38]' in ask(client, x(0.1, 1e38)).text
    assert '"data":[0.2,NaN]' in client.post(DOUBLE, data=json.dumps({"inputs": [x(0.1, float("nan"))],
        "outputs": [{"name": "y"}]})).text  # fmt: skip
    assert (
        '"data":[Infinity,-Infinity]'
        in client.post(
            DOUBLE, data=json.dumps({"inputs": [x(float("inf"), float("-inf"))], "outputs": [{"name": "y"}]})
        ).text
    )


def test_bytes_and_json_may_be_mixed(client: FlaskClient) -> None:
    data = np.float32([1, 2]).tobytes()
    given = x(parameters={"binary_data_size": 8})
    del given["data"]
    wanted = [{"name": "y"}, {"name": "text", "parameters": {"binary_data": True}}]
    head = json.dumps({"inputs": [given], "outputs": wanted}).encode()
    answer = client.post(DOUBLE, data=head + data, headers={LENGTH: str(len(head))})
    length = int(answer.headers[LENGTH])
    numbers, text = json.loads(answer.data[:length])["outputs"]
    assert numbers["data"] == [2.0, 4.0]
    assert (text["datatype"], text["parameters"]) == ("BYTES", {"binary_data_size": 6})
    assert answer.data[length:] == b"\2\0\0\0t\xff"
    # The only input may leave its size away.
    del given["parameters"]
    head = json.dumps({"inputs": [given], "outputs": [{"name": "y"}]}).encode()
    answer = client.post(DOUBLE, data=head + data, headers={LENGTH: str(len(head))})
    assert answer.json["outputs"][0]["data"] == [2.0, 4.0]
    # The model's own outputs, as bytes.
    head = json.dumps({"inputs": [x()], "parameters": {"binary_data_output": True}}).encode()
    answer = client.post(DOUBLE, data=head)
    assert answer.data[int(answer.headers[LENGTH]) :] == np.float32([2, 4]).tobytes() + b"\2\0\0\0t\xff"


def test_bytes_that_are_no_text_are_not_for_json(client: FlaskClient) -> None:
    answer = client.post(DOUBLE, json={"inputs": [x()]})
    assert answer.status_code == 400
    assert "binary_data: true" in answer.json["error"]


def test_a_body_without_json(client: FlaskClient) -> None:
    answer = client.post(LETTERS, data=WHITE, headers={LENGTH: "0"})
    assert answer.data[int(answer.headers[LENGTH]) :] == np.float32([0, 0, 1]).tobytes()
    answer = client.post(LETTERS, data=WHITE, headers={LENGTH: "0", "Accept": "application/json"})
    assert answer.json["outputs"][0]["data"] == [0.0, 0.0, 1.0]
    assert client.post(LETTERS, data=b"x", headers={LENGTH: "0"}).status_code == 400
    assert client.post(DOUBLE, data=b"x" * 9, headers={LENGTH: "0"}).status_code == 400


def test_images_in_every_form(client: FlaskClient) -> None:
    elements = to_bytes(np.array([WHITE, BLACK], np.object_))
    entry = {"name": "image", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": len(elements)}}
    head = json.dumps({"inputs": [entry], "outputs": [{"name": "scores", "parameters": {"classification": 1}}]})
    answer = client.post(LETTERS, data=head.encode() + elements, headers={LENGTH: str(len(head))})
    assert answer.json["outputs"] == [
        {"name": "scores", "datatype": "BYTES", "shape": [2, 1], "data": ["1.000000:2:C", "1.000000:0:A"]}
    ]
    text = client.get("/metrics").text
    assert 'signpost_images_total{model="letters",version="1"} 2.0' in text
    assert 'route="/v2/models/<name:name>/infer",status="200",version="1"} 1.0' in text


@pytest.mark.parametrize(
    "headers",
    [{LENGTH: "-1"}, {LENGTH: "x"}, {LENGTH: "99999999999999999999999"}, {LENGTH: "²"}, {LENGTH: "1e1"}, {LENGTH: ""}],
)
def test_a_length_that_is_none_is_refused(client: FlaskClient, headers: dict[str, str]) -> None:
    answer = client.post(DOUBLE, data=json.dumps({"inputs": [x()]}), headers=headers)
    assert answer.status_code == 400
    assert LENGTH in answer.json["error"]


@pytest.mark.parametrize(
    "document",
    [
        "[]", "1", '"a"', "null", "", "{", "\xff", '{"inputs": 1}', '{"inputs": [1]}', '{"inputs": {}}',
        '{"inputs": [{}]}', '{"inputs": [{"name": 1}]}', '{"inputs": [{"name": "x"}]}',
        '{"inputs": [], "parameters": 1}', '{"inputs": [], "outputs": 1}', '{"inputs": [], "outputs": [{}]}',
        '{"inputs": [], "outputs": [1]}', '{"inputs": [], "parameters": {"binary_data_output": 1}}',
        '{"inputs": [], "parameters": {"signature_name": 1}}', '{"inputs": [], "parameters": {"timeout": -1}}',
        '{"inputs": [], "parameters": {"sequence_start": true}}',
        '{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2], "parameters": 1}]}',
        '{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2]}]}',
        '{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}]}',
        '{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1],'
        ' "parameters": {"binary_data_size": 4}}]}',
        '{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": -8}}]}',
    ],
)  # fmt: skip
def test_malformed_json_is_the_client_s_error(client: FlaskClient, document: str) -> None:
    answer = client.post(DOUBLE, data=document.encode("latin-1"))
    assert answer.status_code == 400
    assert answer.json.keys() == {"error"}


@pytest.mark.parametrize(("encoding", "unpack"), [("gzip", gzip.decompress), ("deflate", zlib.decompress)])
def test_answers_are_compressed_where_exactly_that_is_asked_for(
    client: FlaskClient, encoding: str, unpack: Any
) -> None:
    body = json.dumps({"inputs": [x()], "outputs": [{"name": "y"}]})
    plain = client.post(DOUBLE, data=body)
    packed = client.post(DOUBLE, data=body, headers={"Accept-Encoding": encoding})
    assert packed.headers["Content-Encoding"] == encoding
    assert unpack(packed.data) == plain.data
    for accepted in ("gzip, deflate", "br", "gzip;q=1.0"):
        assert "Content-Encoding" not in client.post(DOUBLE, data=body, headers={"Accept-Encoding": accepted}).headers


def test_what_there_is(client: FlaskClient, engine: FakeEngine) -> None:
    assert client.get("/v2").json["name"] == "signpost"
    assert client.get("/v2/health/live").json == {"live": True}
    assert client.get("/v2/health/ready").json == {"ready": True}
    assert client.get("/v2/models").json == {"models": ["letters", "double"]}
    assert client.get("/v2/models/letters/versions/stable").json["versions"] == ["1"]
    assert client.get("/v2/models/letters/ready?test=1").json == {"name": "letters", "ready": True}
    assert client.get("/v2/models/double/config").json["input"][0]["dims"] == [2]
    index = client.post("/v2/repository/index").json
    assert [(each["name"], each["state"]) for each in index] == [
        ("letters", "READY"), ("double", "READY"), ("asleep", "UNAVAILABLE"),
    ]  # fmt: skip
    assert len(client.post("/v2/repository/index", json={"ready": True}).json) == 2
    engine.states = {"letters": (VersionStatus(1, State.LOADING),)}
    engine.fault = NotFound("not yet")
    assert client.get("/v2/health/ready").json.keys() == {"ready", "error"}
    assert client.get("/v2/health/ready").status_code == client.get("/v2/models/letters/versions/1/ready").status_code
    assert client.get("/v2/models/letters/versions/1/ready").status_code == 503


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/nosuch", 404),
        ("GET", "/v2/models/nosuch/ready", 404),
        ("GET", "/v2/models/nosuch/config", 404),
        ("GET", "/v2/models/nosuch/stats", 404),
        ("GET", "/v2/models/letters/versions/9/stats", 404),
        ("GET", "/v2/models/letters/versions/99999999999999999999999/ready", 404),
        ("GET", "/v2/", 404),
        ("GET", "/v2/models/letters/", 404),
        ("POST", "/v2/models/letters/generate", 501),
        ("POST", "/v2/models/letters/versions/1/generate_stream", 501),
        ("POST", "/v2/models/letters/infer_stream", 501),
        ("GET", "/v2/systemsharedmemory/status", 501),
        ("POST", "/v2/cudasharedmemory/region/x/register", 501),
        ("GET", "/v2/trace/setting", 501),
        ("GET", "/v2/models/letters/trace/setting", 501),
        ("POST", "/v2/logging", 501),
        ("POST", "/v2/repository/index", 400),
        ("DELETE", "/v2/models/letters", 405),
    ],
)
def test_errors(client: FlaskClient, method: str, path: str, status: int) -> None:
    answer = client.open(path, method=method, data=b"[" if status == 400 else b"")
    assert answer.status_code == status
    assert answer.json.keys() == {"error"}
    assert answer.mimetype == "application/json"


def test_statistics(client: FlaskClient) -> None:
    for _ in range(2):
        ask(client)
    ask(client, x(1))
    [told] = client.get("/v2/models/double/stats").json["model_stats"]
    assert (told["name"], told["version"], told["inference_count"]) == ("double", "1", 2)
    assert told["inference_stats"]["success"]["count"] == 2
    assert told["inference_stats"]["fail"]["count"] == 1
    assert told["inference_stats"]["compute_infer"] == {"count": 2, "ns": 4_000_000}
    assert (told["batch_stats"], told["memory_usage"]) == ([], [])
    assert len(client.get("/v2/models/stats").json["model_stats"]) == 2
    assert client.get("/v2/models/double/versions/1/stats").json["model_stats"] == [told]


def test_models_are_loaded_and_unloaded_by_name(client: FlaskClient, repository: FakeRepository) -> None:
    assert client.post("/v2/repository/models/double/load").json == {"name": "double", "load": True}
    unload = client.post("/v2/repository/models/double/unload", json={"parameters": {"unload_dependents": False}})
    assert unload.json == {"name": "double", "unload": True}
    assert [(what, name) for what, name, _ in repository.asked] == [("load", "double"), ("unload", "double")]
    for body in ({"parameters": {"config": "{}"}}, {"parameters": {"file:1/model.pb": "AA=="}}, {"parameters": 1}, []):
        assert client.post("/v2/repository/models/double/load", json=body).status_code == 400
    assert len(repository.asked) == 2


def test_loading_needs_the_role_of_an_admin(engine: FakeEngine, settings: Settings) -> None:
    secret, key = keys.make("camera", "predict")
    guarded = Settings(api_keys=key.line)
    client = create_app(
        guarded, engine, Metrics(engine), admits=access.read(guarded).access(), repository=FakeRepository()
    ).test_client()
    headers = {"X-API-Key": secret}
    assert client.post("/v2/repository/models/double/load").status_code == 401
    assert client.post("/v2/repository/models/double/load", headers=headers).status_code == 403
    assert client.post("/v2/repository/index", headers=headers).status_code == 200
    elsewhere = create_app(settings, engine, Metrics(engine), admits=access.read(settings).access()).test_client()
    assert elsewhere.post("/v2/repository/models/double/load").status_code == 501
