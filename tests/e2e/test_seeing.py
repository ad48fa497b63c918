"""What is seen of one request on its way through a gateway and the engine process: log, trace and metrics."""

import json
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import requests

from service import protocol
from tests.collector import Collector, collecting
from tests.e2e.processes import PATIENCE_S, Server, serving, wait_until

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
ROUTE = "/v1/models/<name:name>:predict"
CALL = "/tensorflow.serving.PredictionService/Predict"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="module")
def seen(circles_store: Any, tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Server]:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    flags = ("--engine=shared", "--log-format=json", "--access-log")
    with serving(circles_store, tmp_path_factory.mktemp("seen"), *flags, environment=environment) as server:
        yield server


def answered(server: Server) -> list[dict[str, Any]]:
    """The lines of answered requests, once each line of the log has been found to be JSON."""
    lines = server.log.read_text().splitlines()
    # TensorFlow's own code in C++ writes to the same place, before anything is loaded.
    told = [json.loads(line) for line in lines if line.startswith("{")]
    return [line for line in told if line["message"] == "Answered."]


def test_one_id_and_one_trace_lead_from_the_edge_to_the_engine(
    seen: Server, collector: Collector, pictures: dict[int, bytes]
) -> None:
    headers = {"X-Request-ID": "from-the-edge", "traceparent": f"00-{TRACE}-{PARENT}-01"}
    url = f"{seen.url}/v1/models/circles:predict?api_key=hidden"
    answer = requests.post(url, data=pictures[2], headers=headers, timeout=PATIENCE_S)
    assert answer.headers["X-Request-ID"] == "from-the-edge"

    def lines() -> dict[str, dict[str, Any]]:
        return {line["route"]: line for line in answered(seen) if line["request_id"] == "from-the-edge"}

    wait_until(lambda: {ROUTE, CALL} <= set(lines()), seen.log.read_text)
    edge, engine = lines()[ROUTE], lines()[CALL]
    assert edge["process"] != engine["process"]
    assert (edge["status"], edge["images"], edge["model"], edge["version"]) == (200, 1, "circles", 1)
    assert (engine["status"], engine["instances"]) == ("OK", 1)
    assert (edge["protocol"], engine["protocol"]) == ("HTTP", "hop")
    assert (engine["bytes_in"], engine["bytes_out"]) == (32 * 32, (5 + 1) * 4)  # its scores, and in_domain
    assert edge["bytes_in"] == len(pictures[2])
    assert edge["bytes_out"] == len(answer.content)
    assert edge["client"] == "127.0.0.1"
    assert "hidden" not in seen.log.read_text()

    def spans() -> dict[str, Any]:
        return {span.name: span for span in collector.spans() if span.trace_id.hex() == TRACE}

    wait_until(lambda: {f"POST {ROUTE}", CALL[1:]} <= set(spans()), lambda: str(set(spans())))
    outer, inner = spans()[f"POST {ROUTE}"], spans()[CALL[1:]]
    assert outer.parent_span_id.hex() == PARENT
    assert inner.parent_span_id == outer.span_id
    assert outer.start_time_unix_nano <= inner.start_time_unix_nano <= inner.end_time_unix_nano
    parts = [span.name for span in collector.spans() if span.parent_span_id in (outer.span_id, inner.span_id)]
    # What goes over the hop is neither encoded nor decoded.
    assert sorted(parts) == sorted(["decode", "queue", "infer", "encode", "queue", "infer", CALL[1:]])


def test_a_call_over_grpc_is_told_and_counted_too(seen: Server) -> None:
    request = protocol.predict_pb2.PredictRequest()
    request.model_spec.name = "circles"
    request.inputs["image"].CopyFrom(protocol.to_tensor_proto(np.zeros((3, 32, 32, 1), np.uint8)))
    with grpc.insecure_channel(f"127.0.0.1:{seen.port}") as channel:
        stub = protocol.prediction_service_pb2_grpc.PredictionServiceStub(channel)
        _, call = stub.Predict.with_call(request, timeout=PATIENCE_S, metadata=(("x-request-id", "direct"),))
    assert ("x-request-id", "direct") in [(key, value) for key, value in call.trailing_metadata()]
    wait_until(lambda: any(line["request_id"] == "direct" for line in answered(seen)), seen.log.read_text)
    page = requests.get(f"{seen.url}/metrics", timeout=PATIENCE_S).text
    # Once: what gateways join into calls is counted where it came in.
    assert f'signpost_requests_total{{model="circles",route="{CALL}",status="OK",version="1"}} 1.0' in page
    [memory] = [line for line in page.splitlines() if line.startswith("process_resident_memory_bytes ")]
    assert float(memory.split()[1]) > 300e6  # the engine process has TensorFlow


def test_the_last_spans_are_sent_when_it_stops(seen: Server, collector: Collector) -> None:
    requests.get(f"{seen.url}/v1/models", headers={"traceparent": f"00-{'1' * 32}-{PARENT}-01"}, timeout=PATIENCE_S)
    assert seen.stop() == 0
    assert "1" * 32 in {span.trace_id.hex() for span in collector.spans()}
    assert [json.loads(line)["level"] for line in seen.log.read_text().splitlines() if line.startswith("{")].count(
        "error"
    ) == 0
