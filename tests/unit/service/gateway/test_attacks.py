"""Thousands of malformed requests to every route of the application: none is answered with a 500."""

import collections
import io
import json
import logging
import re
from collections.abc import Mapping
from random import Random
from typing import Any
from wsgiref.util import setup_testing_defaults

import numpy as np
import pytest
from flask import Flask
from PIL import Image
from werkzeug.test import run_wsgi_app

from loadtests.faults.hostile import Hostile, Request
from service.config.settings import Settings
from service.engine.batching.batch import count_rows
from service.engine.inputs import check_call
from service.gateway import create_app
from service.gateway.routes.metrics import Metrics
from service.interface import Answer, Array, Call
from service.security import access
from tests.fakes import FakeEngine, FakeServable, classifier, signature, spec

REQUESTS = 4000


def picture() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(file, "PNG")
    return file.getvalue()


class Strict(FakeServable):
    """Looks at what it is given as a real one does."""

    def predict(self, inputs: Mapping[str, Array], call: Call) -> Answer:
        check_call(self, inputs, call)
        count_rows(inputs)
        return super().predict(inputs, call)


def strict(inner: FakeServable) -> FakeServable:
    return Strict(inner.run, inner.signatures, inner.name, inner.version, inner.classes)


def tensors() -> FakeServable:
    """Takes a tensor of each kind and answers with numbers that JSON has no words for."""
    inputs = [
        spec("x", "DT_FLOAT", -1, -1), spec("n", "DT_INT64", -1), spec("b", "DT_BOOL", -1), spec("s", "DT_STRING", -1),
    ]  # fmt: skip
    outputs = [spec("y", "DT_FLOAT", -1)]

    def run(_inputs: object, _call: object) -> dict[str, np.ndarray]:
        return {"y": np.array([np.nan, np.inf], np.float32)}

    examples = signature([spec("inputs", "DT_STRING", -1)], [spec("outputs", "DT_FLOAT", -1)])
    signatures = {"serving_default": signature(inputs, outputs), "one": signature(inputs[:1], outputs), "ex": examples}
    return FakeServable(run, signatures, name="tensors")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def app() -> Flask:
    engine = FakeEngine(strict(classifier("letters", 1, ("A", "B", "C"))), strict(tensors()), labels={"stable": 1})
    settings = Settings(max_body_bytes=50_000, max_image_bytes=20_000, max_image_pixels=100_000, max_images=3)
    return create_app(settings, engine, Metrics(engine), admits=access.read(settings).access())


def routes(app: Flask) -> list[tuple[str, str]]:
    """Methods and paths, with `<>` where anything may stand."""
    return [
        (method, re.sub("<[^>]*>", "<>", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    ]


def send(app: Flask, request: Request) -> int:
    """The status of the answer, as the gateway gives it to gunicorn."""
    path, _, query = request.path.partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        # What follows % is a byte, and bytes are written as Latin-1.
        "PATH_INFO": re.sub("%([0-9A-Fa-f]{2})", lambda found: chr(int(found[1], 16)), path),
        "QUERY_STRING": query,
        "CONTENT_LENGTH": str(len(request.body)),
        "wsgi.input": io.BytesIO(request.body),
        "HTTP_HOST": "x",
    }
    for name, value in request.headers:
        key = name.upper().replace("-", "_")
        environ[key if key == "CONTENT_TYPE" else f"HTTP_{key}"] = value.encode("latin-1", "replace").decode("latin-1")
    setup_testing_defaults(environ)
    chunks, status, headers = run_wsgi_app(app, environ, buffered=True)
    body = b"".join(chunks)
    code = int(status.split()[0])
    if code >= 400 and request.method != "HEAD":
        error = json.loads(body)["error"]
        assert "\n" not in error
        assert "Traceback" not in error
        assert headers["X-Request-ID"]
    return code


@pytest.mark.parametrize("model", ["letters", "tensors"])
def test_no_request_is_answered_with_a_500(app: Flask, caplog: pytest.LogCaptureFixture, model: str) -> None:
    caplog.set_level(logging.ERROR)
    hostile = Hostile(Random(2026), routes(app), model, picture())
    statuses: collections.Counter[int] = collections.Counter()
    for number in range(REQUESTS // 2):
        request = hostile.request()
        status = send(app, request)
        assert status < 500 or status in (501, 503), (number, request, request.body, caplog.text)
        statuses[status] += 1
    # It is not one door that turned them all away.
    assert {200, 400, 404, 405, 413, 415} <= set(statuses), statuses
    assert statuses[200] > REQUESTS // 100
