"""The Open Inference Protocol in every shape of a service: stock clients, recorded exchanges, the same scores."""

import base64
import gzip
import re
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import requests

from service import protocol
from service.oip.messages import SERVICE, message
from service.oip.tensors import from_bytes, to_bytes
from tests.contract import stock_clients
from tests.contract.oip_exchanges import EXCHANGES, Exchange, asked
from tests.contract.test_contract import picture
from tests.e2e.processes import Server

LENGTH = "Inference-Header-Content-Length"


@pytest.fixture(scope="session")
def cache(request: pytest.FixtureRequest) -> Path:
    """Where the environments of other makers' clients are kept from one run of the tests to the next."""
    assert request.config.cache is not None
    return request.config.cache.mkdir("stock_clients")


@pytest.mark.parametrize("name", ["triton", "kserve_client"])
def test_stock_clients_work_unchanged(service: Server, cache: Path, name: str) -> None:
    stock_clients.ask(name, cache, service.rest_api_port, service.port or 0)


def infer(service: Server, model: str, body: bytes, **headers: str) -> requests.Response:
    return requests.post(f"{service.url}/v2/models/{model}/infer", data=body, headers=headers, timeout=60)


def fault(service: Server, exchange: Exchange) -> str:
    """What is wrong with the answer to an exchange; nothing where it is right."""
    url = f"{service.url}/v2{exchange.path}"
    headers = {"Accept-Encoding": "identity", **exchange.headers}
    answer = requests.request(exchange.method, url, data=exchange.body, headers=headers, timeout=60)
    if answer.status_code != (exchange.status or exchange.triton):
        return f"{answer.status_code} {answer.text}"
    if answer.status_code >= 400:
        is_told = answer.headers["Content-Type"] == "application/json" and answer.json().keys() == {"error"}
        return "" if is_told else f"no error in JSON: {answer.text}"
    if isinstance(exchange.answer, bytes):
        return "" if answer.content == exchange.answer else str(answer.content)
    if isinstance(exchange.answer, str):
        return "" if exchange.answer in answer.text else answer.text
    return "" if exchange.answer in (None, answer.json()) else answer.text


def test_it_answers_as_triton_does_but_for_what_has_a_reason(service: Server) -> None:
    faults = {exchange.case: says for exchange in EXCHANGES if (says := fault(service, exchange))}
    assert faults == {}
    assert len(EXCHANGES) == 51
    assert all(exchange.why for exchange in EXCHANGES if exchange.status is not None)
    assert {exchange.status or exchange.triton for exchange in EXCHANGES} <= {200, 400, 404, 405, 415, 501}


def scores_of_v1(service: Server, image: bytes) -> list[np.float32]:
    body = {"instances": [{"b64": _b64(image)}]}
    answer = requests.post(service.predict_url("shade"), json=body, timeout=60).json()
    return [np.float32(score) for score in answer["predictions"][0]["scores"]]


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_every_way_gives_the_same_scores(service: Server) -> None:
    image = picture(77)
    expected = np.array(scores_of_v1(service, image)).tobytes()
    element = to_bytes(np.array([image], np.object_))
    entry = {"name": "image", "shape": [1], "datatype": "BYTES"}
    pixels = np.full((1, 4, 4, 3), 77, np.uint8)

    as_json = infer(service, "shade", asked({**entry, "data": [{"b64": _b64(image)}]})).json()
    as_base64 = infer(
        service, "shade", asked({**entry, "parameters": {"content_type": "base64"}, "data": [_b64(image)]})
    ).json()
    as_numbers = infer(
        service,
        "shade",
        asked({"name": "image", "shape": [1, 4, 4, 3], "datatype": "UINT8", "data": pixels.tolist()}),
    ).json()
    for answer in (as_json, as_base64, as_numbers):
        [output] = answer["outputs"]
        assert (output["name"], output["datatype"], output["shape"]) == ("scores", "FP32", [1, 2])
        assert np.array(output["data"], np.float32).tobytes() == expected

    for datatype, shape, data in (("BYTES", [1], element), ("UINT8", [1, 4, 4, 3], pixels.tobytes())):
        given = {"name": "image", "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": len(data)}}
        head = asked(given, parameters={"binary_data_output": True})
        answer = infer(service, "shade", head + data, **{LENGTH: str(len(head))})
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.content[int(answer.headers[LENGTH]) :] == expected

    raw = infer(service, "shade", image, **{LENGTH: "0"})
    assert raw.content[int(raw.headers[LENGTH]) :] == expected
    shown = infer(service, "shade", image, **{LENGTH: "0", "Accept": "application/json"}).json()
    assert np.array(shown["outputs"][0]["data"], np.float32).tobytes() == expected

    if service.port:
        assert _scores_over_grpc(service.port, pixels) == [expected, expected]


