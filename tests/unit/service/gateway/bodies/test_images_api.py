"""Images as they are: plain bodies and forms in, classes and scores out."""

import base64
import gc
import io
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.datastructures import FileStorage, MultiDict

from service.config.settings import Settings
from service.engine.rejecting import RejectingEngine
from service.gateway import create_app
from service.gateway.routes.metrics import Metrics
from service.interface import DEFAULT_SIGNATURE, Engine
from service.security.access import Access
from tests.fakes import FakeEngine, FakeServable, classifier, signature, spec
from tests.unit.service.gateway.pictures import BLACK, GREY, WHITE, flat

LETTERS = "/v1/models/letters:predict"
WHITE_ENTRY = {"class": "C", "score": 1.0, "scores": {"A": 0.0, "B": 0.0, "C": 1.0}}
BLACK_ENTRY = {"class": "A", "score": 1.0, "scores": {"A": 1.0, "B": 0.0, "C": 0.0}}


def form(*files: bytes, name: str = "image") -> dict[str, Any]:
    """The arguments of a form upload."""
    data = MultiDict((name, FileStorage(io.BytesIO(file), f"{n}.png")) for n, file in enumerate(files))
    return {"data": data, "content_type": "multipart/form-data"}


@pytest.mark.parametrize("content_type", ["image/png", "image/jpeg", "image/*", "IMAGE/PNG; x=y"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_a_plain_image_is_answered_with_its_class(client: FlaskClient, kind: str, content_type: str) -> None:
    """What counts are the bytes, not what the client says they are."""
    answer = client.post(LETTERS, data=flat(255, kind), content_type=content_type)
    assert answer.status_code == 200
    assert answer.json == {"model": {"name": "letters", "version": 2}, "predictions": [WHITE_ENTRY]}
    assert answer.mimetype == "application/json"


@pytest.mark.parametrize(
    "content_type",
    [None, "application/x-www-form-urlencoded", "application/octet-stream", "binary/octet-stream", "text/plain"],
)
def test_under_a_vague_content_type_both_images_and_json_are_taken(
    client: FlaskClient, content_type: str | None
) -> None:
    assert client.post(LETTERS, data=BLACK, content_type=content_type).json["predictions"] == [BLACK_ENTRY]
    document = b' \r\n{"instances": [{"b64": "%s"}]}' % base64.b64encode(WHITE)
    answer = client.post(LETTERS, data=document, content_type=content_type)
    assert answer.json == {"predictions": [{"classes": ["A", "B", "C"], "scores": [0.0, 0.0, 1.0]}]}


def test_the_files_of_a_form_are_answered_in_their_order(client: FlaskClient) -> None:
    answer = client.post(LETTERS, **form(WHITE, BLACK, WHITE))
    assert answer.json["predictions"] == [WHITE_ENTRY, BLACK_ENTRY, WHITE_ENTRY]


def test_files_may_have_any_field_name(client: FlaskClient) -> None:
    data = {"b": (io.BytesIO(WHITE), "1.png"), "a": (io.BytesIO(BLACK), "2.png"), "note": "hello"}
    answer = client.post(LETTERS, data=data, content_type="multipart/form-data")
    assert answer.json["predictions"] == [WHITE_ENTRY, BLACK_ENTRY]


def test_all_images_of_a_request_run_together(client: FlaskClient, engine: FakeEngine) -> None:
    client.post(LETTERS, **form(WHITE, BLACK))
    ((inputs, call),) = engine.servables[1].asked
    assert inputs["image"].shape == (2, 2, 3, 3)
    assert inputs["image"].dtype == np.uint8
    assert call.outputs == ("scores",)


@pytest.mark.parametrize(
    ("route", "version"),
    [
        ("/v1/models/letters:predict", 2),
        ("/v1/models/letters/versions/1:predict", 1),
        ("/v1/models/letters/versions/2:predict", 2),
        ("/v1/models/letters/labels/stable:predict", 1),
    ],
)
def test_a_version_and_a_label_can_be_asked_for(client: FlaskClient, route: str, version: int) -> None:
    answer = client.post(route, data=WHITE, content_type="image/png")
    assert answer.json["model"] == {"name": "letters", "version": version}
    assert answer.headers["X-Model-Version"] == str(version)


@pytest.mark.parametrize(
    ("top_k", "scores"),
    [
        ("1", {"A": 0.8}),
        ("2", {"A": 0.8, "C": 0.2}),
        ("3", {"A": 0.8, "C": 0.2, "B": 0.0}),
        ("999", {"A": 0.8, "C": 0.2, "B": 0.0}),
    ],
)
def test_top_k_tells_the_highest_scores_first(client: FlaskClient, top_k: str, scores: dict[str, float]) -> None:
    entry = client.post(f"{LETTERS}?top_k={top_k}", data=GREY, content_type="image/png").json["predictions"][0]
    assert list(entry["scores"]) == list(scores)
    assert entry["scores"] == pytest.approx(scores)
    assert entry["class"] == "A"


@pytest.mark.parametrize("top_k", ["0", "-1", "x", "", "1.5", "+1", "²", "99999999", "1" * 5000])
def test_top_k_must_be_a_whole_number_of_at_least_one(client: FlaskClient, top_k: str) -> None:
    answer = client.post(LETTERS, query_string={"top_k": top_k}, data=WHITE, content_type="image/png")
    assert answer.status_code == 400
    assert "top_k must be a whole number of at least 1" in answer.json["error"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "The image is empty (0 bytes)"),
        (b"no image", "This is not an image: it is text"),
        (WHITE[:40], "its header is corrupt or truncated"),
        (WHITE[:-20], "can't be decoded"),
    ],
)
def test_what_is_no_image_is_400_and_told(client: FlaskClient, engine: FakeEngine, body: bytes, says: str) -> None:
    answer = client.post(LETTERS, data=body, content_type="image/png")
    assert answer.status_code == 400
    assert says in answer.json["error"]
    assert engine.servables[1].asked == []


