"""Calls over gRPC that came when too many waited, and how long their clients wait."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service import protocol
from service.admission import Admission, FrontQueue
from service.rpc.server import GrpcServer
from tests.fakes import FakeEngine, classifier


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(classifier("m"))


def serving(engine: FakeEngine, folder: Path, queue: FrontQueue | None) -> Iterator[grpc.Channel]:
    server = GrpcServer(engine, threads=2, default_deadline_s=7.5, max_message_bytes=1 << 20, queue=queue)
    server.start("127.0.0.1:0", folder / "socket")
    with grpc.insecure_channel(f"unix:{folder / 'socket'}") as channel:
        yield channel
    server.close(0)


@pytest.fixture
def full(engine: FakeEngine, tmp_path: Path) -> Iterator[grpc.Channel]:
    yield from serving(engine, tmp_path, FrontQueue(2, Admission(0, -1.0)))


@pytest.fixture
def free(engine: FakeEngine, tmp_path: Path) -> Iterator[grpc.Channel]:
    yield from serving(engine, tmp_path, None)


def predict(channel: grpc.Channel, timeout_s: float | None = None) -> Any:
    request = protocol.predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["image"].CopyFrom(protocol.to_tensor_proto(np.zeros((1, 2, 3, 3), np.uint8)))
    stub = protocol.prediction_service_pb2_grpc.PredictionServiceStub(channel)
    return stub.Predict(request, timeout=timeout_s)


def test_a_full_server_refuses_what_runs_a_model_and_nothing_else(full: grpc.Channel, engine: FakeEngine) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        predict(full)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE  # type: ignore[attr-defined]
    assert "try again later" in caught.value.details()  # type: ignore[attr-defined]
    assert not engine.servables[0].asked
    health_pb2_grpc.HealthStub(full).Check(health_pb2.HealthCheckRequest(), timeout=20)


def test_the_calls_own_deadline_counts_and_else_that_of_the_service(free: grpc.Channel, engine: FakeEngine) -> None:
    began_s = time.monotonic()
    predict(free, 3.0)
    predict(free)
    (_, own), (_, default) = engine.servables[0].asked
    assert began_s < own.deadline <= time.monotonic() + 3.0 + 0.1  # gRPC rounds the time that is left
    assert own.limit == "the call's deadline"
    assert began_s + 7.5 <= default.deadline <= time.monotonic() + 7.5
    assert default.limit == "the service's 7500 ms"
