"""What every shape of a service answers, over HTTP, from the same store."""

import base64
import io
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import requests
from PIL import Image

from service import protocol
from tests.contract.conftest import SHAPES
from tests.e2e.processes import Server, wait_until


def picture(brightness: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (9, 7), (brightness,) * 3).save(file, "PNG")
    return file.getvalue()


def ask(service: Server, path: str, body: Any) -> requests.Response:
    return requests.post(f"{service.url}/v1/models/{path}:predict", json=body, timeout=60)


def test_an_image_gets_its_class(service: Server) -> None:
    answer = requests.post(service.predict_url("shade"), data=picture(255), timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "model": {"name": "shade", "version": 2},
        "predictions": [{"class": "day", "score": 1.0, "scores": {"night": 0.0, "day": 1.0}}],
    }
    assert answer.headers["X-Model-Version"] == "2"


def test_several_images_in_every_form(service: Server) -> None:
    files = [("f", ("a.png", picture(level))) for level in (0, 255, 0)]
    answer = requests.post(service.predict_url("shade"), files=files, timeout=60)
    assert [each["class"] for each in answer.json()["predictions"]] == ["night", "day", "night"]
    instances = [{"b64": base64.b64encode(picture(level)).decode()} for level in (255, 0)]
    answer = ask(service, "shade", {"instances": instances})
    assert answer.json() == {
        "predictions": [
            {"classes": ["night", "day"], "scores": [0.0, 1.0]},
            {"classes": ["night", "day"], "scores": [1.0, 0.0]},
        ]
    }


def test_what_a_model_does_not_know_is_told_by_every_way(service: Server) -> None:
    """Posted images say it, JSON and gRPC have the number, the Open Inference Protocol where it is asked for."""
    files = [("f", ("a.png", picture(level))) for level in (0, 255)]
    for _ in range(2):  # the express lane, where there is one, and Flask
        lone = requests.post(service.predict_url("telling"), data=picture(0), timeout=60).json()["predictions"]
        assert lone == [{"class": "dark", "score": 1.0, "scores": {"dark": 1.0, "bright": 0.0}, "in_domain": False}]
        both = requests.post(service.predict_url("telling"), files=files, timeout=60).json()["predictions"]
        assert [each["in_domain"] for each in both] == [False, True]
    answer = ask(service, "telling", {"instances": [{"b64": base64.b64encode(picture(0)).decode()}]})
    assert answer.json() == {"predictions": [{"classes": ["dark", "bright"], "scores": [1.0, 0.0], "in_domain": 0.25}]}
    inputs = [
        {"name": "image", "shape": [1], "datatype": "BYTES", "data": [{"b64": base64.b64encode(picture(0)).decode()}]}
    ]
    for outputs, expected in (([{"name": "in_domain"}, {"name": "scores"}], ["in_domain", "scores"]), ([], ["scores"])):
        asked = {"inputs": inputs, **({"outputs": outputs} if outputs else {})}
        told = requests.post(f"{service.url}/v2/models/telling/infer", json=asked, timeout=60).json()["outputs"]
        assert [each["name"] for each in told] == expected


@pytest.mark.parametrize("count", [15, 17, 32])
def test_more_rows_than_a_batch_or_the_queue_holds(service: Server, count: int) -> None:
    answer = ask(service, "times", {"instances": list(range(count))})
    version = int(answer.headers["X-Model-Version"])
    assert answer.json() == {"predictions": [float(value * version) for value in range(count)]}


def test_a_batch_whose_rows_can_not_be_told_apart_answers_nobody_with_anothers(service: Server) -> None:
    """Eight clients, each with a number of its own, of a model that repeats a number as often as it says."""

    def repeated(number: int) -> requests.Response:
        return ask(service, "maths", {"signature_name": "repeat", "inputs": [number]})

    numbers = [0, 1, 2, 3] * 30
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(repeated, numbers))
    assert [(each.status_code, each.json()) for each in answers] == [
        (200, {"outputs": [number] * number}) for number in numbers
    ]