def _scores_over_grpc(port: int, pixels: Any) -> list[bytes]:
    """By the Open Inference Protocol and by TF Serving's."""
    request = message("ModelInferRequest")(model_name="shade", raw_input_contents=[pixels.tobytes()])
    request.inputs.add(name="image", datatype="UINT8", shape=pixels.shape)
    theirs = protocol.predict_pb2.PredictRequest()
    theirs.model_spec.name = "shade"
    theirs.inputs["image"].CopyFrom(protocol.to_tensor_proto(pixels))
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask = channel.unary_unary(
            f"/{SERVICE}/ModelInfer", type(request).SerializeToString, message("ModelInferResponse").FromString
        )
        answer = ask(request, timeout=60)
        scores = from_bytes("scores", "FP32", (1, 2), answer.raw_output_contents[0])
        stub = protocol.prediction_service_pb2_grpc.PredictionServiceStub(channel)
        other = protocol.from_tensor_proto(stub.Predict(theirs, timeout=60).outputs["scores"])
    return [scores.tobytes(), other.tobytes()]


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_answers_are_compressed_only_where_exactly_that_is_asked_for(service: Server, encoding: str, pack: Any) -> None:
    for accepted, expected in ((encoding, encoding), (f"{encoding}, br", None), ("*", None)):
        answer = infer(service, "dbl", pack(asked()), **{"Content-Encoding": encoding, "Accept-Encoding": accepted})
        assert answer.headers.get("Content-Encoding") == expected
        assert answer.json()["outputs"][0]["data"] == [2.0, 4.0]


def test_a_client_s_own_deadline_counts(service: Server) -> None:
    given = {"name": "seconds", "shape": [1], "datatype": "FP64", "data": [1.0]}
    body = asked(given, parameters={"signature_name": "wait", "timeout": 200_000})
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: infer(service, "maths", body), range(8)))
    statuses = {answer.status_code for answer in answers}
    assert statuses & {429, 504}  # one that is known to come too late is refused at once
    assert statuses <= {200, 429, 504}
    given["data"] = [0.0]
    assert infer(service, "maths", asked(given, parameters={"signature_name": "wait"})).status_code == 200


PIXELS = {"name": "image", "shape": [1, 4, 4, 3], "datatype": "UINT8"}
TWO_BYTES = b"\x02\x00\x00\x00ab"


def behind(entry: dict[str, Any], data: bytes, size: int | None = None, **more: Any) -> tuple[bytes, str]:
    head = asked({**entry, "parameters": {"binary_data_size": len(data) if size is None else size}}, **more)
    return head + data, str(len(head))


