"""The express lane and Flask can't drift apart: the same bytes get the same answers, counts and lines in the log."""

import json
import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from random import Random
from typing import Any, Final

import numpy as np
import pytest

from service.config.settings import Settings
from service.errors import DeadlineExceeded, ModelFailed, Overloaded, Unavailable
from service.interface import Array, Call
from service.oip.tensors import to_bytes
from service.security import keys
from tests.fakes import FakeEngine, FakeServable, classifier
from tests.unit.service.gateway.pictures import BLACK, WHITE, flat
from tests.unit.service.http.fronts import Running, Told, read_answers, running

pytestmark = pytest.mark.slow  # thousands of requests

CASES: Final = 1500
# What differs from request to request, whoever answers it.
OF_THE_MOMENT: Final = ("date", "server-timing", "retry-after")
SETTINGS: Final = Settings(
    threads=4, max_body_bytes=4_000, max_image_bytes=3_000, max_image_pixels=10_000, access_log=True
)
KEY, RECORD = keys.make("someone", "predict")
# White, black, and those on which the model fails in each of its ways.
PICTURES: Final = (WHITE, BLACK, *(flat(level) for level in (110, 130, 150, 170)))
IMAGES: Final = (*PICTURES, b"junk", WHITE[:-20], b'{"instances": []}', b"x" * 3_500, b"x" * 5_000, b"")
TARGETS: Final = (
    *["/v1/models/letters:predict"] * 6,
    "/v1/models/letters/versions/1:predict",
    "/v1/models/letters/labels/stable:predict",
    "/v1/models/letters/versions/7:predict",
    "/v1/models/letters/labels/no:predict",
    "/v1/models/no:predict",
    "/v1/models/letters:predict?top_k=2",
    "/v1/models/letters:predit",
    "/V1/models/letters:predict",
    "/v1/models/plain:predict",
)
INFER_TARGETS: Final = (
    *["/v2/models/letters/infer"] * 5,
    "/v2/models/letters/versions/2/infer",
    "/v2/models/letters/versions/stable/infer",
    "/v2/models/no/infer",
    "/v2/models/plain/infer",
)
FIELDS: Final = (
    *["Content-Type: image/png"] * 6,
    "Content-Type: application/octet-stream",
    "Content-Type: application/json",
    "Content-Type: multipart/form-data; boundary=x",
    "",
)
MORE_FIELDS: Final = (
    "X-Request-Deadline-Ms: 5000",
    "X-Request-Deadline-Ms: 0",
    "X-Request-Deadline-Ms: soon",
    "X-Request-Deadline-Ms: 1",
    f"X-API-Key: {KEY}",
    f"Authorization: Bearer {KEY}",
    "X-API-Key: nobody",
    "Connection: close",
    "Accept-Encoding: gzip",
    "Content-Encoding: gzip",
    "Content-Encoding: br",
    "Origin: http://h",
    "Cookie: a=b",
    "X-Request-ID: not an id",
    "Accept: */*",
    "Host: h",
    "Range: bytes=0-1",
    "Te: trailers",
    "X-Model: caf\xe9",
)


def run(inputs: Mapping[str, Array], call: Call) -> Mapping[str, Array]:  # noqa: ARG001 - as it is called
    """Scores by the mean of the image; a grey one is what the model fails on."""
    image = inputs["image"]
    means = image.reshape(len(image), -1).mean(axis=1)
    for low, high, error in (
        (100, 120, ModelFailed("The model does not like grey.")),
        (121, 140, DeadlineExceeded("It took too long.")),
        (141, 160, Unavailable("It was unloaded.")),
        (161, 180, Overloaded("Too many.", 1.0)),
    ):
        if ((means >= low) & (means <= high)).any():
            raise error
    return {"scores": np.eye(3, dtype=np.float32)[(means > 127).astype(int) * 2]}


def engine() -> FakeEngine:
    made = FakeEngine(
        *(classifier("letters", version, ("A", "B", "C")) for version in (1, 2)),
        FakeServable(run, {}, "plain", 1),
        labels={"stable": 1},
    )
    for servable in made.servables[:2]:
        servable.run = run
    return made


@pytest.fixture(scope="module", params=["open", "keys", "cors"])
def both(request: pytest.FixtureRequest) -> Iterator[tuple[Running, Running]]:
    settings = {
        "open": SETTINGS,
        "keys": replace(SETTINGS, api_keys=RECORD.line),
        "cors": replace(SETTINGS, rest_api_enable_cors_support=True),
    }[request.param]
    with running(engine(), settings) as express, running(engine(), settings, has_express=False) as flask:
        yield express, flask


