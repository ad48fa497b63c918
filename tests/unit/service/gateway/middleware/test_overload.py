"""Requests that came when the service was full, and how long a client waits."""

import time

import pytest
from flask.testing import FlaskClient

from service.admission import ARRIVAL, Arrival
from service.config.settings import Settings
from service.errors import Overloaded
from tests.fakes import FakeEngine
from tests.unit.service.gateway.pictures import WHITE

LETTERS = "/v1/models/letters:predict"


def full() -> dict[str, Arrival]:
    return {ARRIVAL: Arrival(time.monotonic() - 2.5, refused=True)}


@pytest.mark.parametrize("path", [LETTERS, "/v1/models/letters/versions/3:classify", "/v1/models/letters:regress"])
def test_what_runs_a_model_is_refused_before_its_body_is_looked_at(
    client: FlaskClient, engine: FakeEngine, path: str
) -> None:
    response = client.post(path, data=b"\0", environ_overrides=full(), headers={"X-Request-ID": "mine"})
    assert response.status_code == 429
    assert response.headers["Retry-After"] == "3"
    assert response.headers["X-Request-ID"] == "mine"
    assert "about 2.5 s" in response.get_json()["error"]
    assert not engine.servables[-1].asked
    assert "signpost_refusals_total 1.0" in client.get("/metrics").text


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/v1/models", "/v1/models/letters/metadata"])
def test_everything_else_goes_on(client: FlaskClient, path: str) -> None:
    assert client.get(path, environ_overrides=full()).status_code == 200


def test_the_model_says_that_it_is_full_before_an_image_is_decoded(client: FlaskClient, engine: FakeEngine) -> None:
    engine.servables[-1].full = Overloaded("The queue is too long.", 7.2)
    response = client.post(LETTERS, data=b"no image at all", content_type="image/png")
    assert (response.status_code, response.headers["Retry-After"]) == (429, "8")


def test_the_clients_deadline_counts_from_its_arrival(client: FlaskClient, engine: FakeEngine) -> None:
    arrival = Arrival(time.monotonic() - 0.2)
    headers = {"X-Request-Deadline-Ms": "700", "Content-Type": "image/png"}
    assert client.post(LETTERS, data=WHITE, headers=headers, environ_overrides={ARRIVAL: arrival}).status_code == 200
    [(_, call)] = engine.servables[-1].asked
    assert call.deadline == pytest.approx(arrival.at_s + 0.7)
    assert call.limit == "the 700 ms of X-Request-Deadline-Ms"


def test_the_services_own_limit_is_the_longest(client: FlaskClient, engine: FakeEngine, settings: Settings) -> None:
    arrival = Arrival(time.monotonic())
    headers = {"X-Request-Deadline-Ms": "999999999999", "Content-Type": "image/png"}
    assert client.post(LETTERS, data=WHITE, headers=headers, environ_overrides={ARRIVAL: arrival}).status_code == 200
    [(_, call)] = engine.servables[-1].asked
    assert call.deadline == pytest.approx(arrival.at_s + settings.rest_api_timeout_in_ms / 1e3)


@pytest.mark.parametrize("value", ["0", "-5", "1.5", "soon", "1e3", "٣", "9" * 13])
def test_a_wrong_deadline_is_refused(client: FlaskClient, value: str) -> None:
    headers = [("X-Request-Deadline-Ms", value.encode().decode("latin-1")), ("Content-Type", "image/png")]
    response = client.post(LETTERS, data=WHITE, headers=headers)
    assert response.status_code == 400
    assert "X-Request-Deadline-Ms must be a whole number of milliseconds, at least 1" in response.get_json()["error"]
