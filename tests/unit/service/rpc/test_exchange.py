"""What every call over gRPC has: an ID that goes on, a count, a line in the log; and messages that are none."""

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from service import protocol
from service.engine.batching.parameters import BatchingParameters
from service.engine.remote.engine import RemoteEngine
from service.engine.remote.link import Link
from service.interface import Call, ModelSpec
from service.rpc.exchange import Watch
from service.rpc.server import GrpcServer
from service.telemetry.metrics import Metrics
from tests.e2e.processes import wait_until
from tests.fakes import FakeEngine, FakeServable, classifier

SERVABLE = "/tensorflow.serving.PredictionService/Predict"


@pytest.fixture
def servable() -> FakeServable:
    return classifier("letters", 3)


@pytest.fixture
def metrics(servable: FakeServable) -> Metrics:
    return Metrics(FakeEngine(servable))


@pytest.fixture
def address(servable: FakeServable, metrics: Metrics, tmp_path: Path) -> Iterator[str]:
    watch = Watch(metrics, access_log=True, link_secret="own")
    server = GrpcServer(
        FakeEngine(servable),
        threads=4,
        default_deadline_s=60.0,
        max_message_bytes=1 << 20,
        metrics=metrics.serving,
        watch=watch,
    )
    server.start(f"unix:{tmp_path / 'socket'}")
    yield f"unix:{tmp_path / 'socket'}"
    server.close(0)


@pytest.fixture
def channel(address: str) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(address) as channel:
        yield channel


def request(model: str = "letters", rows: int = 2) -> Any:
    message = protocol.predict_pb2.PredictRequest()
    message.model_spec.name = model
    message.inputs["image"].CopyFrom(protocol.to_tensor_proto(np.zeros((rows, 2, 3, 3), np.uint8)))
    return message


def ask(channel: grpc.Channel, message: Any, **metadata: str) -> tuple[grpc.StatusCode, dict[str, str]]:
    """The code, and what came beside the answer."""
    stub = protocol.prediction_service_pb2_grpc.PredictionServiceStub(channel)
    sent = [(name.replace("_", "-"), value) for name, value in metadata.items()]
    future = stub.Predict.future(message, timeout=60, metadata=sent)
    code: grpc.StatusCode = future.code()
    return code, {key: value for key, value in future.trailing_metadata() if key == "x-request-id"}


def lines(caplog: pytest.LogCaptureFixture, count: int) -> list[dict[str, Any]]:
    """What was told of answered calls, once there is as much; the answer comes before its line."""

    def told() -> list[Any]:
        return [record.fields for record in caplog.records if record.name == "signpost.access"]  # type: ignore[attr-defined]

    wait_until(lambda: len(told()) >= count)
    return told()


def counts(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(sample.labels.values()): sample.value
        for family in metrics.collect()
        for sample in family.samples
        if sample.name == name
    }


@pytest.mark.parametrize("sent", ["mine", "one,two"])
def test_the_id_of_the_client_is_kept_and_told(
    channel: grpc.Channel, servable: FakeServable, caplog: pytest.LogCaptureFixture, sent: str
) -> None:
    caplog.set_level(logging.INFO, "signpost.access")
    assert ask(channel, request(), x_request_id=sent) == (grpc.StatusCode.OK, {"x-request-id": sent})
    assert servable.asked[-1][1].request_id == sent
    [line] = lines(caplog, 1)
    assert line["request_id"] == sent
    assert (line["route"], line["status"], line["model"], line["version"]) == (SERVABLE, "OK", "letters", 3)
    assert line["instances"] == 2
    assert line["client"] == "unix"
    assert {"decode_ms", "queue_ms", "infer_ms", "encode_ms", "total_ms", "bytes_in", "bytes_out"} <= set(line)
    json.dumps(line)


def test_a_call_without_an_id_gets_one_even_when_it_fails(channel: grpc.Channel) -> None:
    code, told = ask(channel, request("nosuch"), x_request_id="no good")
    assert code is grpc.StatusCode.NOT_FOUND
    assert len(told["x-request-id"]) == 32


def test_calls_are_counted_but_not_those_of_the_services_own_gateways(channel: grpc.Channel, metrics: Metrics) -> None:
    ask(channel, request())
    ask(channel, request("nosuch"))
    ask(channel, request(), authorization="Bearer own")
    wait_until(lambda: len(counts(metrics, "signpost_requests_total")) == 2)
    assert counts(metrics, "signpost_requests_total") == {
        (SERVABLE, "letters", "3", "OK"): 1,
        (SERVABLE, "", "", "NOT_FOUND"): 1,
    }
    assert counts(metrics, "signpost_batch_instances_count") == {("letters", "3"): 1}
    assert counts(metrics, "signpost_stage_seconds_count")["letters", "3", "infer"] == 1
    assert 'request_count{model_name="letters",status="OK"} 1\n' in metrics.serving.text()


def test_the_ids_of_a_request_reach_the_engine_behind_a_remote_one(address: str, servable: FakeServable) -> None:
    engine = RemoteEngine((address,), BatchingParameters(), models=("letters",), poll_s=0.1, link=Link("own"))
    engine.start()
    try:
        wait_until(lambda: engine.status().ready)
        with engine.lease(ModelSpec("letters")) as lent:
            pixels = {"image": np.zeros((1, 2, 3, 3), np.uint8)}
            trace = (("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),)
            lent.predict(pixels, Call(time.monotonic() + 60, request_id="from-the-edge", trace=trace))
    finally:
        engine.close()
    assert servable.asked[-1][1].request_id == "from-the-edge"


def test_how_the_models_are_is_asked_too_often_to_be_told(
    address: str, caplog: pytest.LogCaptureFixture, channel: grpc.Channel
) -> None:
    caplog.set_level(logging.INFO, "signpost.access")
    engine = RemoteEngine((address,), BatchingParameters(), models=("letters",), poll_s=0.05, link=Link("own"))
    engine.start()
    try:
        wait_until(lambda: engine.status().ready)
    finally:
        engine.close()
    ask(channel, request(), x_request_id="told")
    assert [line["request_id"] for line in lines(caplog, 1)] == ["told"]


@pytest.mark.parametrize(
    "method", ["PredictionService/Predict", "PredictionService/Regress", "ModelService/GetModelStatus"]
)
def test_a_message_that_is_none_is_the_clients_error(
    channel: grpc.Channel, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    call = channel.unary_unary(f"/tensorflow.serving.{method}")
    with pytest.raises(grpc.RpcError) as refused:
        call(b"\xff\xff no message", timeout=60)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]
    assert method in refused.value.details()  # type: ignore[attr-defined]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
