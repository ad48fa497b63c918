"""What every answer carries, and what is counted."""

import re
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from service.config.settings import Settings
from service.errors import Unavailable
from service.gateway import create_app
from service.gateway.routes.metrics import Metrics
from service.interface import Queue
from service.security import access
from tests.fakes import FakeEngine, classifier
from tests.unit.service.gateway.pictures import BLACK, WHITE

LETTERS = "/v1/models/letters:predict"
ROUTES = [("GET", "/healthz"), ("GET", "/nowhere"), ("GET", LETTERS), ("POST", LETTERS), ("GET", "/metrics")]


@pytest.mark.parametrize(("method", "route"), ROUTES)
def test_every_answer_has_an_id_of_its_own(client: FlaskClient, method: str, route: str) -> None:
    ids = [client.open(route, method=method).headers["X-Request-ID"] for _ in range(2)]
    assert ids[0] != ids[1]
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in ids)


@pytest.mark.parametrize("wanted", ["a", "0af7651916cd43dd8448eb211c80319c", "user@host:1/2+3=4_-.", "x" * 128])
def test_the_id_of_the_client_is_kept(client: FlaskClient, wanted: str) -> None:
    assert client.get("/healthz", headers={"X-Request-ID": wanted}).headers["X-Request-ID"] == wanted


@pytest.mark.parametrize(
    "malicious", ["", " ", "a b", "x" * 129, "<script>", 'a"b', "a;b", "a,b", "ä", "a\tb", "%0d%0aX: y"]
)
def test_an_id_that_could_do_harm_is_replaced(client: FlaskClient, malicious: str) -> None:
    answered = client.get("/healthz", headers={"X-Request-ID": malicious}).headers["X-Request-ID"]
    assert re.fullmatch("[0-9a-f]{32}", answered)


def stages(header: str) -> list[str]:
    assert re.fullmatch(r"(\w+;dur=\d+\.\d{3}, )+lane;desc=\w+", header)
    return [entry.split(";")[0] for entry in header.split(", ")]


def test_the_stages_of_a_request_are_timed(client: FlaskClient) -> None:
    answer = client.post(LETTERS, data=WHITE, content_type="image/png")
    assert stages(answer.headers["Server-Timing"]) == ["decode", "queue", "infer", "encode", "total", "lane"]
    assert "queue;dur=1.000, infer;dur=2.000" in answer.headers["Server-Timing"]
    answer = client.post(LETTERS, data=b"no image", content_type="image/png")
    assert stages(answer.headers["Server-Timing"]) == ["total", "lane"]


def test_the_version_is_told_even_when_the_request_fails(client: FlaskClient) -> None:
    assert client.post(LETTERS, data=b"x", content_type="image/png").headers["X-Model-Version"] == "2"
    assert "X-Model-Version" not in client.post("/v1/models/x:predict", data=b"x").headers