def test_the_service_says_which_requests_run_joined(service: Server) -> None:
    found = requests.get(f"{service.url}/v1/models/maths/metadata?joining=true", timeout=60).json()["metadata"][
        "joining"
    ]
    joined = {name for name, each in found.items() if each["joined"]}
    why = {name: each["why"] for name, each in found.items() if not each["joined"]}
    if any("does not say" in each for each in why.values()):
        assert joined == set()  # an original tensorflow_model_server
        return
    assert {"serving_default", "add", "pick"} <= joined
    assert "rows of input" in why["repeat"]
    assert "it takes strings" in why["shout"]
    assert "is not variable" in why["scalar"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            {"instances": [[1, 2], [3, 4]]},
            {"predictions": [{"double": [2, 4], "sum": 3}, {"double": [6, 8], "sum": 7}]},
        ),
        ({"inputs": [[1, 2]]}, {"outputs": {"double": [[2, 4]], "sum": [3]}}),
        ({"signature_name": "add", "inputs": {"a": [2**53 + 1], "b": [1]}}, {"outputs": [2**53 + 2]}),
        ({"signature_name": "scalar", "inputs": 1.5}, {"outputs": 2.5}),
        # The shapes of a signature are advice; the graph takes others too.
        ({"signature_name": "scalar", "instances": [1.5, 2.5]}, {"predictions": [2.5, 3.5]}),
        ({"instances": [[1, 2, 3]]}, {"predictions": [{"double": [2, 4, 6], "sum": 6}]}),
        ({"signature_name": "add", "inputs": {"a": [1, 2], "b": [1]}}, {"outputs": [2, 3]}),
        ({"signature_name": "shout", "instances": ["a", "bc"]}, {"predictions": ["A", "BC"]}),
        ({"signature_name": "echo", "instances": [{"b64": "/w=="}, "a"]}, {"predictions": [{"b64": "/w=="}, "a"]}),
        ({"signature_name": "shout", "inputs": []}, {"outputs": []}),
        ({"inputs": []}, {"outputs": {"double": [], "sum": []}}),
        ({"signature_name": "add", "inputs": {"a": [], "b": []}}, {"outputs": []}),
        ({"signature_name": "total", "instances": [{"a": 1, "more": []}]}, {"predictions": [1]}),
        ({"signature_name": "total", "instances": [{"a": 1, "more": [2, 3]}]}, {"predictions": [6]}),
        ({"signature_name": "total", "inputs": {"a": [], "more": []}}, {"outputs": []}),
        ({"signature_name": "optional", "instances": [1, 2]}, {"predictions": [3, 6]}),
        ({"signature_name": "optional", "inputs": {"x": [1, 2]}}, {"outputs": [3, 6]}),
        ({"signature_name": "optional", "inputs": {"x": [1, 2], "k": 5}}, {"outputs": [5, 10]}),
        ({"signature_name": "optional", "inputs": []}, {"outputs": []}),
    ],
)
def test_tensors_of_several_signatures(service: Server, body: dict[str, Any], expected: dict[str, Any]) -> None:
    answer = ask(service, "maths", body)
    assert answer.status_code == 200, answer.text
    assert answer.json() == expected


def test_versions_and_labels(service: Server) -> None:
    for at, name in (("/versions/1", "dark"), ("/versions/2", "night"), ("/labels/stable", "dark")):
        answer = requests.post(service.predict_url("shade", at), data=picture(0), timeout=60)
        assert answer.json()["predictions"][0]["class"] == name


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("nosuch", {"instances": [1]}, 404),
        ("shade/versions/9", {"instances": [1]}, 404),
        ("shade/labels/nosuch", {"instances": [1]}, 404),
        ("maths", {"signature_name": "nosuch", "instances": [1]}, 404),
        ("maths", {"instances": [["a", "b"]]}, 400),
        ("maths", {"inputs": {"wrong": [1]}}, 400),
        ("maths", {"signature_name": "add", "inputs": {"a": [1, 2], "b": [1, 2, 3]}}, 400),
        ("maths", {"signature_name": "pick", "instances": [7]}, 400),
        ("maths", {"instances": []}, 400),
        ("times", {"instances": list(range(33))}, 413),
    ],
)
def test_errors(service: Server, path: str, body: dict[str, Any], status: int) -> None:
    answer = ask(service, path, body)
    assert answer.status_code == status, answer.text
    assert answer.json().keys() == {"error"}


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("tims", "Servable not found for request: Latest(tims); did you mean times? "),
        ("Maths", "Servable not found for request: Latest(Maths); did you mean maths? "),
    ],
)
def test_a_name_that_is_nearly_one_is_told(service: Server, path: str, says: str) -> None:
    answer = ask(service, path, {"instances": [1]})
    assert answer.status_code == 404
    assert answer.json()["error"].startswith(says)


@pytest.mark.parametrize("shape", SHAPES)
def test_zero_rows_over_grpc_keep_their_type(start: Callable[[str], Server], shape: str) -> None:
    request = protocol.predict_pb2.PredictRequest()
    request.model_spec.name = "maths"
    request.inputs["x"].CopyFrom(protocol.to_tensor_proto(np.zeros((0, 2), np.float32)))
    with grpc.insecure_channel(f"127.0.0.1:{start(shape).port}") as channel:
        answer = protocol.prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=60)
    found = {name: protocol.from_tensor_proto(tensor) for name, tensor in answer.outputs.items()}
    assert {name: (array.shape, array.dtype) for name, array in found.items()} == {
        "double": ((0, 2), np.dtype(np.float32)),
        "sum": ((0,), np.dtype(np.float32)),
    }


