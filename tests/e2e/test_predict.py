"""Train, publish, serve, ask: the whole line with the real command, in every form of request."""

import base64
import io
import json
import re
from pathlib import Path

import grpc
import numpy as np
import pytest
import requests

from service import protocol
from service.images import decode
from tests.e2e.processes import Server

CLASSES = ["1", "2", "3", "4", "5"]
Pictures = dict[int, bytes]


def check_prediction(prediction: dict[str, object], count: int) -> None:
    scores = prediction["scores"]
    assert isinstance(scores, dict)
    assert list(scores) == CLASSES
    assert sum(scores.values()) == pytest.approx(1, abs=1e-3)
    assert prediction["class"] == str(count)
    assert prediction["score"] == max(scores.values())


@pytest.mark.parametrize("content_type", ["image/png", "application/octet-stream", "application/x-www-form-urlencoded"])
def test_a_plain_image_is_answered_with_its_class(server: Server, pictures: Pictures, content_type: str) -> None:
    for count, picture in pictures.items():
        answer = requests.post(server.predict_url(), data=picture, headers={"Content-Type": content_type}, timeout=60)
        assert answer.status_code == 200, answer.text
        assert answer.json()["model"] == {"name": "circles", "version": 1}
        [prediction] = answer.json()["predictions"]
        check_prediction(prediction, count)


def test_three_files_of_a_form_are_answered_in_order(server: Server, pictures: Pictures) -> None:
    files = [("file", (f"{count}.png", pictures[count])) for count in (3, 1, 2)]
    answer = requests.post(server.predict_url(), files=files, timeout=60)
    assert [p["class"] for p in answer.json()["predictions"]] == ["3", "1", "2"]


def test_encoded_images_in_json(server: Server, pictures: Pictures) -> None:
    instances = [{"b64": base64.b64encode(pictures[count]).decode()} for count in (2, 3)]
    answer = requests.post(server.predict_url(), json={"instances": instances}, timeout=60)
    assert answer.status_code == 200, answer.text
    found = [p["classes"][int(np.argmax(p["scores"]))] for p in answer.json()["predictions"]]
    assert found == ["2", "3"]


def test_arrays_get_the_scores_of_the_image_they_were_decoded_from(server: Server, pictures: Pictures) -> None:
    pixels = decode(pictures[4], 32, 32, 1)
    by_array = requests.post(server.predict_url(), json={"instances": [pixels.tolist()]}, timeout=60).json()
    by_column = requests.post(server.predict_url(), json={"inputs": {"image": [pixels.tolist()]}}, timeout=60).json()
    by_image = requests.post(server.predict_url(), data=pictures[4], timeout=60).json()
    scores = list(by_image["predictions"][0]["scores"].values())
    assert by_array["predictions"][0]["scores"] == pytest.approx(scores, abs=1e-5)
    assert by_column["outputs"]["scores"][0] == pytest.approx(scores, abs=1e-5)


def test_top_k_keeps_the_best(server: Server, pictures: Pictures) -> None:
    answer = requests.post(server.predict_url() + "?top_k=2", data=pictures[1], timeout=60).json()
    scores = answer["predictions"][0]["scores"]
    assert len(scores) == 2
    assert next(iter(scores)) == "1"


def test_grpc_gives_the_same_scores(server: Server, pictures: Pictures) -> None:
    request = protocol.predict_pb2.PredictRequest()
    request.model_spec.name = "circles"
    request.inputs["image"].CopyFrom(protocol.to_tensor_proto(decode(pictures[5], 32, 32, 1)[None]))
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = protocol.prediction_service_pb2_grpc.PredictionServiceStub(channel)
        answer = stub.Predict(request, timeout=60)
        request.model_spec.name = "nosuch"
        with pytest.raises(grpc.RpcError) as refused:
            stub.Predict(request, timeout=60)
    assert answer.model_spec.version.value == 1
    by_image = requests.post(server.predict_url(), data=pictures[5], timeout=60).json()
    scores = protocol.from_tensor_proto(answer.outputs["scores"])
    assert scores[0].tolist() == pytest.approx(list(by_image["predictions"][0]["scores"].values()), abs=1e-5)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND  # type: ignore[attr-defined]
    assert "Servable not found" in refused.value.details()  # type: ignore[attr-defined]


def test_every_answer_says_who_and_how_long(server: Server, pictures: Pictures) -> None:
    headers = {"X-Request-ID": "abc-123"}
    answer = requests.post(server.predict_url(), data=pictures[1], headers=headers, timeout=60)
    assert answer.headers["X-Request-ID"] == "abc-123"
    assert answer.headers["X-Model-Version"] == "1"
    assert re.findall(r"(\w+);dur=[\d.]+", answer.headers["Server-Timing"]) == [
        "decode", "queue", "infer", "encode", "total",
    ]  # fmt: skip
    refused = requests.post(server.predict_url("nosuch"), data=pictures[1], timeout=60)
    assert len(refused.headers["X-Request-ID"]) >= 16