def metrics(client: FlaskClient) -> dict[tuple[str, tuple[str, ...]], float]:
    """The samples by name and values of their labels, sorted by the labels' names."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.content_type.startswith("text/plain; version=")
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_what_happened_can_be_read_as_metrics(client: FlaskClient) -> None:
    client.post(LETTERS, data=WHITE, content_type="image/png")
    client.post(LETTERS, data=BLACK, content_type="image/png")
    client.post("/v1/models/letters/versions/1:predict", data=BLACK, content_type="image/png")
    client.post(LETTERS, data=b"no image", content_type="image/png")
    client.post(LETTERS, json={"instances": [{"b64": "AAAA"}]})
    client.post(LETTERS, json={"instances": [[[[0] * 3] * 3] * 2]})
    client.get("/nowhere")
    found = metrics(client)
    by_name, by_version = "/v1/models/<name:name>:predict", "/v1/models/<name:name>/versions/<int:version>:predict"
    assert found["signpost_requests_total", ("letters", by_name, "200", "2")] == 3
    assert found["signpost_requests_total", ("letters", by_version, "200", "1")] == 1
    assert found["signpost_requests_total", ("letters", by_name, "400", "2")] == 2
    assert found["signpost_requests_total", ("", "none", "404", "")] == 1
    assert found["signpost_images_total", ("letters", "2")] == 2
    assert found["signpost_batch_instances_count", ("letters", "2")] == 3
    assert found["signpost_batch_instances_sum", ("letters", "2")] == 12
    for stage, count in (("decode", 2), ("infer", 3), ("total", 5)):
        assert found["signpost_stage_seconds_count", ("letters", stage, "2")] == count
    assert found["signpost_stage_seconds_sum", ("letters", "infer", "2")] == pytest.approx(0.006)
    assert found["signpost_version_state", ("letters", "AVAILABLE", "2")] == 1
    assert found["signpost_version_state", ("letters", "LOADING", "2")] == 0


def test_names_that_clients_make_up_are_no_metrics(client: FlaskClient) -> None:
    """Otherwise anybody could fill the memory with them."""
    before = len(metrics(client))
    client.post("/v1/models/warm-up:predict", data=WHITE)
    client.post("/v1/models/letters/versions/100:predict", data=WHITE)
    client.get("/warm-up")
    after_first = len(metrics(client))
    for n in range(20):
        client.post(f"/v1/models/made-up-{n}:predict", data=WHITE)
        client.post(f"/v1/models/letters/versions/{100 + n}:predict", data=WHITE)
        client.get(f"/made-up-{n}")
        client.open("/healthz", method=f"ODD{n}")
    found = metrics(client)
    assert after_first > before
    assert not any("made-up" in value for _, labels in found for value in labels)
    assert len(found) <= after_first + 4  # /healthz was not asked in another method before


def test_an_engine_that_is_away_still_has_metrics(client: FlaskClient, engine: FakeEngine) -> None:
    engine.fault = Unavailable("Away.")
    client.post(LETTERS, data=WHITE, content_type="image/png")
    assert metrics(client)["signpost_requests_total", ("", "/v1/models/<name:name>:predict", "503", "")] == 1


def test_what_waits_is_told_and_falls_back_to_zero() -> None:
    servable = classifier()
    engine = FakeEngine(servable)
    metrics = Metrics(engine)
    page = create_app(Settings(), engine, metrics, admits=access.Access()).test_client()
    servable.queue = Queue(7)
    metrics.note_queues(engine.queued())
    assert 'signpost_queue_instances{model="fake",version="1"} 7.0' in page.get("/metrics").text
    metrics.note_queues({})
    assert 'signpost_queue_instances{model="fake",version="1"} 0.0' in page.get("/metrics").text


def answered(client: FlaskClient, caplog: pytest.LogCaptureFixture, path: str, **sent: Any) -> dict[str, Any]:
    """What the log tells of a request."""
    caplog.clear()
    client.post(path, environ_base={"REMOTE_ADDR": "192.0.2.1"}, **sent)
    [record] = [record for record in caplog.records if record.name == "signpost.access"]
    told: dict[str, Any] = record.fields  # type: ignore[attr-defined]
    return told


def test_the_log_tells_of_each_request_and_holds_nothing_secret(
    engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "signpost.access")
    client = create_app(Settings(access_log=True), engine, Metrics(engine), admits=access.Access()).test_client()
    headers = {"X-Request-ID": "mine", "Authorization": "Bearer hidden", "X-Forwarded-For": "198.51.100.7"}
    told = answered(client, caplog, f"{LETTERS}?key=hidden", data=WHITE, headers=headers)
    assert told.items() >= {
        "request_id": "mine", "protocol": "HTTP", "method": "POST", "route": "/v1/models/<name:name>:predict",
        "status": 200, "model": "letters", "version": 2, "images": 1, "instances": 1, "bytes_in": len(WHITE),
        "client": "192.0.2.1",
    }.items()  # fmt: skip
    assert {"decode_ms", "queue_ms", "infer_ms", "encode_ms", "total_ms", "bytes_out"} <= told.keys()
    assert "hidden" not in caplog.text
    told = answered(client, caplog, "/hidden/%0Aforged?hidden", data=b"hidden")
    assert (told["route"], told["status"]) == ("none", 404)
    assert "hidden" not in caplog.text


def test_without_being_asked_the_log_tells_of_none(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    client.post(LETTERS, data=WHITE)
    assert not caplog.records