def test_one_bad_request_in_a_batch_fails_alone(service: Server) -> None:
    def pick(index: int) -> requests.Response:
        return ask(service, "maths", {"signature_name": "pick", "instances": [index]})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(pick, [0, 1, 7, 2] * 8))
    assert [answer.status_code for answer in answers] == [200, 200, 400, 200] * 8
    assert [answer.json()["predictions"] for answer in answers if answer.ok] == [[10], [20], [30]] * 8


def test_status_and_metadata(service: Server) -> None:
    status = requests.get(f"{service.url}/v1/models/shade", timeout=60).json()
    found = [(each["version"], each["state"]) for each in status["model_version_status"]]
    assert found == [("2", "AVAILABLE"), ("1", "AVAILABLE")]
    metadata = requests.get(f"{service.url}/v1/models/maths/metadata", timeout=60).json()
    signatures = metadata["metadata"]["signature_def"]["signature_def"]
    assert {"serving_default", "add", "pick", "scalar", "shout", "wait"} <= signatures.keys()
    assert signatures["serving_default"]["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert requests.get(f"{service.url}/readyz", timeout=60).json() == {
        "ready": True,
        "models": dict.fromkeys(("dbl", "every", "maths", "shade", "telling", "times"), "ready"),
    }
    assert requests.get(f"{service.url}/v1/models/nosuch", timeout=60).status_code == 404


def wait(service: Server, seconds: list[float]) -> requests.Response:
    return ask(service, "maths", {"signature_name": "wait", "instances": seconds})


def test_a_deadline_ends_the_wait(service: Server) -> None:
    started_s = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: wait(service, [3.0]), range(8)))
    statuses = {answer.status_code for answer in answers}
    assert {200, 504} <= statuses <= {200, 429, 504}  # who is known to come too late is refused at once
    assert time.monotonic() - started_s < 30
    assert "No answer within" in next(answer for answer in answers if answer.status_code == 504).json()["error"]
    # What nobody waits for any more does not hold up the next.
    wait_until(lambda: wait(service, [0.0]).status_code == 200)


def test_a_full_queue_refuses(service: Server) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: wait(service, [0.1] * 8), range(32)))
    assert {answer.status_code for answer in answers} == {200, 429}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert int(refused.headers["Retry-After"]) >= 1


def test_a_swap_loses_nothing_and_mixes_nothing(service: Server, contract_store: Path) -> None:
    times = contract_store / "times"
    version = max(int(path.name) for path in times.iterdir()) + 1
    done = threading.Event()

    def serves(wanted: int) -> bool:
        """Whether every worker does, as far as a few requests can tell."""
        answers = [ask(service, "times", {"instances": [1]}) for _ in range(6)]
        return all(answer.json() == {"predictions": [wanted]} for answer in answers)

    wait_until(lambda: serves(version - 1))  # the test before may have been over another service of this store

    found: set[int] = set()  # versions that answered on the kept connections, which may all be one worker's

    def keep_asking() -> set[tuple[int, float]]:
        seen = set()
        with requests.Session() as session:
            while not done.is_set():
                answer = session.post(service.predict_url("times"), json={"instances": [1.0]}, timeout=60)
                assert answer.status_code == 200, answer.text
                seen.add((int(answer.headers["X-Model-Version"]), answer.json()["predictions"][0]))
                found.add(int(answer.headers["X-Model-Version"]))
        return seen

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(keep_asking) for _ in range(4)]
        try:
            wait_until(lambda: any(each.done() for each in asking) or bool(found))
            shutil.copytree(contract_store.with_name("spare") / str(version), times / ".coming")
            (times / ".coming").rename(times / str(version))
            wait_until(lambda: any(each.done() for each in asking) or (version in found and serves(version)))
        finally:
            done.set()
        seen = set.union(*(each.result() for each in asking))
    assert found == {version - 1, version}
    assert all(version == answer for version, answer in seen)


def test_metrics_count_every_request(service: Server) -> None:
    def count() -> float:
        page = requests.get(f"{service.url}/metrics", timeout=60).text
        return sum(
            float(line.split()[-1])
            for line in page.splitlines()
            if line.startswith("signpost_requests_total") and 'model="shade"' in line and 'status="200"' in line
        )

    before = count()
    for _ in range(10):
        requests.post(service.predict_url("shade"), data=picture(0), timeout=60)
    assert count() == before + 10
