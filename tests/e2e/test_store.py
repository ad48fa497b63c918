"""Stores as other people lay them out: what is served of them, what is told of the rest, and from when on."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import requests
from google.protobuf import text_format
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service import protocol
from tests.e2e import processes
from tests.e2e.processes import PATIENCE_S, Server

SAVE = """
import sys, tensorflow as tf
class Double(tf.Module):
    def __init__(self):
        self.factor = tf.Variable(2.0)
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def run(self, x):
        return {"y": self.factor * x}
double = Double()
tf.saved_model.save(double, sys.argv[1], {"serving_default": double.run})
"""
FLAT = "flat contains a SavedModel itself; move its content into a folder named by the version number: flat/1."


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`zeros` 123 with a folder of a number that is none, `text` 1 in the text format, and `flat` without a version."""
    store = tmp_path_factory.mktemp("layouts") / "store"
    saved = store / "zeros" / "00000123"
    command = [sys.executable, "-c", SAVE, saved]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    for copy in ("zeros/99999999999999999999", "text/1", "flat"):
        shutil.copytree(saved, store / copy)
    binary = store / "text" / "1" / "saved_model.pb"
    message = protocol.saved_model_pb2.SavedModel.FromString(binary.read_bytes())
    binary.with_suffix(".pbtxt").write_text(text_format.MessageToString(message))
    binary.unlink()
    (store / "photos" / "2026").mkdir(parents=True)
    return store


@dataclass
class Started:
    """A service, and what its gRPC port said from when it listened until the models were loaded."""

    server: Server
    before: list[tuple[str, str, str]]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    def get(self, path: str) -> Any:
        return requests.get(f"{self.server.url}{path}", timeout=60).json()


@pytest.fixture(scope="module", params=["local", "shared"])
def started(request: pytest.FixtureRequest, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    folder = tmp_path_factory.mktemp(request.param)
    arguments = (f"--engine={request.param}", "--workers=2")
    with processes.serving(store, folder, *arguments, ready=False) as server:
        listens = re.compile(r"gRPC listens on 127\.0\.0\.1:(\d+)")
        processes.wait_until(lambda: bool(listens.search(server.log.read_text())), server.log.read_text)
        server.port = int(listens.findall(server.log.read_text())[0])
        before: list[tuple[str, str, str]] = []
        started = Started(server, before)

        def is_told_of_models() -> bool:
            """As TF Serving's clients find out whether it is up: they ask for a model that there is not."""
            found = refusal(started.address, "intentionally_missing")
            if "Servable" not in found[1]:
                before.append((*found, health(started.address)))
            return "Servable" in found[1]

        processes.wait_until(is_told_of_models, server.log.read_text)
        yield started


def predict(address: str, model: str) -> Any:
    request = protocol.predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.inputs["x"].CopyFrom(protocol.to_tensor_proto(np.array([1, 2], np.float32)))
    with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        return protocol.prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=60)


def refusal(address: str, model: str, ask: Callable[[str, str], Any] = predict) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        ask(address, model)
    return caught.value.code().name, caught.value.details()  # type: ignore[attr-defined]


def status(address: str, model: str) -> Any:
    request = protocol.get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = model
    with grpc.insecure_channel(address) as channel:
        return protocol.model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request, timeout=60)


def health(address: str) -> str:
    with grpc.insecure_channel(address) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def test_until_the_models_are_loaded_grpc_is_unavailable_and_then_each_worker_answers(started: Started) -> None:
    assert {(code, told) for code, _, told in started.before} == {("UNAVAILABLE", "NOT_SERVING")}
    for _ in range(12):  # connections of their own, for either worker
        answer = predict(started.address, "zeros")
        assert answer.model_spec.version.value == 123
        assert list(answer.outputs["y"].float_val) == [2.0, 4.0]


def test_leading_zeros_and_the_text_format_are_served(started: Started) -> None:
    processes.wait_until(lambda: started.get("/readyz")["ready"], started.server.log.read_text)
    for model, at in (("zeros", ""), ("zeros", "/versions/123"), ("text", "/versions/1")):
        answer = requests.post(started.server.predict_url(model, at), json={"instances": [1.0]}, timeout=60)
        assert answer.json() == {"predictions": [2.0]}
    assert [each["version"] for each in started.get("/v1/models/zeros")["model_version_status"]] == ["123"]


def test_what_is_laid_out_wrongly_says_so_everywhere_and_holds_up_nothing(started: Started) -> None:
    processes.wait_until(lambda: started.get("/readyz")["ready"], started.server.log.read_text)
    processes.wait_until(lambda: len(started.get("/v1/models")["models"]) == 3, started.server.log.read_text)
    listed = {each["name"]: each for each in started.get("/v1/models")["models"]}
    assert list(listed) == ["flat", "text", "zeros"]
    assert (listed["flat"]["model_version_status"], listed["flat"]["error"]) == ([], FLAT)
    assert started.get("/v1/models/flat")["error"] == f"Could not find any versions of model flat: {FLAT}"
    answer = requests.post(started.server.predict_url("flat"), json={"instances": [1.0]}, timeout=60)
    assert answer.status_code == 404
    assert answer.json()["error"] == f"Servable not found for request: Latest(flat); {FLAT}"
    assert refusal(started.address, "flat") == ("NOT_FOUND", f"Servable not found for request: Latest(flat); {FLAT}")
    assert refusal(started.address, "flat", status) == (
        "NOT_FOUND",
        f"Could not find any versions of model flat: {FLAT}",
    )
    log = started.server.log.read_text()
    assert "store/flat contains a SavedModel itself" in log
    assert "99999999999999999999 is skipped: the highest version number is 9223372036854775807." in log
    assert "photos" not in log


def test_models_list_says_what_serves(started: Started, store: Path) -> None:
    processes.wait_until(lambda: started.get("/readyz")["ready"], started.server.log.read_text)
    environment = {"SIGNPOST_REST_API_PORT": str(started.server.rest_api_port)}
    done = processes.run("models", "--store", store, "list", "--json", environment=environment)
    found = {(row["model"], row["version"], row["state"]) for row in json.loads(done.stdout)}
    assert found == {
        ("flat", None, None),
        ("text", 1, "AVAILABLE"),
        ("zeros", 123, "AVAILABLE"),
        ("zeros", None, None),
    }
    assert f"as reported by the service at {started.server.url}" in done.stderr
