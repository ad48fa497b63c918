"""Status, metadata and health as clients of TF Serving and those who run it read them."""

from dataclasses import replace

import numpy as np
import pytest
from flask.testing import FlaskClient

from service.interface import RunBy, State, VersionStatus
from tests.fakes import FakeEngine, FakeServable, signature, spec

OK = {"error_code": "OK", "error_message": ""}


def entry(version: int, state: str = "AVAILABLE") -> dict[str, object]:
    return {"version": str(version), "state": state, "status": OK}


@pytest.mark.parametrize(
    ("route", "versions"),
    [
        ("/v1/models/letters", [2, 1]),
        ("/v1/models/letters/versions/1", [1]),
        ("/v1/models/letters/labels/stable", [1]),
    ],
)
def test_the_status_is_printed_as_by_tf_serving(client: FlaskClient, route: str, versions: list[int]) -> None:
    answer = client.get(route)
    assert answer.status_code == 200
    assert answer.json == {"model_version_status": [entry(version) for version in versions]}


def test_a_version_that_failed_says_why(client: FlaskClient, engine: FakeEngine) -> None:
    engine.states = {"m": (VersionStatus(2, State.END, "It is broken."), VersionStatus(1, State.AVAILABLE))}
    failed = {"version": "2", "state": "END", "status": {"error_code": "UNKNOWN", "error_message": "It is broken."}}
    assert client.get("/v1/models/m").json == {"model_version_status": [failed, entry(1)]}
    assert client.get("/v1/models/m/versions/2").json == {"model_version_status": [failed]}


def test_all_models_are_listed(client: FlaskClient) -> None:
    answer = client.get("/v1/models")
    ours = {
        "joining": {"serving_default": {"joined": True}},
        "runtime": {"name": "tensorflow", "times_as_fast": 1.0},
    }
    assert answer.json == {"models": [{"name": "letters", "model_version_status": [entry(2) | ours, entry(1) | ours]}]}


def test_which_requests_run_joined_is_told_where_it_is_asked_for(client: FlaskClient, engine: FakeEngine) -> None:
    engine.servables[-1].unjoined = {"serving_default": "it counts"}
    version = engine.servables[-1].version
    told = {"serving_default": {"joined": False, "why": "it counts"}}
    found = client.get(f"/v1/models/letters/versions/{version}?joining=true").json
    assert found == {"model_version_status": [entry(version) | {"joining": told}]}
    assert client.get(f"/v1/models/letters/versions/{version}?joining=false").json == {
        "model_version_status": [entry(version)]
    }
    metadata = client.get(f"/v1/models/letters/versions/{version}/metadata?joining=True").json["metadata"]
    assert metadata["joining"] == told
    answer = client.get("/v1/models/letters?joining=maybe")
    assert (answer.status_code, answer.json) == (400, {"error": "joining must be true or false, not 'maybe'."})


@pytest.mark.parametrize(
    ("by", "told"),
    [
        (RunBy("openvino", 1.6161), {"name": "openvino", "times_as_fast": 1.62}),
        (RunBy(why="it counts"), {"name": "tensorflow", "times_as_fast": 1.0, "why": "it counts"}),
    ],
)
def test_what_runs_a_model_is_told_where_it_is_asked_for(
    client: FlaskClient, engine: FakeEngine, by: RunBy, told: dict[str, object]
) -> None:
    engine.servables[-1].run_by = by
    url = f"/v1/models/letters/versions/{engine.servables[-1].version}"
    assert client.get(f"{url}?runtime=true").json["model_version_status"][0]["runtime"] == told
    assert client.get(f"{url}/metadata?runtime=true").json["metadata"]["runtime"] == told
    assert "runtime" not in client.get(f"{url}/metadata?joining=true").json["metadata"]
    assert client.get(f"{url}?runtime=1").status_code == 400


def test_an_engine_elsewhere_that_does_not_tell_its_runtime_is_not_guessed_at(
    client: FlaskClient, engine: FakeEngine
) -> None:
    engine.servables[-1].run_by = RunBy("")
    assert "runtime" not in client.get("/v1/models/letters/metadata?runtime=true").json["metadata"]


