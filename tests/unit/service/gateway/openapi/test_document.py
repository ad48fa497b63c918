"""The description of the API: complete, valid, and every example in it does what it says."""

import base64
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openapi_spec_validator
import pytest
from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from PIL import Image

from service.config.settings import Settings
from service.gateway import create_app
from service.gateway.openapi import document as openapi
from service.gateway.openapi.examples import ERRORS, EXAMPLE_IMAGE
from service.gateway.routes.metrics import Metrics
from service.interface import Array, Call
from service.security import access, keys
from tests.fakes import FakeEngine, FakeRepository, FakeServable, classifier, classifier_signature, signature, spec

Json = dict[str, Any]
MONITORING = "/monitoring"


def half_plus_two() -> FakeServable:
    """TF Serving's own test model, as far as the examples go."""
    strings = spec("inputs", "DT_STRING", -1)

    def run(inputs: Mapping[str, Array], call: Call) -> Mapping[str, Array]:
        rows = len(inputs["inputs"])
        outputs: dict[str, Array] = {
            "outputs": np.full(rows, 2.75, np.float32),
            "scores": np.full((rows, 1), 2.75, np.float32),
            "classes": np.array([[b"a"]] * rows, np.object_),
        }
        return {name: outputs[name] for name in call.outputs}

    return FakeServable(
        run,
        {
            "regress_x": signature([strings], [spec("outputs", "DT_FLOAT", -1)]),
            "classify_x": signature(
                [strings], [spec("classes", "DT_STRING", -1, 1), spec("scores", "DT_FLOAT", -1, 1)]
            ),
        },
        "half_plus_two",
        version=2,
    )


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    """With every route that a setting can add."""
    letters = classifier("sign_language", 2, tuple("ABCDEFGHIKLMNOPQRSTUVWXY"))
    letters.signatures = {"serving_default": classifier_signature(28, 28, 1, 24)}
    extra = tmp_path / "sign_language" / "2" / "assets.extra"
    extra.mkdir(parents=True)
    (extra.parent / "saved_model.pb").write_bytes(b"graph")
    (extra / "model_card.json").write_text("{}")
    engine = FakeEngine(letters, half_plus_two(), labels={"stable": 2})
    settings = Settings(store=tmp_path)
    return create_app(
        settings,
        engine,
        Metrics(engine),
        admits=access.read(settings).access(),
        reload=lambda *_: None,
        repository=FakeRepository(),
        monitoring_path=MONITORING,
    )


@pytest.fixture
def document(app: Flask) -> Json:
    answer: Json = app.test_client().get("/openapi.json").json
    return answer


def operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def example_path(path: str, operation: Json) -> str:
    for parameter in operation["parameters"]:
        if parameter.get("in") == "path":
            path = path.replace(f"{{{parameter['name']}}}", str(parameter["example"]))
    return path


def check_answer(document: Json, operation: Json, answer: Any) -> None:
    """The answer is of a kind and form that the operation names."""
    assert answer.status_code == 200, answer.text
    kinds = operation["responses"]["200"]["content"]
    assert answer.mimetype in kinds
    assert set(operation["responses"]["200"]["headers"]) <= {*answer.headers.keys(), "X-Model-Version"}
    if answer.mimetype == "application/json":
        schema = {**kinds["application/json"]["schema"], "components": document["components"]}
        Draft202012Validator(schema).validate(answer.json)


def test_every_route_is_described(app: Flask, document: Json) -> None:
    for rule in app.url_map.iter_rules():
        if openapi.is_api(rule):
            assert openapi.operation_of(app, rule) is not None, f"{rule.rule} lacks @described beside its route"
            assert app.view_functions[rule.endpoint].__doc__, f"{rule.rule} lacks a docstring"
    count = sum(len((rule.methods or set()) - {"HEAD", "OPTIONS"}) for rule in app.url_map.iter_rules())
    assert len(list(operations(document))) == count - 1  # the files of the pages
    assert "/monitoring" in document["paths"]


