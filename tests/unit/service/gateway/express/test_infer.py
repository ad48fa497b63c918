"""Requests of the Open Inference Protocol on the express lane: answered and counted as Flask does, or left to it."""

import json
import time
from typing import Any

import numpy as np
import pytest

from service.config.settings import Settings
from service.errors import DeadlineExceeded
from service.gateway import create_app
from service.gateway.express.lane import Arrived, Express
from service.gateway.middleware.calls import FAILURE, Failure
from service.gateway.routes.metrics import Metrics
from service.interface import Array
from service.oip.tensors import to_bytes
from service.security import access
from service.security.access import Access
from tests.fakes import FakeEngine, FakeServable, signature, spec
from tests.unit.service.gateway.express.test_lane import counted, parse, post
from tests.unit.service.gateway.express.test_posts import read
from tests.unit.service.gateway.pictures import WHITE

LENGTH = "Inference-Header-Content-Length"
ELEMENT = to_bytes(np.array([WHITE], np.object_))
PIXELS = np.full((1, 2, 3, 3), 255, np.uint8).tobytes()
IMAGE = {"name": "image", "shape": [1], "datatype": "BYTES"}
TENSOR = {"name": "image", "shape": [1, 2, 3, 3], "datatype": "UINT8"}


def body(entry: dict[str, Any], data: bytes, **more: Any) -> tuple[bytes, int]:
    head = json.dumps({"inputs": [{**entry, "parameters": {"binary_data_size": len(data)}}], **more}).encode()
    return head + data, len(head)


def raw(path: str, sent: tuple[bytes, int], headers: str = "") -> bytes:
    whole, length = sent
    return (
        f"POST {path} HTTP/1.1\r\nHost: h\r\n{LENGTH}: {length}\r\n{headers}Content-Length: {len(whole)}\r\n\r\n"
    ).encode() + whole


def arrived(data: bytes) -> Arrived:
    found = read(data, 10**6)
    assert found is not None
    return Arrived(found, None, time.monotonic())


@pytest.fixture
def lane(settings: Settings, engine: FakeEngine) -> Express:
    return Express(settings, engine, Metrics(engine), Access())


SENT = {
    "image": body(IMAGE, ELEMENT),
    "column of one image": body({**IMAGE, "shape": [1, 1]}, ELEMENT, id="7"),
    "pixels": body(TENSOR, PIXELS, model_name="letters"),
    "classification": body(TENSOR, PIXELS, outputs=[{"name": "scores", "parameters": {"classification": 2}}]),
    "binary": body(IMAGE, ELEMENT, parameters={"binary_data_output": True, "timeout": 9_000_000}),
    "binary output": body(TENSOR, PIXELS, outputs=[{"name": "scores", "parameters": {"binary_data": True}}]),
}


@pytest.mark.parametrize("sent", SENT.values(), ids=SENT.keys())
@pytest.mark.parametrize("at", ["", "/versions/1", "/versions/stable"])
def test_it_answers_and_counts_as_flask_does(
    engine: FakeEngine, settings: Settings, at: str, sent: tuple[bytes, int]
) -> None:
    of_flask, of_express = Metrics(engine), Metrics(engine)
    path = f"/v2/models/letters{at}/infer"
    client = create_app(settings, engine, of_flask, admits=access.read(settings).access()).test_client()
    expected = client.post(path, data=sent[0], headers={LENGTH: str(sent[1]), "X-Request-ID": "seven"})
    assert expected.status_code == 200, expected.text
    lane = Express(settings, engine, of_express, Access())
    outcomes, count = lane.answer([arrived(raw(path, sent, "X-Request-ID: seven\r\n"))], True)
    count()
    [response] = outcomes
    assert isinstance(response, bytes)
    head, _, found = response.partition(b"\r\n\r\n")
    assert found == expected.data
    lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    for name, value in expected.headers.items():
        if name != "Server-Timing":
            assert lines[name] == value
    stages = [part.partition(";")[0] for part in lines["Server-Timing"].split(", ")]
    assert set(stages) == {part.partition(";")[0] for part in expected.headers["Server-Timing"].split(", ")}
    assert counted(of_express) == counted(of_flask)


