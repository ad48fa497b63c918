"""`:predict` with TF Serving's JSON, and its errors: every one is JSON with a message that helps."""

import base64
import json
import logging
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service import errors
from service.config.settings import Settings
from service.gateway import create_app
from service.gateway.middleware.http_errors import STATUSES
from service.gateway.routes.metrics import Metrics
from service.interface import DEFAULT_SIGNATURE, Array, Call
from service.security import access
from tests.fakes import FakeEngine, FakeServable, signature, spec
from tests.unit.service.gateway.pictures import WHITE, flat

LETTERS = "/v1/models/letters:predict"
MATHS = "/v1/models/maths:predict"


def maths() -> FakeServable:
    def run(inputs: Mapping[str, Array], call: Call) -> Mapping[str, Array]:
        if call.signature_name == "sum":
            return {"total": inputs["a"] + inputs["b"]}
        return {"minus": inputs["a"] - inputs["b"], "text_bytes": np.array([b"\xff"] * len(inputs["a"]), dtype=object)}

    a, b = spec("a", "DT_FLOAT", -1), spec("b", "DT_FLOAT", -1)
    return FakeServable(
        run,
        {
            DEFAULT_SIGNATURE: signature([a, b], [spec("minus", "DT_FLOAT", -1), spec("text_bytes", "DT_STRING", -1)]),
            "sum": signature([a, b], [spec("total", "DT_FLOAT", -1)]),
        },
        "maths",
    )


@pytest.fixture(autouse=True)
def _with_maths(engine: FakeEngine) -> None:
    engine.servables.append(maths())


def post(client: FlaskClient, route: str, document: Any) -> TestResponse:
    return client.post(route, data=json.dumps(document), content_type="application/json")


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (
            {"instances": [{"a": 3, "b": 1}, {"a": 5, "b": 2}]},
            {"predictions": [{"minus": m, "text_bytes": {"b64": "/w=="}} for m in (2.0, 3.0)]},
        ),
        (
            {"inputs": {"a": [3, 5], "b": [1, 2]}},
            {"outputs": {"minus": [2.0, 3.0], "text_bytes": [{"b64": "/w=="}, {"b64": "/w=="}]}},
        ),
        ({"signature_name": "sum", "instances": [{"a": 3, "b": 1}]}, {"predictions": [4.0]}),
        ({"signature_name": "sum", "inputs": {"a": [3, 5], "b": [1, 2]}}, {"outputs": [4.0, 7.0]}),
        (
            {"signature_name": "", "inputs": {"a": [1], "b": [1]}},
            {"outputs": {"minus": [0.0], "text_bytes": [{"b64": "/w=="}]}},
        ),
    ],
)
def test_rows_and_columns_are_answered_as_tf_serving_does(client: FlaskClient, document: Any, expected: Any) -> None:
    answer = post(client, MATHS, document)
    assert answer.status_code == 200
    assert answer.json == expected
    assert answer.headers["X-Model-Version"] == "1"


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "application/x.tfs+json"])
def test_pixels_are_answered_with_classes_and_scores(client: FlaskClient, kind: str) -> None:
    pixels = np.full((2, 3, 3), 255).tolist()
    answer = client.post(LETTERS, data=json.dumps({"instances": [{"image": pixels}]}), content_type=kind)
    assert answer.json == {"predictions": [{"classes": ["A", "B", "C"], "scores": [0.0, 0.0, 1.0]}]}


def test_scores_that_are_no_number_are_answered(client: FlaskClient, engine: FakeEngine) -> None:
    one = signature([spec("x", "DT_FLOAT", -1)], [spec("y", "DT_FLOAT", -1)])
    engine.servables.append(FakeServable(lambda inputs, _: {"y": inputs["x"] / 0}, {DEFAULT_SIGNATURE: one}, "odd"))
    with np.errstate(divide="ignore", invalid="ignore"):
        answer = post(client, "/v1/models/odd:predict", {"instances": [1, 0]})
    assert answer.text == '{"predictions":[Infinity,NaN]}\n'  # as TF Serving prints them


def test_the_deadline_is_that_of_the_settings(client: FlaskClient, engine: FakeEngine, settings: Settings) -> None:
    before_s = time.monotonic()
    post(client, MATHS, {"inputs": {"a": [1], "b": [1]}})
    ((_, call),) = engine.servables[-1].asked
    allowed_s = settings.rest_api_timeout_in_ms / 1000
    assert before_s + allowed_s <= call.deadline <= time.monotonic() + allowed_s


