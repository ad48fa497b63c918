"""What is asked: kinds, requests, the plan on its way to the generator, and what the service counts."""

import io
import json
from email import message_from_bytes
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loadtests.load import ways
from loadtests.plan import plan, shapes
from loadtests.plan.plan import Kind, Plan
from loadtests.subject import metrics, pictures
from service import protocol
from service.errors import SettingsError
from tests.fakes import classifier_signature, signature, spec

PIXELS = classifier_signature(height=28, width=28, channels=1)


def one(way: str, images: int = 1, folder: str = "") -> ways.Request:
    return next(ways.requests(Kind(way, "m", images), PIXELS, folder))


def test_kinds_are_every_way_with_every_model() -> None:
    found = plan.kinds(["image=3", "multipart", "multipart:4=2"], ["a", "b=2"])
    assert [(each.way, each.model, each.images, each.weight) for each in found] == [
        ("image", "a", 1, 3), ("image", "b", 1, 6), ("multipart", "a", 8, 1), ("multipart", "b", 8, 2),
        ("multipart", "a", 4, 2), ("multipart", "b", 4, 4),
    ]  # fmt: skip
    assert [str(each) for each in found[:3]] == ["a, image", "b, image", "a, multipart of 8"]


@pytest.mark.parametrize(
    "way", ["post", "image:2", "multipart:0", "multipart:x", "image=0", "image=x", "image=inf", ""]
)
def test_what_is_no_way_is_told_the_ways(way: str) -> None:
    with pytest.raises(SettingsError, match=r"--way takes image, multipart, b64, arrays, grpc|A weight is a number"):
        plan.kinds([way], ["m"])


def test_a_plan_comes_back_as_it_was_written(tmp_path: Path) -> None:
    made = Plan(
        "http://h", "h:1", plan.kinds(["image"], ["m"]), shapes.read("spike", 9), "poisson", 7, 2, "x", 3.0, 4, "f"
    )
    made.write(tmp_path / "plan.json")
    assert Plan.read(tmp_path / "plan.json") == made


def test_requests_hold_what_their_way_says() -> None:
    image = one("image")
    assert (image.path, image.content_type) == ("/v1/models/m:predict", "image/png")
    assert Image.open(io.BytesIO(image.body)).size == (28, 28)
    form = one("multipart", 3)
    parts = message_from_bytes(f"Content-Type: {form.content_type}\n\n".encode() + form.body).get_payload()
    assert len(parts) == 3
    assert one("b64", 2).body.count(b'{"b64":') == 2
    assert np.shape(json.loads(one("arrays", 2).body)["instances"]) == (2, 28, 28, 1)
    message = protocol.predict_pb2.PredictRequest.FromString(one("grpc", 2).body)
    assert message.model_spec.name == "m"
    assert protocol.from_tensor_proto(message.inputs["image"]).shape == (2, 28, 28, 1)


def test_requests_of_a_kind_differ() -> None:
    assert len({request.body for request in ways.requests(Kind("image", "m"), PIXELS)}) == 8


def test_a_large_model_is_sent_photographs_and_a_small_one_drawings_of_its_size() -> None:
    kind, images = pictures.for_model(2, 150, 150, 3)
    assert (kind, Image.open(io.BytesIO(images[0])).size) == ("image/jpeg", (500, 375))
    assert 15_000 < len(images[0]) < 60_000
    kind, images = pictures.for_model(1, 32, 30, 3)
    assert (kind, Image.open(io.BytesIO(images[0])).size, Image.open(io.BytesIO(images[0])).mode) == (
        "image/png",
        (32, 30),
        "RGB",
    )


def test_images_may_come_from_a_folder_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name, image in zip(("a.png", "deep/b.PNG", "c.txt"), pictures.drawings(3), strict=True):
        (tmp_path / name).write_bytes(image)
    found = [request.body for request in ways.requests(Kind("image", "m"), PIXELS, str(tmp_path))]
    assert set(found) == set(pictures.drawings(2))
    assert one("image", folder=str(tmp_path / "a.png")).body == pictures.drawings(1)[0]
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingsError, match="empty contains no images"):
        one("image", folder=str(tmp_path / "empty"))


def test_a_model_that_takes_no_images_is_sent_numbers() -> None:
    made = signature([spec("x", "DT_FLOAT", -1, 3), spec("n", "DT_INT32", -1)], [spec("y", "DT_FLOAT", -1)])
    document = json.loads(next(ways.requests(Kind("arrays", "m", 2), made)).body)
    assert np.shape(document["inputs"]["x"]) == (2, 3)
    assert np.shape(document["inputs"]["n"]) == (2,)
    message = protocol.predict_pb2.PredictRequest.FromString(next(ways.requests(Kind("grpc", "m", 2), made)).body)
    assert protocol.from_tensor_proto(message.inputs["x"]).shape == (2, 3)
    with pytest.raises(SettingsError, match="m takes no images; --way arrays"):
        next(ways.requests(Kind("image", "m"), made))


def test_a_model_of_strings_is_refused() -> None:
    made = signature([spec("x", "DT_STRING", -1)], [spec("y", "DT_FLOAT", -1)])
    with pytest.raises(SettingsError, match="Input x has the type DT_STRING"):
        next(ways.requests(Kind("arrays", "m"), made))


def test_batches_are_what_came_between_two_looks_at_the_metrics() -> None:
    before = {"a": {1.0: 5.0, 2.0: 6.0, 4.0: 6.0, float("inf"): 6.0}}
    after = {
        "a": {1.0: 8.0, 2.0: 9.0, 4.0: 19.0, float("inf"): 20.0},
        "b": {1.0: 1.0, float("inf"): 1.0},
        "c": {1.0: 0.0},
    }
    assert metrics.between(before, after) == {"a": {"1": 3, "2": 0, "3-4": 10, "> 4": 1}, "b": {"1": 1, "> 1": 0}}
    assert metrics.between(None, None) == {}
