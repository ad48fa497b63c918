"""Keys over HTTP: which routes are open, what a refusal looks like, and who may change what is served."""

import dataclasses
from typing import Any

import pytest
from flask import Flask

from service.config.settings import Settings
from service.errors import DeadlineExceeded, NotFound, SettingsError, Unavailable
from service.gateway import create_app
from service.gateway.routes.metrics import Metrics
from service.security import access, keys
from tests.fakes import FakeEngine
from tests.unit.service.gateway.pictures import WHITE

PREDICT, PREDICT_KEY = keys.make("camera", "predict")
ADMIN, ADMIN_KEY = keys.make("ops", "admin")
OPEN = {
    "/", "/docs", "/openapi.json", "/healthz", "/readyz", "/static/<path:filename>", "/v2/health/live",
    "/v2/health/ready",
}  # fmt: skip
LETTERS = "/v1/models/letters:predict"
RELOAD = "/v1/config:reload"
PARAMETERS = {
    "<name:name>": "letters",
    "<int:version>": "1",
    "<name:label>": "stable",
    "<name:version_or_label>": "1",
    "<path:filename>": "theme.css",
    "<any(model_card.json, curves.png, confusion_matrix.png):file>": "model_card.json",
}
CONFIG = 'model_config_list { config { name: "letters" base_path: "letters" } }'


@pytest.fixture
def reloaded() -> list[Any]:
    return []


def make(engine: FakeEngine, settings: Settings, reloaded: list[Any]) -> Flask:
    return create_app(
        settings,
        engine,
        Metrics(engine),
        admits=access.read(settings).access(),
        reload=lambda message, _timeout_s: reloaded.append(message),
    )


@pytest.fixture
def guarded(engine: FakeEngine, settings: Settings, reloaded: list[Any]) -> Flask:
    """With keys on, and every route that a setting can add."""
    listed = f"{PREDICT_KEY.line},{ADMIN_KEY.line}"
    return make(engine, dataclasses.replace(settings, api_keys=listed, rest_api_enable_cors_support=True), reloaded)


def test_every_route_but_the_open_ones_needs_a_key(guarded: Flask) -> None:
    client = guarded.test_client()
    opened = set()
    for rule in guarded.url_map.iter_rules():
        path = rule.rule
        for parameter, value in PARAMETERS.items():
            path = path.replace(parameter, value)
        for method in (rule.methods or set()) - {"OPTIONS"}:
            answers = {
                key: client.open(path, method=method, headers=headers, buffered=True).status_code
                for key, headers in {
                    "none": {},
                    "wrong": {"X-API-Key": "wrong"},
                    "digest": {"X-API-Key": PREDICT_KEY.digest.hex()},
                    "admin": {"Authorization": f"Bearer {ADMIN}"},
                }.items()
            }
            assert answers["admin"] not in (401, 403, 500), path
            if answers["none"] == 401:
                assert answers["wrong"] == answers["digest"] == 401, path
            else:
                assert answers["none"] in (200, 503), path
                opened.add(rule.rule)
    assert opened == OPEN


@pytest.mark.parametrize("headers", [{"Authorization": f"Bearer {PREDICT}"}, {"X-API-Key": PREDICT}])
def test_a_key_lets_its_holder_predict(guarded: Flask, headers: dict[str, str]) -> None:
    client = guarded.test_client()
    assert client.post(LETTERS, data=WHITE, headers=headers).json["predictions"][0]["class"] == "C"
    assert client.get("/metrics", headers=headers).status_code == 200
    refused = client.post(RELOAD, data=CONFIG, headers=headers)
    assert refused.status_code == 403
    assert "camera is for predictions" in refused.json["error"]


def test_a_refusal_says_what_to_do(guarded: Flask) -> None:
    client = guarded.test_client()
    missing = client.post(LETTERS, data=WHITE)
    assert missing.status_code == 401
    assert missing.headers["WWW-Authenticate"] == 'Bearer realm="signpost"'
    assert "X-API-Key" in missing.json["error"]
    assert missing.headers["X-Request-ID"]
    wrong = client.post(LETTERS, data=WHITE, headers={"X-API-Key": "a-secret"})
    assert wrong.status_code == 401
    assert wrong.headers["WWW-Authenticate"].endswith('error="invalid_token"')
    assert "a-secret" not in wrong.text
    shown = client.get("/metrics", headers={"X-API-Key": PREDICT}).text
    assert (
        'signpost_requests_total{model="",route="/v1/models/<name:name>:predict",status="401",version=""} 2.0' in shown
    )


def test_what_is_not_there_is_not_there_for_anybody(guarded: Flask) -> None:
    client = guarded.test_client()
    assert client.get("/nowhere").status_code == 404
    assert client.get(LETTERS).status_code == 405


