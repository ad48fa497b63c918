"""Replicas under Ray Serve, with an unmodified gateway in front: answers, errors, deadlines, a death, swaps."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import requests
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service import protocol
from service.oip import messages
from service.ray_serve import deadline, methods
from tests.e2e import ray_node
from tests.e2e.processes import PATIENCE_S, Server, serving, wait_until
from tests.e2e.ray_node import Node

Pictures = dict[int, bytes]
LONG_S = 60.0
CLIENTS = 8
SWAPS = 4
CONFIG = """
model_config_list {{
  config {{ name: "circles" base_path: "{0}/circles" model_platform: "tensorflow" }}
  config {{ name: "dbl" base_path: "{0}/dbl" model_platform: "tensorflow" }}
  config {{ name: "maths" base_path: "{0}/maths" model_platform: "tensorflow" }}
  config {{ name: "times" base_path: "{0}/times" model_platform: "tensorflow" }}
  config {{
    name: "shade" base_path: "{0}/shade" model_platform: "tensorflow"
    model_version_policy {{ all {{}} }}
    version_labels {{ key: "stable" value: 1 }}
  }}
}}
"""


@pytest.fixture(scope="module")
def store(circles_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models of the contract's suite, some of them, and `circles`; further versions of `times` lie beside it."""
    store = tmp_path_factory.mktemp("ray") / "store"
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "tests.contract.models", store]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    shutil.copytree(circles_store / "circles", store / "circles")
    (store / "models.config").write_text(CONFIG.format(store))
    return store


