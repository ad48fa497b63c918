"""What no answer gives away, what each forbids a browser, and what no request makes the service do."""

import base64
import json
import socket
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from service.errors import ModelFailed
from service.interface import State, VersionStatus
from tests.fakes import FakeEngine

LETTERS = "/v1/models/letters:predict"
ROUTES = [
    ("GET", "/"), ("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/static/theme.css"), ("GET", "/healthz"),
    ("GET", "/metrics"), ("GET", "/v1/models"), ("GET", "/nowhere"), ("PUT", LETTERS), ("POST", LETTERS),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_no_answer_may_be_taken_for_another_kind(client: FlaskClient, method: str, path: str) -> None:
    assert client.open(path, method=method, buffered=True).headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_the_pages_may_be_framed_by_nobody_and_run_nothing_inline(client: FlaskClient, path: str) -> None:
    headers = client.get(path).headers
    assert {"default-src 'none'", "frame-ancestors 'none'"} <= set(headers["Content-Security-Policy"].split("; "))
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"


def test_the_page_may_use_the_camera_and_nothing_else(client: FlaskClient) -> None:
    assert client.get("/").headers["Permissions-Policy"] == "camera=(self), microphone=(), geolocation=()"


@pytest.mark.parametrize("path", ["/v1/models/%s:predict", "/v1/models/%s", "/%s", "/v1/models/letters/labels/%s"])
def test_what_a_client_sent_comes_back_on_one_bounded_line(client: FlaskClient, path: str) -> None:
    for sent in ("%0AINFO%20all%20is%20well%1B[2K", "x" * 5000):
        for method in ("GET", "POST"):
            error = client.open(path % sent, method=method, data=b"x").json["error"]
            assert len(error) <= 1000
            assert error.isprintable()


def test_what_a_client_sent_is_bounded_in_json_too(client: FlaskClient) -> None:
    for body in (
        {"signature_name": "x\n" * 3000, "instances": [1]},
        {"inputs": {"x\n" * 3000: 1}},
        {"x" * 6000: 1},
    ):
        answer = client.post(LETTERS, json=body)
        assert answer.status_code in (400, 404)
        assert len(answer.json["error"]) <= 1000
        assert answer.json["error"].isprintable()


def test_the_log_of_a_failure_is_one_line_of_its_own(
    client: FlaskClient, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    engine.fault = ModelFailed("The model failed: no\nINFO all is well")
    assert client.post(LETTERS, data=b"x").status_code == 500
    assert caplog.records[0].getMessage().endswith("no INFO all is well")


def test_states_come_from_the_engine_as_they_are(client: FlaskClient, engine: FakeEngine) -> None:
    engine.states = {"m": (VersionStatus(1, State.END, "m/1 is broken."),)}
    for path in ("/v1/models/m", "/readyz"):
        assert "m/1 is broken." in client.get(path).text


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A port of this machine that notices whoever connects to it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


def test_no_address_in_a_request_is_ever_asked(client: FlaskClient, listener: socket.socket) -> None:
    """Signpost opens no connection for a client, so nobody can have it look into the network behind it."""
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/x.png"
    encoded = base64.b64encode(url.encode()).decode()
    svg = f'<svg xmlns:xlink="http://www.w3.org/1999/xlink"><image xlink:href="{url}"/></svg>'
    bodies = (
        ("image/png", url.encode()),
        ("image/svg+xml", svg.encode()),
        ("application/json", json.dumps({"instances": [{"b64": encoded}]}).encode()),
        ("application/json", json.dumps({"instances": [url, {"url": url}, {"image_url": {"url": url}}]}).encode()),
        ("application/json", json.dumps({"inputs": {"image": {"b64": url}}, "url": url}).encode()),
        ("application/x-www-form-urlencoded", f"url={url}".encode()),
        ("message/external-body", url.encode()),
    )
    for kind, body in bodies:
        headers = {
            "Referer": url,
            "Location": url,
            "X-Forwarded-Host": url,
            "Link": f"<{url}>",
            "Content-Location": url,
        }
        answer = client.post(f"{LETTERS}?url={url}", data=body, content_type=kind, headers=headers)
        assert 400 <= answer.status_code < 500, kind
    client.get(f"/v1/models/{url}")
    client.post("/v1/config:reload", data=f'model_config_list {{ config {{ name: "m" base_path: "{url}" }} }}')
    with pytest.raises(BlockingIOError):
        listener.accept()