@pytest.mark.parametrize(
    ("model", "sent", "words"),
    [
        ("shade", behind(PIXELS, b"\0" * 47), "48 bytes, not 47"),
        ("shade", behind(PIXELS, b"\0" * 47, 48), "should have 48 bytes"),
        ("shade", behind(PIXELS, b"\0" * 49, 48), "1 bytes after the JSON belong to no input"),
        ("shade", behind({**PIXELS, "shape": [1, 2**62, 2**62, 3]}, b""), "more elements"),
        ("shade", behind({**PIXELS, "shape": [0, 2**62, 4, 3]}, b""), "more elements"),
        ("shade", behind({**PIXELS, "shape": [1] * 40}, b"\0"), "40 dimensions"),
        ("shade", behind({**PIXELS, "shape": [1, 5, 5, 3]}, b"\0" * 75), "shape"),
        ("shade", behind({**PIXELS, "shape": [True, 4, 4, 3]}, b"\0" * 48), "whole numbers"),
        ("shade", behind({**PIXELS, "datatype": "FP32"}, b"\0" * 192), "encoded images as BYTES"),
        ("shade", behind({**PIXELS, "datatype": "BYTES", "shape": [2**30]}, TWO_BYTES), "no more than 1"),
        ("shade", behind({**PIXELS, "datatype": "BYTES", "shape": [1]}, b"\xff\xff\xff\xffab"), "Element 0"),
        ("shade", behind({**PIXELS, "datatype": "BYTES", "shape": [1]}, TWO_BYTES + b"x"), "1 bytes beyond"),
        ("shade", behind({**PIXELS, "datatype": "BYTES", "shape": [1, 2]}, TWO_BYTES * 2), "[N, 1]"),
        ("shade", behind({**PIXELS, "datatype": "BYTES", "shape": [1]}, TWO_BYTES), "Image 0 of input 'image'"),
        ("shade", behind(PIXELS, b"\0" * 48, outputs=[{"name": "scores", "parameters": {"classification": 0}}]), "cla"),
        (
            "shade",
            behind(PIXELS, b"\0" * 48, outputs=[{"name": "classes", "parameters": {"classification": 1}}]),
            "str",
        ),
        ("shade", behind(PIXELS, b"\0" * 48, parameters={"sequence_id": 3}), "keep no state"),
        ("shade", behind(PIXELS, b"\0" * 48, parameters={"priority": -1}), "priority"),
        ("shade", behind(PIXELS, b"\0" * 48, parameters={"timeout": 1.5}), "timeout"),
        ("shade", (b"{", "-1"), LENGTH),
        ("shade", (b"[" * 5000, None), "more than 64"),
        ("shade", (b"\xff\xfe", None), "JSON"),
        ("shade", (asked({**PIXELS, "data": [256] + [0] * 47}), None), "beyond that type"),
        ("shade", (asked({**PIXELS, "data": [-1] + [0] * 47}), None), "beyond that type"),
        ("shade", (asked({**PIXELS, "data": [0.5] + [0] * 47}), None), "whole numbers"),
        ("shade", (asked({**PIXELS, "data": [True] + [0] * 47}), None), "whole numbers"),
        ("shade", (asked({**PIXELS, "data": [[0] * 24] * 2}), None), "not nested according to its shape"),
        ("shade", (asked({**PIXELS, "datatype": "BYTES", "shape": [1], "data": ["\ud800"]}), None), "surrogate"),
        ("shade", (asked({**PIXELS, "parameters": {"shared_memory_region": "x"}}), None), "shared memory"),
        ("dbl", (asked({"name": "IN", "shape": [1, 2], "datatype": "FP32", "data": [1e39, 0]}), None), "beyond"),
        ("dbl", (asked({"name": "IN", "shape": [1, 2], "datatype": "FP32", "data": [10**400, 0]}), None), "beyond"),
        ("dbl", (b"\0" * 7, "0"), "derived from"),
        ("every", (b"\0" * 8, "0"), "models with one input"),
    ],
)
def test_bad_input_is_told_what_would_be_right(
    start: Any, model: str, sent: tuple[bytes, str | None], words: str
) -> None:
    body, length = sent
    answer = infer(start("local"), model, body, **({} if length is None else {LENGTH: length}))
    assert answer.status_code == 400, answer.text
    assert words in answer.json()["error"]


def test_metrics_tell_of_it_too(start: Any) -> None:
    service = start("local")
    before = _instances(service)
    assert infer(service, "dbl", asked()).ok
    assert _instances(service) == before + 1


def _instances(service: Server) -> float:
    text = requests.get(f"{service.url}/metrics", timeout=60).text
    found = re.search(r'^signpost_instances_total\{model="dbl",version="1"\} (.*)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0