def test_it_is_valid(document: Json) -> None:
    openapi_spec_validator.validate(document)
    assert document["openapi"].startswith("3.1.")


def test_each_operation_has_a_name_and_a_sentence(document: Json) -> None:
    found = [operation for _, _, operation in operations(document)]
    names = [operation["operationId"] for operation in found]
    assert len(set(names)) == len(names)
    assert all(len(operation["summary"]) > 10 for operation in found)
    assert {tag for operation in found for tag in operation["tags"]} == {tag["name"] for tag in document["tags"]}


def test_each_example_of_a_path_can_be_asked(app: Flask, document: Json) -> None:
    client = app.test_client()
    for path, method, operation in operations(document):
        if method == "get":
            check_answer(document, operation, client.get(example_path(path, operation), buffered=True))


def test_each_example_of_a_body_is_taken(app: Flask, document: Json) -> None:
    client = app.test_client()
    taken = 0
    for path, method, operation in operations(document):
        for kind, media in operation.get("requestBody", {}).get("content", {}).items():
            for example in media.get("examples", {}).values():
                at = example_path(path, operation)
                if "externalValue" in example:
                    body = client.get(f"/{example['externalValue']}", buffered=True).data
                    answer = client.open(at, method=method, data=body, content_type=kind)
                elif kind == "text/plain":
                    answer = client.open(at, method=method, data=example["value"], content_type=kind)
                else:
                    Draft202012Validator({**media["schema"], "components": document["components"]}).validate(
                        example["value"]
                    )
                    answer = client.open(at, method=method, json=example["value"])
                check_answer(document, operation, answer)
                taken += 1
    assert taken == 3 * (3 + 1 + 1) + 1 + 2 + 3  # of v1, reload, infer, the repository's


def test_each_example_of_an_answer_has_its_form_and_its_request(document: Json) -> None:
    """Whether it is what the service answers, tests/e2e/test_api_page.py asks."""
    shown = 0
    for _, _, operation in operations(document):
        asked = {
            name
            for media in operation.get("requestBody", {}).get("content", {}).values()
            for name in media.get("examples", ())
        }
        for media in operation["responses"]["200"]["content"].values():
            for name, example in media.get("examples", {}).items():
                schema = {**media["schema"], "components": document["components"]}
                Draft202012Validator(schema).validate(example["value"])
                assert name in asked or not asked
                shown += 1
    assert shown > 15


def test_the_examples_of_errors_are_what_is_answered(app: Flask, document: Json) -> None:
    client = app.test_client()
    url = "/v1/models/sign_language:predict"
    answers = {
        (400, "one"): client.post(url, data=b"x = 1", content_type="image/png"),
        (404, "run"): client.post("/v1/models/letters:predict", data=b"x", content_type="image/png"),
        (404, "status"): client.get("/v1/models/letters"),
        (415, "one"): client.post(url, data=b"x", content_type="text/html"),
    }
    assert {asked: answer.status_code for asked, answer in answers.items()} == {asked: asked[0] for asked in answers}
    shown = {(status, name): error for status, errors in ERRORS.items() for name, error in errors.items()}
    assert {asked: answer.json["error"] for asked, answer in answers.items()} == shown
    for (status, name), error in shown.items():
        media = document["components"]["responses"][f"Error{status}"]["content"]["application/json"]
        assert media["examples"][name]["value"] == {"error": error}


def test_each_operation_has_commands_that_name_this_service(app: Flask) -> None:
    host = "https://models.example/under"
    document = app.test_client().get("/openapi.json", base_url=host).json
    without = set()
    for path, method, operation in operations(document):
        commands = [sample["source"] for sample in operation.get("x-codeSamples", ())]
        assert all(f"{host}/" in command and not re.search(r"{\w+}", command) for command in commands)
        if not commands:
            without.add((method, path))
    assert without == set()