@pytest.fixture(scope="module")
def node(request: pytest.FixtureRequest, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    assert request.config.cache is not None
    cache = request.config.cache.mkdir("ray")
    with ray_node.running(cache, store, tmp_path_factory.mktemp("node"), replicas=2) as node:
        yield node


@pytest.fixture(scope="module")
def gateway(node: Node, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(store, tmp_path_factory.mktemp("gateway"), f"--engine=127.0.0.1:{node.port}") as server:
        yield server


@pytest.fixture(scope="module")
def channel(node: Node) -> Iterator[grpc.Channel]:
    """For clients that ask Ray's port themselves."""
    with grpc.insecure_channel(f"127.0.0.1:{node.port}") as channel:
        yield channel


def check_clean(text: str) -> None:
    """Nothing of an error is for the operator only."""
    assert not any(word in text for word in ("Traceback", 'File "', "ray::", "RayTaskError", "ip=", "pid=", "\n")), text


def waiting(seconds: float) -> Any:
    """A request that takes so long."""
    request = protocol.predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "maths", "wait"
    request.inputs["seconds"].CopyFrom(protocol.to_tensor_proto(np.array([seconds])))
    return request


def predict(channel: grpc.Channel) -> Any:
    return protocol.prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict


def test_the_answers_are_those_of_a_local_service(gateway: Server, server: Server, pictures: Pictures) -> None:
    for picture in pictures.values():
        here, there = (
            requests.post(each.predict_url(), data=picture, timeout=PATIENCE_S) for each in (gateway, server)
        )
        assert there.status_code == 200
        assert here.json() == there.json()


def test_the_gateway_knows_the_models_by_itself(gateway: Server) -> None:
    ready = requests.get(f"{gateway.url}/readyz", timeout=PATIENCE_S).json()
    assert sorted(ready["models"]) == ["circles", "dbl", "maths", "shade", "times"]


def test_labels_and_versions_are_found_in_every_replica(gateway: Server) -> None:
    instances = {"instances": np.zeros((1, 4, 4, 3), int).tolist()}
    for at, classes in (("/labels/stable", "dark"), ("/versions/2", "night"), ("", "night")):
        for _ in range(6):
            answer = requests.post(gateway.predict_url("shade", at), json=instances, timeout=PATIENCE_S)
            assert answer.status_code == 200, answer.text
            assert answer.json()["predictions"][0]["classes"][0] == classes


@pytest.mark.parametrize(
    ("model", "body", "status", "says"),
    [
        ("nosuch", {"instances": [1.0]}, 404, "nosuch"),
        ("circles", {"instances": [[1, 2]]}, 400, "has the shape [1, 2]; the signature takes [-1, 32, 32, 1]"),
        ("maths", {"signature_name": "nosuch", "instances": [1.0]}, 404, "nosuch"),
        ("maths", {"signature_name": "pick", "instances": [7]}, 400, "7"),  # found by the model itself
    ],
)
def test_what_is_wrong_with_a_request_is_told(
    gateway: Server, model: str, body: dict[str, Any], status: int, says: str
) -> None:
    answer = requests.post(gateway.predict_url(model), json=body, timeout=PATIENCE_S)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["error"]
    check_clean(answer.json()["error"])


@pytest.mark.parametrize("request_", [b"", b"\xff\xff\xff\xff"], ids=["empty", "unreadable"])
@pytest.mark.parametrize("method", [*methods.unary(), *methods.UNSUPPORTED])
def test_no_rpc_answers_nonsense_with_a_traceback(channel: grpc.Channel, method: str, request_: bytes) -> None:
    call = channel.unary_unary(method).future(request_, timeout=LONG_S)
    assert call.code() not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE)
    assert (call.code() is grpc.StatusCode.UNIMPLEMENTED) == (method in methods.UNSUPPORTED)
    check_clean(call.details())


def test_a_stream_answers_each_message(channel: grpc.Channel) -> None:
    def request(name: str) -> bytes:
        message = messages.message("ModelInferRequest")(model_name=name)
        message.inputs.add(name="IN", datatype="FP32", shape=[1, 2]).contents.fp32_contents.extend((1, 2))
        return message.SerializeToString()

    read = messages.message("ModelStreamInferResponse").FromString
    stream = channel.stream_stream(methods.STREAM, response_deserializer=read)
    first, second, third = stream(iter([request("dbl"), request("nosuch"), request("dbl")]), timeout=LONG_S)
    for answer in (first, third):
        assert list(answer.infer_response.outputs[0].contents.fp32_contents) == [2, 4]
    assert "nosuch" in second.error_message
    check_clean(second.error_message)


def test_health_tells_every_model(channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    serving_ = health_pb2.HealthCheckResponse.SERVING
    assert stub.Check(health_pb2.HealthCheckRequest(), timeout=LONG_S).status == serving_
    told = stub.List(health_pb2.HealthListRequest(), timeout=LONG_S).statuses
    assert {name for name, each in told.items() if each.status == serving_} >= {"", "times", "circles"}


@pytest.mark.parametrize("how", ["told as metadata", "gRPC's own"])
def test_a_call_ends_with_its_deadline(channel: grpc.Channel, how: str) -> None:
    metadata = ((deadline.KEY, "50"),) if how == "told as metadata" else ()
    predict(channel)(waiting(0.0), timeout=LONG_S)
    started_s = time.monotonic()
    with pytest.raises(grpc.RpcError) as told:
        predict(channel)(waiting(5.0), timeout=LONG_S if metadata else 0.05, metadata=metadata)
    assert told.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - started_s < 2.5  # half of what the model takes


def versions(gateway: Server) -> dict[int, str]:
    answer = requests.get(f"{gateway.url}/v1/models/times", timeout=PATIENCE_S)
    return {int(each["version"]): each["state"] for each in answer.json()["model_version_status"]}


def test_two_replicas_swap_under_load_and_no_request_fails(gateway: Server, store: Path) -> None:
    stop = threading.Event()

    def ask() -> Counter[tuple[int, str]]:
        answers: Counter[tuple[int, str]] = Counter()
        with requests.Session() as session:
            while not stop.is_set():
                answer = session.post(gateway.predict_url("times"), json={"instances": [1.0]}, timeout=PATIENCE_S)
                # The factor is the number of the version.
                right = answer.ok and answer.json()["predictions"] == [float(answer.headers["X-Model-Version"])]
                answers[answer.status_code, "" if right else answer.text] += 1
        return answers

    with ThreadPoolExecutor(CLIENTS) as pool:
        asking = [pool.submit(ask) for _ in range(CLIENTS)]
        try:
            for version in range(2, 2 + SWAPS):
                coming = store / "times" / ".coming"
                shutil.copytree(store.with_name("spare") / str(version), coming)
                coming.rename(coming.with_name(str(version)))
                wait_until(lambda version=version: versions(gateway) == {version: "AVAILABLE"})  # type: ignore[misc]
        finally:
            stop.set()
        answers = sum((each.result(PATIENCE_S) for each in asking), Counter())
    assert set(answers) == {(200, "")}, answers


def test_a_replica_killed_in_a_call_costs_that_call_and_no_other(node: Node, gateway: Server) -> None:
    def ask(seconds: float) -> requests.Response:
        slow = {"signature_name": "wait", "instances": [seconds]}
        return requests.post(gateway.predict_url("maths"), json=slow, timeout=PATIENCE_S)

    with ThreadPoolExecutor(1) as pool:
        before = {each.pid: cpu_s(each) for each in node.replicas()}
        asked = pool.submit(ask, 20.0)
        # The model keeps a core busy while it waits, which tells the replica that has the call.
        found: list[Any] = []

        def is_found() -> bool:
            used = sorted((cpu_s(each) - before[each.pid], each.pid, each) for each in node.replicas())
            found[:] = [used[-1][2]] if used[-1][0] > 1.0 + 2 * used[0][0] else []
            return bool(found) or asked.done()

        wait_until(is_found)
        found[0].kill()
        answer = asked.result(PATIENCE_S)
    assert answer.status_code == 503, answer.text
    assert "The replica that had this call is gone" in answer.json()["error"]
    check_clean(answer.json()["error"])
    for _ in range(20):
        answer = requests.post(gateway.predict_url("times"), json={"instances": [1.0]}, timeout=PATIENCE_S)
        assert answer.status_code == 200, answer.text
    node.wait_for_replicas(started=3)
    assert ask(0.1).json() == {"predictions": [0.1]}


def cpu_s(process: Any) -> float:
    """Seconds of CPU that a process has taken."""
    times = process.cpu_times()
    return float(times.user + times.system)