def test_a_browser_may_ask_beforehand_whether_it_may_send_a_key(guarded: Flask) -> None:
    answer = guarded.test_client().options(LETTERS, headers={"Origin": "https://elsewhere.example"})
    assert answer.status_code == 200
    assert {"Authorization", "X-API-Key"} <= set(answer.headers["Access-Control-Allow-Headers"].split(", "))


def test_the_description_tells_of_keys_where_they_are_on(guarded: Flask, engine: FakeEngine) -> None:
    document = guarded.test_client().get("/openapi.json").json
    assert set(document["components"]["securitySchemes"]) == {"bearer", "header"}
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert ("security" in operation) == (path not in OPEN), path
            assert ({"401", "403"} <= operation["responses"].keys()) == (path not in OPEN), path
    assert document["paths"][RELOAD]["post"]["security"][0] == {"bearer": ["admin"]}
    off = create_app(Settings(), engine, Metrics(engine), admits=access.Access())
    assert "securitySchemes" not in off.test_client().get("/openapi.json").json["components"]
    shown = " ".join(guarded.test_client().get("/docs").text.split())
    assert shown.count("Needs an API key of the role admin, as") == 3  # reload, load, unload
    assert shown.count("Needs an API key, as") > 5
    assert "Needs an API key" not in off.test_client().get("/docs").text


@pytest.mark.parametrize(
    "body", [CONFIG, '{"model_config_list": {"config": [{"name": "letters", "basePath": "letters"}]}}']
)
def test_an_admin_puts_a_configuration_in_place(guarded: Flask, reloaded: list[Any], body: str) -> None:
    answer = guarded.test_client().post(RELOAD, data=body, headers={"Authorization": f"Bearer {ADMIN}"})
    assert answer.json == {"models": ["letters"]}
    assert reloaded[0].model_config_list.config[0].base_path == "letters"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"nonsense { }", b"\xff", b'{"model_config_list": 3}', b'{"a":' * 3000, b"model_config_list {}"]
)
def test_what_is_no_configuration_is_told_and_changes_nothing(guarded: Flask, reloaded: list[Any], body: bytes) -> None:
    answer = guarded.test_client().post(RELOAD, data=body, headers={"X-API-Key": ADMIN})
    assert answer.status_code == 400
    assert reloaded == []


def test_a_process_that_cannot_reload_says_so(engine: FakeEngine) -> None:
    answer = (
        create_app(Settings(), engine, Metrics(engine), admits=access.Access()).test_client().post(RELOAD, data=CONFIG)
    )
    assert answer.status_code == 501


@pytest.mark.parametrize(
    ("error", "status"),
    [(NotFound("No."), 404), (SettingsError("No."), 400), (Unavailable("No."), 503), (DeadlineExceeded("No."), 504)],
)
def test_an_error_of_the_reload_is_answered(engine: FakeEngine, error: Exception, status: int) -> None:
    def reload(_message: Any, _timeout_s: float) -> None:
        raise error

    app = create_app(Settings(), engine, Metrics(engine), admits=access.Access(), reload=reload)
    answer = app.test_client().post(RELOAD, data=CONFIG)
    assert answer.status_code == status
    assert answer.json["error"] == "No."


def test_without_keys_only_a_service_on_loopback_can_be_changed(engine: FakeEngine, reloaded: list[Any]) -> None:
    there = make(engine, Settings(host="0.0.0.0"), reloaded).test_client().post(RELOAD, data=CONFIG)
    assert there.status_code == 403
    assert "--api-keys-file" in there.json["error"]
    assert reloaded == []
    assert make(engine, Settings(), reloaded).test_client().post(RELOAD, data=CONFIG).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "rebound.example:8501"},
        {"Host": "localhost.example"},
        {"Host": "[::1"},
        {"Host": "localhost:8501", "Origin": "https://elsewhere.example"},
        {"Host": "localhost:8501", "Origin": "null"},
        {"Host": "localhost:8501", "Origin": "http://localhost:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"X-Forwarded-For": "203.0.113.5"},
        {"Forwarded": "for=203.0.113.5"},
    ],
)
def test_without_keys_no_page_from_elsewhere_and_no_proxy_can_change_it(
    engine: FakeEngine, reloaded: list[Any], headers: dict[str, str]
) -> None:
    answer = make(engine, Settings(), reloaded).test_client().post(RELOAD, data=CONFIG, headers=headers)
    assert answer.status_code == 403
    assert reloaded == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "127.0.0.1:8501"},
        {"Host": "[::1]:8501"},
        {"Host": "localhost:8501", "Origin": "http://localhost:8501", "Sec-Fetch-Site": "same-origin"},
    ],
)
def test_without_keys_a_program_here_can_change_it(
    engine: FakeEngine, reloaded: list[Any], headers: dict[str, str]
) -> None:
    answer = make(engine, Settings(), reloaded).test_client().post(RELOAD, data=CONFIG, headers=headers)
    assert answer.status_code == 200