def test_images_and_tensors_of_them_run_together(lane: Express, engine: FakeEngine) -> None:
    group = [
        post(WHITE),
        *(arrived(raw("/v2/models/letters/infer", sent)) for sent in (SENT["pixels"], SENT["image"])),
    ]
    outcomes, _ = lane.answer(group, True)
    assert [len(inputs["image"]) for inputs, _ in engine.servables[-1].asked] == [3]
    assert parse(outcomes[0])[2]["predictions"][0]["class"] == "C"  # type: ignore[index]
    for outcome in outcomes[1:]:
        assert parse(outcome)[2]["outputs"][0]["data"] == [0.0, 0.0, 1.0]  # type: ignore[index]


@pytest.mark.parametrize(
    "sent",
    [
        body(IMAGE, to_bytes(np.array([b"no image"], np.object_))),
        body(TENSOR, PIXELS[1:]),
        body({**TENSOR, "shape": [1, 18]}, PIXELS),
        body({**TENSOR, "datatype": "INT8"}, PIXELS),
        body({**TENSOR, "name": "x"}, PIXELS),
        body(IMAGE, ELEMENT, outputs=[{"name": "classes"}]),
        body(IMAGE, ELEMENT, parameters={"signature_name": "other"}),
        body(IMAGE, ELEMENT, parameters={"sequence_id": 1}),
        (b'{"shape": [1] ' + ELEMENT, 14),
    ],
)
def test_anything_else_is_left_to_flask(lane: Express, sent: tuple[bytes, int]) -> None:
    outcomes, count = lane.answer([arrived(raw("/v2/models/letters/infer", sent))], True)
    count()
    assert outcomes == [None]


def test_what_became_of_the_model_s_run_is_told_by_flask_which_runs_nothing_again(
    engine: FakeEngine, settings: Settings
) -> None:
    client = create_app(settings, engine, Metrics(engine), admits=access.read(settings).access()).test_client()
    whole, length = SENT["pixels"]
    answer = client.post(
        "/v2/models/letters/infer",
        data=whole,
        headers={LENGTH: str(length)},
        environ_overrides={FAILURE: Failure(DeadlineExceeded("No answer within it."))},
    )
    assert answer.status_code == 504
    assert engine.servables[-1].asked == []


def test_a_model_of_other_tensors_is_left_to_flask_from_then_on(lane: Express, engine: FakeEngine) -> None:
    def run(inputs: Any, _call: Any) -> dict[str, Array]:
        return dict(inputs)

    engine.servables.append(
        FakeServable(run, {"serving_default": signature([spec("image", "DT_UINT8", -1)], [])}, "plain")
    )
    for model, leaves in (("plain", True), ("nosuch", False), ("letters", False)):
        sent = arrived(raw(f"/v2/models/{model}/infer", SENT["pixels"]))
        assert lane.post_of(sent.post.head) is not None
        lane.answer([sent], True)
        assert (lane.post_of(sent.post.head) is None) == leaves


@pytest.mark.parametrize(
    "data",
    [
        raw("/v2/models/letters/infer", body({**IMAGE, "shape": [2]}, ELEMENT * 2)),
        raw("/v2/models/letters/infer", (b'{"shape":[1],"shape":[1]}' + ELEMENT, 25)),
        raw("/v2/models/letters/infer", (WHITE, 0)),
        raw("/v2/models/letters/infer", (ELEMENT, len(ELEMENT) + 1)),
        raw("/v2/models/letters/infer", SENT["image"]).replace(LENGTH.encode(), b"X-Other"),
        raw("/v2/models/letters/infer", SENT["image"], "Accept-Encoding: gzip\r\n"),
        raw("/v2/models/letters/infer", SENT["image"], "Content-Encoding: gzip\r\n"),
        raw("/v2/models/letters/versions/a:b/infer", SENT["image"]),
        raw("/v2/models/letters/infer", body(IMAGE, ELEMENT, id="x" * 3000)),
    ],
)
def test_what_is_unusual_is_not_even_taken(data: bytes) -> None:
    assert read(data, 10**6) is None


def test_what_has_come_so_far_may_tell_already() -> None:
    data = raw("/v2/models/letters/infer", SENT["image"])
    assert read(data[:-5], 10**6) is not None
    assert read(data[: data.index(b"\r\n\r\n") + 7], 10**6) is not None
    wide = raw("/v2/models/letters/infer", body({**IMAGE, "shape": [2]}, ELEMENT * 2))
    assert read(wide[:-5], 10**6) is None
