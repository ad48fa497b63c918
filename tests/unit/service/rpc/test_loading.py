"""Who is answered over gRPC while the first models load: this service's own gateways, and nobody else."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service import protocol
from service.engine.batching.parameters import BatchingParameters
from service.engine.remote.engine import RemoteEngine
from service.engine.remote.link import Link
from service.errors import Unavailable
from service.interface import ModelSpec
from service.rpc.exchange import Watch
from service.rpc.server import GrpcServer
from tests.fakes import FakeEngine, classifier
from tests.unit.service.engine.versions import until

STATES = health_pb2.HealthCheckResponse


class Loading:
    """Whether the first models still load; a test ends it."""

    def __init__(self) -> None:
        self.now = True

    def __call__(self) -> bool:
        return self.now


@pytest.fixture
def loading() -> Loading:
    return Loading()


@pytest.fixture
def address(loading: Loading, tmp_path: Path) -> Iterator[str]:
    """A server whose model `m` is loaded, while others are not yet."""
    watch = Watch(link_secret="own", loading=loading)
    reloads: list[Any] = []
    server = GrpcServer(
        FakeEngine(classifier("m")),
        threads=4,
        default_deadline_s=60.0,
        max_message_bytes=1 << 20,
        watch=watch,
        reload=lambda config, _: reloads.append(config),
    )
    address = f"unix:{tmp_path / 'socket'}"
    server.start(address)
    yield address
    server.close(0)


@pytest.fixture
def channel(address: str) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(address) as channel:
        yield channel


def calls(channel: grpc.Channel) -> dict[str, Callable[[], grpc.StatusCode]]:
    """A call of each kind about the model; what it gives is its code."""
    prediction = protocol.prediction_service_pb2_grpc.PredictionServiceStub(channel)
    models = protocol.model_service_pb2_grpc.ModelServiceStub(channel)
    predict = protocol.predict_pb2.PredictRequest()
    predict.inputs["image"].CopyFrom(protocol.to_tensor_proto(np.zeros((1, 2, 3, 3), np.uint8)))
    metadata = protocol.get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    status = protocol.get_model_status_pb2.GetModelStatusRequest()
    for request in (predict, metadata, status):
        request.model_spec.name = "m"

    def code(method: Any, request: Any) -> Callable[[], grpc.StatusCode]:
        return lambda: method.future(request, timeout=20).code()

    return {
        "Predict": code(prediction.Predict, predict),
        "GetModelMetadata": code(prediction.GetModelMetadata, metadata),
        "GetModelStatus": code(models.GetModelStatus, status),
    }


def test_every_call_is_unavailable_until_the_first_models_are_loaded(channel: grpc.Channel, loading: Loading) -> None:
    for name, call in calls(channel).items():
        assert call() is grpc.StatusCode.UNAVAILABLE, name
    request = protocol.predict_pb2.PredictRequest()
    request.model_spec.name = "nosuch"
    future = protocol.prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict.future(request, timeout=20)
    assert (future.code(), future.details()) == (grpc.StatusCode.UNAVAILABLE, protocol.STILL_LOADING)
    loading.now = False
    for name, call in calls(channel).items():
        assert call() is grpc.StatusCode.OK, name


def test_another_configuration_is_taken_meanwhile(channel: grpc.Channel) -> None:
    stub = protocol.model_service_pb2_grpc.ModelServiceStub(channel)
    stub.HandleReloadConfigRequest(protocol.model_management_pb2.ReloadConfigRequest(), timeout=20)


def test_its_health_says_so(channel: grpc.Channel, loading: Loading) -> None:
    stub = health_pb2_grpc.HealthStub(channel)

    def check(name: str) -> Any:
        return stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=20).status

    until(lambda: "m" in stub.List(health_pb2.HealthListRequest(), timeout=20).statuses)
    assert check("") == check("m") == STATES.NOT_SERVING
    assert {each.status for each in stub.List(health_pb2.HealthListRequest(), timeout=20).statuses.values()} == {
        STATES.NOT_SERVING
    }
    loading.now = False
    until(lambda: check("") == check("m") == STATES.SERVING)


def remote(address: str, secret: str) -> RemoteEngine:
    engine = RemoteEngine([address], BatchingParameters(), poll_s=0.05, link=Link(secret))
    engine.start()
    return engine


def test_an_own_gateway_is_answered_by_what_is_loaded(address: str) -> None:
    engine = remote(address, "own")
    try:
        until(lambda: engine.status().ready)
        with engine.lease(ModelSpec("m")) as servable:
            assert servable.version == 1
    finally:
        engine.close()


def test_a_gateway_of_another_service_knows_the_model_and_waits(address: str, loading: Loading) -> None:
    engine = remote(address, "")
    try:
        until(lambda: "m" in engine.status().models)
        assert not engine.status().ready
        with pytest.raises(Unavailable), engine.lease(ModelSpec("m")):
            pass
        with pytest.raises(Unavailable, match="still loading"), engine.lease(ModelSpec("m", label="stable")):
            pass
        loading.now = False
        until(lambda: engine.status().ready)
    finally:
        engine.close()