def test_a_bad_image_among_several_has_an_error_in_its_place(client: FlaskClient) -> None:
    answer = client.post(f"{LETTERS}?top_k=3", **form(WHITE, b"no image", BLACK))
    assert answer.status_code == 200
    first, second, third = answer.json["predictions"]
    assert (first["class"], third["class"]) == (WHITE_ENTRY["class"], BLACK_ENTRY["class"])
    assert second.keys() == {"error"}
    assert second["error"].startswith("This is not an image")


def test_all_or_nothing_refuses_the_request_for_one_bad_image(client: FlaskClient) -> None:
    answer = client.post(f"{LETTERS}?all_or_nothing=true", **form(WHITE, b"no image"))
    assert answer.status_code == 400
    assert answer.json["error"].startswith("Image 1: This is not an image")
    assert client.post(f"{LETTERS}?all_or_nothing=true", **form(WHITE, WHITE)).status_code == 200
    answer = client.post(f"{LETTERS}?all_or_nothing=maybe", **form(WHITE))
    assert answer.status_code == 400
    assert "all_or_nothing must be true or false, not 'maybe'" in answer.json["error"]


def test_where_every_image_is_bad_the_first_one_tells_why(client: FlaskClient) -> None:
    answer = client.post(LETTERS, **form(b"no image", b"nor this"))
    assert answer.status_code == 400
    assert answer.json["error"].startswith("Image 0: This is not an image")


