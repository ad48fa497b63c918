"""Parameters of the query that are not there: near misses are refused, others ignored as by TF Serving."""

import pytest
from flask.testing import FlaskClient

from tests.unit.service.gateway.pictures import WHITE

LETTERS = "/v1/models/letters:predict"


@pytest.mark.parametrize("name", ["topk", "top-k", "topK", "Top_K", "k", "top", "top_n", "topN", "top_kk", "n"])
def test_a_parameter_that_is_nearly_one_is_refused_and_told(client: FlaskClient, name: str) -> None:
    answer = client.post(LETTERS, query_string={name: "1"}, data=WHITE, content_type="image/png")
    assert answer.status_code == 400
    assert f"no parameter {name!r}; did you mean top_k? It has top_k, all_or_nothing." in answer.json["error"]


@pytest.mark.parametrize("name", ["utm_source", "_", "trace", "", "x" * 4000, "é"])
def test_any_other_is_ignored(client: FlaskClient, name: str) -> None:
    answer = client.post(LETTERS, query_string={name: "1", "top_k": "1"}, data=WHITE, content_type="image/png")
    assert answer.status_code == 200
    assert len(answer.json["predictions"][0]["scores"]) == 1


def test_every_route_with_parameters_does_so(client: FlaskClient) -> None:
    answer = client.get("/v1/models/letters?join=true")
    assert answer.status_code == 400
    assert "did you mean joining? It has joining, runtime." in answer.json["error"]


@pytest.mark.parametrize("route", ["/v1/models", "/v1/models/letters", "/healthz", "/nowhere"])
def test_what_a_route_does_not_have_it_ignores(client: FlaskClient, route: str) -> None:
    assert client.get(f"{route}?topk=1").status_code == (404 if route == "/nowhere" else 200)


def test_top_k_is_not_passed_over_in_silence_for_json(client: FlaskClient) -> None:
    answer = client.post(f"{LETTERS}?top_k=1", json={"instances": [{"image": [[[0] * 3] * 3] * 2}]})
    assert answer.status_code == 400
    assert "top_k is for images posted as they are" in answer.json["error"]