def test_a_lease_ends_with_its_request_whatever_happens(client: FlaskClient, engine: FakeEngine) -> None:
    post(client, MATHS, {"inputs": {"a": [1], "b": [1]}})
    post(client, MATHS, {"inputs": 1})
    client.post(MATHS, data=WHITE, content_type="image/png")
    assert engine.leases == 0


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("", "either"),
        ({"instances": [1, 2]}, "several inputs; name them: a, b"),
        ({"instances": [{"a": "x", "b": 1}]}, "'a' takes numbers"),
        ({"instances": [], "inputs": 1}, "either"),
    ],
)
def test_malformed_json_is_400(client: FlaskClient, document: Any, says: str) -> None:
    answer = post(client, MATHS, document or {})
    assert answer.status_code == 400
    assert says in answer.json["error"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", WHITE])
def test_a_body_that_is_no_json_is_400(client: FlaskClient, body: bytes) -> None:
    answer = client.post(MATHS, data=body, content_type="application/json")
    assert answer.status_code == 400
    assert "not JSON" in answer.json["error"]


def test_a_bad_image_in_json_is_400_and_named(client: FlaskClient) -> None:
    answer = post(client, LETTERS, {"instances": [{"b64": "AAAA"}]})
    assert answer.status_code == 400
    assert answer.json["error"].startswith("Image 0: This is not an image")


@pytest.mark.parametrize(
    ("route", "says"),
    [
        ("/v1/models/nothing:predict", "Servable not found for request: Latest(nothing)"),
        ("/v1/models/letters/versions/9:predict", "Specific(letters, 9)"),
        ("/v1/models/letters/labels/none:predict", "Label(letters, none)"),
        ("/v1/models/letters/versions/x:predict", "There is no /v1/models/letters/versions/x:predict"),
        ("/v1/models/letters/versions/-1:predict", "There is no"),
        ("/v1/models/letters/versions/99999999999999999999:predict", "9999"),
        ("/v1/models/:predict", "There is no"),
        ("/v1/models/letters:explain", "There is no"),
        ("/v1/models/letters:predcit", "There is no /v1/models/letters:predcit; did you mean predict? POST"),
        ("/nowhere", "POST /v1/models/<model>:predict"),
    ],
)
def test_what_is_not_there_is_404(client: FlaskClient, route: str, says: str) -> None:
    answer = client.post(route, data=WHITE, content_type="image/png")
    assert answer.status_code == 404
    assert says in answer.json["error"]


def test_an_unknown_signature_is_404(client: FlaskClient) -> None:
    answer = post(client, MATHS, {"signature_name": "x", "instances": [1]})
    assert answer.status_code == 404
    assert '"x" not found in signature def; the model has serving_default, sum' in answer.json["error"]


@pytest.mark.parametrize(
    ("method", "route", "allowed"),
    [
        ("GET", LETTERS, "POST"),
        ("GET", "/v1/models/letters/versions/1:predict", "POST"),
        ("GET", "/v1/models/letters/labels/stable:predict", "POST"),
        ("POST", "/v1/models/letters", "GET"),
        ("DELETE", "/v1/models/letters", "GET"),
        ("POST", "/healthz", "GET"),
    ],
)
def test_another_method_is_405_and_told_which_would_be_right(
    client: FlaskClient, method: str, route: str, allowed: str
) -> None:
    answer = client.open(route, method=method)
    assert answer.status_code == 405
    assert allowed in answer.headers["Allow"]
    assert f"does not take {method}; use" in answer.json["error"]
    assert allowed in answer.json["error"]


@pytest.mark.parametrize("kind", ["image/png", "application/json", "text/plain", "multipart/form-data; boundary=x"])
def test_a_body_beyond_the_limit_is_413(client: FlaskClient, kind: str) -> None:
    answer = client.post(LETTERS, data=bytes(20_001), content_type=kind)
    assert answer.status_code == 413
    assert "20000 bytes" in answer.json["error"]


def test_a_bad_image_among_instances_has_an_error_in_its_place(client: FlaskClient) -> None:
    good, bad = {"b64": base64.b64encode(WHITE).decode()}, {"b64": base64.b64encode(b"no image").decode()}
    answer = post(client, LETTERS, {"instances": [bad, good, {"b64": "?"}]})
    assert answer.status_code == 200
    first, second, third = answer.json["predictions"]
    assert first == {
        "error": "This is not an image: it is text (8 bytes); send a JPEG, PNG, WebP, GIF, BMP or TIFF file."
    }
    assert second["scores"] == [0.0, 0.0, 1.0]
    assert "base64" in third["error"]
    for url, document in (
        (f"{LETTERS}?all_or_nothing=true", {"instances": [good, bad]}),
        (LETTERS, {"inputs": [good, bad]}),  # its answer is a tensor, which has no room for an error
    ):
        answer = post(client, url, document)
        assert answer.status_code == 400
        assert answer.json["error"].startswith("Image 1: ")
    answer = post(client, LETTERS, {"instances": [bad, bad]})
    assert answer.status_code == 400
    assert answer.json["error"].startswith("Image 0: ")


def test_too_many_encoded_images_in_json_are_413(client: FlaskClient) -> None:
    answer = post(client, LETTERS, {"instances": [{"b64": base64.b64encode(WHITE).decode()}] * 4})
    assert answer.status_code == 413
    assert answer.json["error"] == "Image 3: The request contains 4 images; at most 3 are allowed."


class Failing(FakeServable):
    def __init__(self, error: Exception) -> None:
        one = signature([spec("x", "DT_FLOAT", -1)], [spec("y", "DT_FLOAT", -1)])
        super().__init__(self._fail, {DEFAULT_SIGNATURE: one}, "failing")
        self._error = error

    def _fail(self, *_: object) -> Mapping[str, Array]:
        raise self._error


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (errors.InvalidRequest("It says so."), 400, None),
        (errors.NotFound("It says so."), 404, None),
        (errors.TooLarge("It says so."), 413, None),
        (errors.Overloaded("It says so.", 0.2), 429, "1"),
        (errors.Overloaded("It says so.", 2.1), 429, "3"),
        (errors.Unavailable("It says so."), 503, "1"),
        (errors.DeadlineExceeded("It says so."), 504, None),
        (errors.Abandoned("It says so."), 499, None),
        (errors.ModelFailed("It says so."), 500, None),
    ],
)
@pytest.mark.parametrize("where", ["lease", "predict"])
def test_each_error_of_the_engine_has_its_status(
    client: FlaskClient, engine: FakeEngine, error: Exception, status: int, retry_after: str | None, where: str
) -> None:
    engine.servables.append(Failing(error))
    engine.fault = error if where == "lease" else None
    answer = post(client, "/v1/models/failing:predict", {"instances": [1]})
    assert answer.status_code == status
    assert answer.json == {"error": "It says so."}
    assert answer.headers.get("Retry-After") == retry_after
    assert engine.leases == 0