def test_a_file_that_curl_has_altered_is_answered_with_the_right_flag(client: FlaskClient) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (40, 40, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    sent = bytes(byte for byte in file.getvalue() if byte not in b"\r\n\0")  # what `curl -d @FILE` makes of it
    answer = client.post(LETTERS, data=sent, content_type="application/x-www-form-urlencoded")
    assert answer.status_code == 400
    assert answer.json["error"].endswith("use curl --data-binary @FILE.")
    for data, kind in ((sent, "image/png"), (b"no image", "application/x-www-form-urlencoded")):
        assert "--data-binary" not in client.post(LETTERS, data=data, content_type=kind).json["error"]


def test_an_answer_ends_with_a_line_break(client: FlaskClient) -> None:
    for answer in (
        client.post(LETTERS, data=WHITE, content_type="image/png"),
        client.post(LETTERS, json={"instances": [{"b64": base64.b64encode(WHITE).decode()}]}),
    ):
        assert answer.data.endswith(b"}\n")
        assert int(answer.headers["Content-Length"]) == len(answer.data)


def test_a_form_without_files_is_400(client: FlaskClient) -> None:
    for data in ({}, {"note": "hello"}):
        answer = client.post(LETTERS, data=data, content_type="multipart/form-data")
        assert answer.status_code == 400
        assert "contains no image" in answer.json["error"]


def test_a_broken_form_is_400(client: FlaskClient) -> None:
    for kind in ("multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=x"):
        answer = client.post(LETTERS, data=b"--x\r\nnonsense", content_type=kind)
        assert answer.status_code == 400
        assert answer.json["error"]


def test_too_many_images_are_413(client: FlaskClient) -> None:
    answer = client.post(LETTERS, **form(*[WHITE] * 4))
    assert answer.status_code == 413
    assert answer.json["error"] == "The request contains 4 images; at most 3 are allowed."


# Werkzeug's parser leaves the files of a form that it refuses to the garbage collector.
@pytest.mark.filterwarnings("ignore:Unclosed file:ResourceWarning")
@pytest.mark.parametrize("count", [100, 1000])
def test_a_form_of_very_many_parts_is_413(client: FlaskClient, count: int) -> None:
    answer = client.post(LETTERS, **form(*[b""] * count))
    assert answer.status_code == 413
    assert "error" in answer.json
    gc.collect()  # here, where the filter holds


def test_an_image_beyond_the_limits_is_413(client: FlaskClient) -> None:
    large = flat(0, "BMP", (80, 80))
    answer = client.post(LETTERS, data=large, content_type="image/bmp")
    assert answer.status_code == 413
    assert answer.json["error"] == f"The image has {len(large)} bytes; at most 5000 are allowed."
    answer = client.post(LETTERS, data=flat(0, "PNG", (101, 100)), content_type="image/png")
    assert answer.status_code == 413
    assert answer.json["error"] == "The image has 101x100 pixels; at most 10000 are allowed."


def test_a_model_that_takes_no_images_is_415(client: FlaskClient, engine: FakeEngine) -> None:
    plain = signature([spec("x", "DT_FLOAT", -1)], [spec("y", "DT_FLOAT", -1)])
    engine.servables.append(FakeServable(lambda inputs, _: {"y": inputs["x"]}, {DEFAULT_SIGNATURE: plain}, "sums"))
    engine.servables.append(FakeServable(lambda inputs, _: {"y": inputs["x"]}, {"other": plain}, "odd"))
    for name in ("sums", "odd"):
        answer = client.post(f"/v1/models/{name}:predict", data=WHITE, content_type="image/png")
        assert answer.status_code == 415
        assert f"GET /v1/models/{name}/metadata" in answer.json["error"]


@pytest.mark.parametrize("content_type", ["text/html", "application/xml", "video/mp4", "multipart/mixed; boundary=x"])
def test_another_content_type_is_415(client: FlaskClient, content_type: str) -> None:
    answer = client.post(LETTERS, data=WHITE, content_type=content_type)
    assert answer.status_code == 415
    assert "send image/*, multipart/form-data with files, or application/json" in answer.json["error"]


@pytest.mark.parametrize("reject", [False, True])
def test_strangers_are_told_and_rejected_where_that_is_wanted(settings: Settings, reject: bool) -> None:
    telling = FakeEngine(classifier("letters", 2, ("A", "B", "C"), tells=True))
    engine: Engine = RejectingEngine(telling) if reject else telling
    client = create_app(settings, engine, Metrics(engine), admits=Access()).test_client()
    black, white = client.post(LETTERS, **form(BLACK, WHITE)).json["predictions"]
    assert white == WHITE_ENTRY | {"in_domain": True}
    rejected = {"class": None, "score": 0.0, "scores": dict.fromkeys("ABC", 0.0)}
    assert black == (rejected if reject else BLACK_ENTRY) | {"in_domain": False}
    tensors = client.post(LETTERS, json={"instances": [{"b64": base64.b64encode(BLACK).decode()}]}).json
    expected = [0.0, 0.0, 0.0] if reject else [1.0, 0.0, 0.0]
    [row] = tensors["predictions"]
    assert (row["classes"], row["scores"]) == (["A", "B", "C"], expected)
    assert row["in_domain"] == pytest.approx(0.1)