def test_a_default_is_told_as_tf_serving_does(client: FlaskClient, engine: FakeEngine) -> None:
    plain = signature([spec("x", "DT_FLOAT", -1), spec("k", "DT_FLOAT")], [spec("y", "DT_FLOAT", -1)])
    given = replace(plain, defaults={"k": np.array(3.0, np.float32)})
    engine.servables.append(FakeServable(lambda inputs, _: inputs, {"serving_default": given}, "scaled"))
    found = client.get("/v1/models/scaled/metadata").json["metadata"]["signature_def"]["signature_def"]
    told = found["serving_default"]["defaults"]["k"]
    assert (told["dtype"], told["float_val"], told["int_val"]) == ("DT_FLOAT", [3.0], [])  # empty fields too, as there
    assert told["tensor_shape"] == {"dim": [], "unknown_rank": False}


def test_a_model_laid_out_wrongly_is_listed_with_the_reason(client: FlaskClient, engine: FakeEngine) -> None:
    engine.reasons = {"flat": "flat contains a SavedModel itself."}
    [flat, letters] = client.get("/v1/models").json["models"]
    assert flat == {"name": "flat", "model_version_status": [], "error": "flat contains a SavedModel itself."}
    assert letters.keys() == {"name", "model_version_status"}
    answer = client.get("/v1/models/flat")
    assert answer.status_code == 404
    assert answer.json["error"] == "Could not find any versions of model flat: flat contains a SavedModel itself."
    assert client.get("/readyz").json == {"ready": True, "models": {"letters": "ready"}}
    engine.states = {"flat": ()}  # where the configuration names it
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json["models"]) == (503, {"flat": "flat contains a SavedModel itself."})


@pytest.mark.parametrize(
    ("route", "says"),
    [
        ("/v1/models/x", "Could not find any versions of model x; GET /v1/models lists what there is."),
        ("/v1/models/letters/versions/9", "Could not find version 9 of model letters; it has 1, 2."),
        ("/v1/models/letters/labels/x", "Label(letters, x)"),
        ("/v1/models/x/metadata", "Latest(x)"),
        ("/v1/models/letters/versions/9/metadata", "Specific(letters, 9)"),
        ("/v1/models/letters/versions/x", "There is no"),
    ],
)
def test_what_is_not_there_is_404(client: FlaskClient, route: str, says: str) -> None:
    answer = client.get(route)
    assert answer.status_code == 404
    assert says in answer.json["error"]


@pytest.mark.parametrize(
    ("route", "version"),
    [
        ("/v1/models/letters/metadata", "2"),
        ("/v1/models/letters/versions/1/metadata", "1"),
        ("/v1/models/letters/labels/stable/metadata", "1"),
    ],
)
def test_the_metadata_are_printed_as_by_tf_serving(client: FlaskClient, route: str, version: str) -> None:
    found = client.get(route).json
    assert found["model_spec"] == {"name": "letters", "signature_name": "", "version": version}
    signature = found["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["inputs"]["image"] == {
        "dtype": "DT_UINT8",
        "tensor_shape": {"dim": [{"size": size, "name": ""} for size in ("-1", "2", "3", "3")], "unknown_rank": False},
        "name": "image:0",
    }
    assert set(signature["outputs"]) == {"scores", "classes"}


def test_it_is_live_whatever_its_models_are(client: FlaskClient, engine: FakeEngine) -> None:
    engine.states = {}
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json) == (200, {"status": "live"})


def test_it_is_ready_when_every_model_is(client: FlaskClient) -> None:
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json) == (200, {"ready": True, "models": {"letters": "ready"}})


@pytest.mark.parametrize(
    ("states", "models"),
    [
        ({}, {}),
        ({"m": ()}, {"m": "loading"}),
        ({"m": (VersionStatus(1, State.LOADING),)}, {"m": "loading"}),
        ({"m": (VersionStatus(1, State.END, "It is broken."),)}, {"m": "It is broken."}),
        (
            {"m": (VersionStatus(1, State.AVAILABLE),), "n": (VersionStatus(1, State.START),)},
            {"m": "ready", "n": "loading"},
        ),
    ],
)
def test_it_is_not_ready_while_a_model_is_not_and_says_why(
    client: FlaskClient, engine: FakeEngine, states: dict[str, tuple[VersionStatus, ...]], models: dict[str, str]
) -> None:
    engine.states = states
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json) == (503, {"ready": False, "models": models})


def test_a_failed_version_beside_one_that_serves_is_ready(client: FlaskClient, engine: FakeEngine) -> None:
    engine.states = {"m": (VersionStatus(2, State.END, "It is broken."), VersionStatus(1, State.AVAILABLE))}
    assert client.get("/readyz").status_code == 200