def draw(rng: Random, number: int) -> list[bytes]:
    """The bytes of a request, in the pieces in which they are sent."""
    fields = ["Host: h", f"X-Request-ID: case-{number}"]
    if rng.random() < 0.3:
        target = rng.choice(INFER_TARGETS)
        pixels = np.full((1, 2, 3, 3), rng.choice([0, 50, 110, 130, 150, 170, 255]), np.uint8).tobytes()
        data, entry = rng.choice(
            [
                (to_bytes(np.array([rng.choice(IMAGES)], np.object_)), {"shape": [1], "datatype": "BYTES"}),
                (pixels, {"shape": [1, 2, 3, 3], "datatype": "UINT8"}),
                (pixels, {"shape": [1, 18], "datatype": "UINT8"}),
                (pixels[:-1], {"shape": [1, 2, 3, 3], "datatype": "UINT8"}),
            ]
        )
        tensor = {"name": rng.choice(["image", "image", "x"]), **entry, "parameters": {"binary_data_size": len(data)}}
        more = rng.choice([{}, {"id": "7"}, {"parameters": {"timeout": 1_000_000}}, {"outputs": [{"name": "scores"}]}])
        head = json.dumps({"inputs": [tensor], **more}).encode()
        body = head + data
        fields.append(f"Inference-Header-Content-Length: {rng.choice([len(head)] * 6 + [0, 1, len(body) + 1])}")
    else:
        target, body = rng.choice(TARGETS), rng.choice((WHITE, BLACK) * 4 + PICTURES + IMAGES)
        fields.append(rng.choice(FIELDS))
    fields += rng.sample(MORE_FIELDS, rng.choice([0, 0, 1, 1, 2]))
    if rng.random() < 0.7:
        fields.append(f"X-API-Key: {KEY}")
    length = len(body) + rng.choice([0] * 30 + [-1])
    if not any(field.startswith("Connection") for field in fields):
        fields.append("Connection: close")
    lines = "".join(f"{field}\r\n" for field in fields if field)
    first = f"POST {target} HTTP/1.{rng.choice('1111110')}\r\n"
    sent = f"{first}{lines}Content-Length: {max(0, length)}\r\n\r\n".encode("latin-1") + body
    cut = rng.choice([len(sent)] * 3 + [rng.randrange(len(sent)) for _ in range(2)])
    return [piece for piece in (sent[:cut], sent[cut:]) if piece]


def ask(front: Running, pieces: list[bytes]) -> list[Told]:
    with front.client() as client:
        for number, piece in enumerate(pieces):
            if number:
                time.sleep(0.002)  # so that it comes apart; it may come together all the same
            client.sendall(piece)
        return read_answers(client)


def shown(told: Told) -> tuple[int, dict[str, str], bytes]:
    headers = {name: value for name, value in told.headers.items() if name not in OF_THE_MOMENT}
    if "case-" not in headers["x-request-id"]:
        headers["x-request-id"] = "drawn"
    return told.status, headers, told.body


def stages(told: Told) -> set[str]:
    return {part.partition(";")[0] for part in told.headers["server-timing"].split(", ")}


def counts(front: Running) -> Counter[tuple[Any, ...]]:
    """All counts but those of times, lanes and processes."""
    return Counter(
        {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in front.metrics.collect()
            for sample in family.samples
            if sample.name.startswith("signpost_")
            and not sample.name.startswith(("signpost_lane_", "signpost_process", "signpost_front", "signpost_queue"))
            and not sample.name.endswith(("_sum", "_bucket", "_created", "_seconds", "_seconds_total"))
        }
    )


def line_of(caplog: pytest.LogCaptureFixture, request_id: str) -> list[dict[str, Any]]:
    """What the log tells of a request, but times."""
    found = [dict(record.fields) for record in caplog.records if hasattr(record, "fields")]
    caplog.clear()
    told = [each for each in found if each["request_id"] == request_id]
    return [{name: value for name, value in each.items() if not name.endswith("_ms")} for each in told]


def test_the_same_bytes_get_the_same_answers(both: tuple[Running, Running], caplog: pytest.LogCaptureFixture) -> None:
    express, flask = both
    rng = Random(7)
    caplog.set_level(logging.INFO)
    for number in range(CASES):
        pieces = draw(rng, number)
        found = ask(express, pieces)
        logged = line_of(caplog, f"case-{number}")
        expected = ask(flask, pieces)
        expected_lines = line_of(caplog, f"case-{number}")
        about = (number, pieces)
        assert [shown(told) for told in found] == [shown(told) for told in expected], about
        assert [stages(told) for told in found] == [stages(told) for told in expected], about
        assert logged == expected_lines, about
    assert counts(express) == counts(flask)
    lanes = express.counted("signpost_lane_requests_total")
    assert lanes[("express",)] > CASES / 20
    assert lanes[("flask",)] > CASES / 20
    assert "express" not in {lane for (lane,) in flask.counted("signpost_lane_requests_total")}


def test_clients_that_leave_cost_neither_lane_anything(both: tuple[Running, Running]) -> None:
    rng = Random(8)
    for front in both:
        for number in range(100):
            pieces = draw(rng, number)
            with front.client() as client:
                for piece in pieces[: rng.choice([1, 2])]:
                    client.sendall(piece[: rng.randrange(len(piece) + 1)])
        fields = f"Host: h\r\nContent-Type: image/png\r\nConnection: close\r\nX-API-Key: {KEY}\r\n"
        head = f"POST /v1/models/letters:predict HTTP/1.1\r\n{fields}Content-Length: {len(WHITE)}\r\n\r\n"
        [told] = ask(front, [head.encode() + WHITE])
        assert told.status == 200