def test_status_metadata_health_and_metrics(server: Server, pictures: Pictures) -> None:
    status = requests.get(f"{server.url}/v1/models/circles", timeout=60).json()
    assert status["model_version_status"][0]["state"] == "AVAILABLE"
    metadata = requests.get(f"{server.url}/v1/models/circles/metadata", timeout=60).json()
    image = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]["image"]
    assert image["dtype"] == "DT_UINT8"
    assert requests.get(f"{server.url}/healthz", timeout=60).status_code == 200
    assert requests.get(f"{server.url}/readyz", timeout=60).json()["ready"] is True
    requests.post(server.predict_url(), data=pictures[1], timeout=60)
    metrics = requests.get(f"{server.url}/metrics", timeout=60).text
    assert 'signpost_version_state{model="circles",state="AVAILABLE",version="1"} 1.0' in metrics
    assert 'signpost_stage_seconds_count{model="circles",stage="infer",version="1"}' in metrics


def large_png() -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new("1", (9000, 9000)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("path", "send", "status", "says"),
    [
        ("/v1/models/circles:predict", {"data": b""}, 400, "empty"),
        ("/v1/models/circles:predict", {"data": b"hello", "headers": {"Content-Type": "image/png"}}, 400, "it is text"),
        ("/v1/models/circles:predict", {"data": b"{"}, 400, "not JSON"),
        ("/v1/models/circles:predict", {"json": {"instances": [[1, 2]]}}, 400, "shape"),
        ("/v1/models/circles:predict", {"json": {"instances": [], "inputs": []}}, 400, "either"),
        ("/v1/models/circles:predict?top_k=0", {"data": large_png()[:100]}, 400, "top_k"),
        ("/v1/models/nosuch:predict", {"json": {"instances": [1]}}, 404, "nosuch"),
        ("/v1/models/circles/versions/9:predict", {"json": {"instances": [1]}}, 404, "available: 1"),
        ("/v1/models/circles/labels/stable:predict", {"json": {"instances": [1]}}, 404, "stable"),
        ("/v1/models/circles", {"data": b""}, 405, "use GET"),
        ("/nowhere", {"data": b""}, 404, "/v1/models"),
        ("/v1/models/circles:predict", {"data": large_png()}, 413, "9000x9000"),
        ("/v1/models/circles:predict", {"data": b"x" * (64 * 2**20 + 1)}, 413, "67108864 bytes"),
        ("/v1/models/circles:predict", {"data": b"x", "headers": {"Content-Type": "video/mp4"}}, 415, "video/mp4"),
        ("/v1/models/circles:predict", {"files": [("f", ("a", b"x"))] * 300}, 413, "parts"),
        ("/v1/models/circles:predict", {"headers": {"X-Long": "x" * 20_000}}, 431, "8190 bytes"),
    ],
)
def test_bad_input_is_told_what_is_wrong(
    server: Server, path: str, send: dict[str, object], status: int, says: str
) -> None:
    answer = requests.post(server.url + path, timeout=60, **send)  # type: ignore[arg-type]
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    assert says in answer.json()["error"]
    assert "Traceback" not in answer.text


def test_one_bad_image_names_itself_and_costs_others_nothing(server: Server, pictures: Pictures) -> None:
    files = [("f", ("a.png", pictures[1])), ("f", ("b.png", b"broken"))]
    answer = requests.post(server.predict_url(), files=files, timeout=60)
    assert answer.status_code == 200
    first, second = answer.json()["predictions"]
    assert first["class"] in CLASSES
    assert second.keys() == {"error"}
    refused = requests.post(f"{server.predict_url()}?all_or_nothing=true", files=files, timeout=60)
    assert refused.status_code == 400
    assert refused.json()["error"].startswith("Image 1:")
    assert requests.post(server.predict_url(), data=pictures[1], timeout=60).ok


def test_the_version_in_the_store_is_whole(circles_store: Path) -> None:
    version = circles_store / "circles" / "1"
    card = json.loads((version / "assets.extra" / "model_card.json").read_text())
    assert card["classes"] == CLASSES
    assert {path.name for path in (version / "assets.extra").iterdir()} >= {
        "golden.npz", "tf_serving_warmup_requests", "curves.png", "confusion_matrix.png",
    }  # fmt: skip
    assert [path.name for path in circles_store.iterdir()] == ["circles"]
    assert [path.name for path in (circles_store / "circles").iterdir()] == ["1"]