def test_the_same_requests_come_in_parts_for_the_page_that_sends_them(app: Flask) -> None:
    client = app.test_client()
    document = client.get("/openapi.json", base_url="https://models.example/under").json
    for _, method, operation in operations(document):
        for sample in operation["x-codeSamples"]:
            request = sample["x-request"]
            assert request["method"] == method.upper()
            assert f"https://models.example/under/{request['path']}" in sample["source"]
            assert not {"body", "image"} <= set(request)
    paths = document["paths"]
    assert paths["/v1/config:reload"]["post"]["x-codeSamples"][0]["x-request"]["changes"] is True
    [sample] = paths["/v1/models"]["get"]["x-codeSamples"]
    assert sample["x-request"] == {"method": "GET", "path": "v1/models", "changes": False}


def test_where_keys_are_on_the_commands_send_one(tmp_path: Path) -> None:
    engine = FakeEngine(classifier("sign_language", 1, ("A", "B")))
    keys.append(tmp_path / "keys", keys.make("ops", "admin")[1])
    settings = Settings(store=tmp_path, api_keys_file=tmp_path / "keys")
    app = create_app(settings, engine, Metrics(engine), admits=access.read(settings).access())
    paths = app.test_client().get("/openapi.json").json["paths"]
    (command,) = paths["/v1/models"]["get"]["x-codeSamples"]
    assert '-H "X-API-Key: $SIGNPOST_API_KEY"' in command["source"]
    (command,) = paths["/readyz"]["get"]["x-codeSamples"]
    assert "API_KEY" not in command["source"]


def test_the_example_of_a_query_is_taken(app: Flask, document: Json) -> None:
    top_k = document["components"]["parameters"]["top_k"]["example"]
    client = app.test_client()
    image = client.get(f"/{EXAMPLE_IMAGE}", buffered=True).data
    answer = client.post(f"/v1/models/sign_language:predict?top_k={top_k}", data=image)
    assert len(answer.json["predictions"][0]["scores"]) == top_k


def test_the_form_is_taken_too(app: Flask) -> None:
    client = app.test_client()
    image = client.get(f"/{EXAMPLE_IMAGE}", buffered=True).data
    data = {"a": (io.BytesIO(image), "a.png"), "b": (io.BytesIO(image), "b.png")}
    answer = client.post("/v1/models/sign_language:predict", data=data)
    assert len(answer.json["predictions"]) == 2


def test_the_example_in_json_is_the_example_image(app: Flask, document: Json) -> None:
    body = document["paths"]["/v1/models/{name}:predict"]["post"]["requestBody"]["content"]
    encoded = body["application/json"]["examples"]["image"]["value"]["instances"][0]["b64"]
    assert base64.b64decode(encoded) == app.test_client().get(f"/{EXAMPLE_IMAGE}", buffered=True).data
    assert Image.open(io.BytesIO(base64.b64decode(encoded))).size == (28, 28)


def test_errors_have_the_form_that_is_described(app: Flask, document: Json) -> None:
    schema = document["components"]["schemas"]["Error"]
    client = app.test_client()
    for answer in (client.get("/v1/models/nosuch"), client.post("/v1/models/sign_language:predict", data=b"x")):
        assert str(answer.status_code) in document["paths"]["/v1/models/{name}:predict"]["post"]["responses"]
        Draft202012Validator(schema).validate(answer.json)


def test_the_page_shows_every_operation_and_loads_nothing_from_elsewhere(app: Flask, document: Json) -> None:
    answer = app.test_client().get("/docs")
    assert answer.status_code == 200
    assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
    for path, _, operation in operations(document):
        assert path in answer.text
        assert operation["summary"].split("`")[0] in answer.text.replace("&#39;", "'")
    assert re.findall(r"<script[^>]*>", answer.text) == ['<script type="module" src="static/docs.js">']
    elsewhere = re.sub(r"http://localhost/", "", answer.text)
    assert "http://" not in elsewhere
    assert "https://" not in elsewhere


def test_without_the_playground_the_description_stays(engine: FakeEngine) -> None:
    client: FlaskClient = create_app(
        Settings(playground=False), engine, Metrics(engine), admits=access.Access()
    ).test_client()
    assert "/" not in client.get("/openapi.json").json["paths"]
    assert 'href="."' not in client.get("/docs").text
