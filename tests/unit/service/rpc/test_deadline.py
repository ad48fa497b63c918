"""What is left of a deadline travels as metadata too, so that no proxy can lose it; the earlier one counts."""

import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest

from service import protocol
from service.engine.remote.engine import RemoteEngine
from service.interface import Call, ModelSpec
from service.rpc.server import GrpcServer
from tests.e2e.processes import wait_until
from tests.fakes import FakeEngine, FakeServable, classifier
from tests.unit.service.rpc import test_inference
from tests.unit.service.rpc.test_exchange import request
from tests.unit.service.rpc.test_inference import Service, engine, infer_request, service  # noqa: F401 - fixtures

NAME = "x-request-deadline-ms"


class Proxy(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Passes each call on with its metadata, and gives it no deadline."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def service(self, handler_call_details: Any) -> Any:
        passed_on = self._channel.unary_unary(handler_call_details.method)

        def answer(sent: bytes, context: Any) -> Any:
            ours = [each for each in context.invocation_metadata() if each[0] != "user-agent"]
            try:
                return passed_on(sent, metadata=ours)
            except grpc.RpcError as error:
                return context.abort(error.code(), error.details())  # type: ignore[attr-defined]

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture
def servable() -> FakeServable:
    return classifier("letters")


@pytest.fixture
def address(servable: FakeServable) -> Iterator[str]:
    server = GrpcServer(FakeEngine(servable), threads=1, default_deadline_s=20.0, max_message_bytes=1 << 20)
    yield f"127.0.0.1:{server.start('127.0.0.1:0')}"
    server.close(0)


@pytest.fixture
def stub(address: str) -> Iterator[Any]:
    with grpc.insecure_channel(address) as channel:
        yield protocol.prediction_service_pb2_grpc.PredictionServiceStub(channel)


def left_s(call: Call) -> float:
    return call.deadline - time.monotonic()


@pytest.mark.parametrize(
    ("timeout_s", "sent_ms", "most_s", "limit"),
    [
        (60.0, "5000", 5.0, f"the 5000 ms of {NAME}"),
        (5.0, "60000", 5.0, "the call's deadline"),
        (None, "5000", 5.0, f"the 5000 ms of {NAME}"),
        (None, "300000", 300.0, f"the 300000 ms of {NAME}"),
        (None, None, 20.0, "the service's 20000 ms"),
    ],
)
def test_the_earlier_deadline_counts(
    stub: Any, servable: FakeServable, timeout_s: float | None, sent_ms: str | None, most_s: float, limit: str
) -> None:
    stub.Predict(request(), timeout=timeout_s, metadata=[(NAME, sent_ms)] if sent_ms else [])
    call = servable.asked[-1][1]
    assert most_s - 4 < left_s(call) < most_s + 0.5  # gRPC's own is told by another clock
    assert call.limit == limit


def test_the_time_that_a_call_waits_for_a_thread_counts(stub: Any, servable: FakeServable) -> None:
    """As it does with gRPC's own; the server has one thread."""
    may_run = threading.Event()
    quick = servable.run

    def slow(inputs: Any, call: Call) -> Any:
        assert may_run.wait(20)
        return quick(inputs, call)

    servable.run = slow
    first = stub.Predict.future(request(), timeout=60)
    wait_until(lambda: bool(servable.asked))
    second = stub.Predict.future(request(), timeout=60, metadata=[(NAME, "300")])
    time.sleep(0.5)  # longer than the second has
    may_run.set()
    assert first.code() is grpc.StatusCode.OK
    second.code()
    assert left_s(servable.asked[-1][1]) < 0


@pytest.mark.parametrize("sent", ["0", "-5", "1.5", "", "soon", "9999999999999"])
def test_what_is_no_number_of_milliseconds_is_refused_by_every_call(stub: Any, address: str, sent: str) -> None:
    metadata_request = protocol.get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    metadata_request.model_spec.name = "letters"
    status_request = protocol.get_model_status_pb2.GetModelStatusRequest()
    status_request.model_spec.name = "letters"
    with grpc.insecure_channel(address) as channel:
        models = protocol.model_service_pb2_grpc.ModelServiceStub(channel)
        for method, message in (
            (stub.Predict, request()),
            (stub.GetModelMetadata, metadata_request),
            (models.GetModelStatus, status_request),
        ):
            call = method.future(message, timeout=60, metadata=[(NAME, sent)])
            assert call.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert call.details() == f"{NAME} must be a whole number of milliseconds, at least 1, not {sent!r}."


def test_the_open_inference_protocol_keeps_to_it_too(service: Service, engine: FakeEngine) -> None:  # noqa: F811
    half = engine.servables[1]
    service.send("ModelInfer", infer_request().SerializeToString(), (NAME, "5000"))
    assert left_s(half.asked[-1][1]) < 5
    [answer] = service.stream([infer_request().SerializeToString()], (NAME, "5000"))
    assert not answer.error_message
    assert left_s(half.asked[-1][1]) < 5
    code, text = test_inference.refused(lambda: service.ask("ServerLive", (NAME, "soon")))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "must be a whole number of milliseconds" in text
    [answer] = service.stream([infer_request().SerializeToString()], (NAME, "soon"))
    assert "must be a whole number of milliseconds" in answer.error_message


def test_the_deadline_of_a_stream_is_counted_from_its_begin(service: Service, engine: FakeEngine) -> None:  # noqa: F811
    def sent() -> Iterator[bytes]:
        yield infer_request().SerializeToString()
        time.sleep(0.3)
        yield infer_request().SerializeToString()

    list(service.stream(sent(), (NAME, "5000")))  # type: ignore[arg-type]
    first, second = (call.deadline for _, call in engine.servables[1].asked[-2:])
    assert second == pytest.approx(first, abs=0.2)


def test_it_reaches_an_engine_behind_a_proxy_that_loses_grpcs_own(address: str, servable: FakeServable) -> None:
    with grpc.insecure_channel(address) as channel, ThreadPoolExecutor(8) as pool:
        proxy = grpc.server(pool)
        proxy.add_generic_rpc_handlers([Proxy(channel)])
        port = proxy.add_insecure_port("127.0.0.1:0")
        proxy.start()
        remote = RemoteEngine([f"127.0.0.1:{port}"], None, poll_s=0.05)
        remote.start()
        try:
            wait_until(lambda: remote.status().ready)
            with remote.lease(ModelSpec("letters")) as lent:
                image = {"image": np.zeros((1, 2, 3, 3), np.uint8)}
                lent.predict(image, Call(time.monotonic() + 5))
            assert re.fullmatch(rf"the 4\d\d\d ms of {NAME}", servable.asked[-1][1].limit)
        finally:
            remote.close()
            proxy.stop(0)