def test_what_nobody_foresaw_is_500_without_its_inside(
    client: FlaskClient, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    engine.servables.append(Failing(RuntimeError("secret of the inside")))
    with caplog.at_level(logging.ERROR):
        answer = client.post(
            "/v1/models/failing:predict", json={"instances": [1]}, headers={"X-Request-ID": "request-7"}
        )
    assert answer.status_code == 500
    assert "request-7" in answer.json["error"]
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert "request-7" in caplog.text
    assert "secret of the inside" in caplog.text


def test_a_model_that_fails_is_500_and_logged(
    client: FlaskClient, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    engine.servables.append(Failing(errors.ModelFailed("The model failed: a kernel.")))
    answer = post(client, "/v1/models/failing:predict", {"instances": [1]})
    assert answer.status_code == 500
    assert answer.json == {"error": "The model failed: a kernel."}
    assert answer.headers["X-Request-ID"] in caplog.text


def test_every_error_of_ours_has_a_status_of_its_own_row() -> None:
    """A special class below its general one would never be reached."""
    kinds = [kind for kind, _ in STATUSES]
    for number, kind in enumerate(kinds):
        assert not any(issubclass(kind, before) for before in kinds[:number])
    assert kinds[-1] is errors.SignpostError


def test_a_large_image_within_the_limits_of_the_settings_is_taken(engine: FakeEngine) -> None:
    client = create_app(
        Settings(max_image_pixels=250_000),
        engine,
        Metrics(engine),
        admits=access.Access(),
    ).test_client()
    assert client.post(LETTERS, data=flat(0, "BMP", (500, 500)), content_type="image/bmp").status_code == 200
    assert client.post(LETTERS, data=flat(0, "BMP", (501, 500)), content_type="image/bmp").status_code == 413
