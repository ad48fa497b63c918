"""Traces by the standard variables: off and not even imported without them, sent to a collector with them."""

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from service.telemetry import tracing
from service.telemetry.tracing import Tracing
from tests.collector import Collector, collecting

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
    ],
)
def test_a_collector_turns_them_on(environment: dict[str, str], wanted: bool) -> None:
    assert tracing.is_wanted(environment) is wanted
    if not wanted:
        assert tracing.from_environment(environment) is None


def test_what_stands_in_the_way_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    on = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}
    assert tracing.why_not(on) == ""
    assert "http/protobuf" in tracing.why_not({**on, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
    monkeypatch.setattr(tracing, "find_spec", lambda _: None)
    assert "signpost-serving[otel]" in tracing.why_not(on)
    assert tracing.from_environment(on) is None


@pytest.mark.slow
def test_nothing_is_imported_without_them() -> None:
    program = (
        "import sys, service.process.launcher, service.process.worker\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        yield collector


def test_a_request_and_its_stages_are_spans(collector: Collector) -> None:
    traces = Tracing({})
    trace = traces.begin("POST /x", {"traceparent": PARENT}, {"http.route": "/x"})
    sent = dict(trace.carried)["traceparent"]
    now = time.time_ns()
    trace.end([("queue", 0.5, now), ("infer", 0.25, now)], {"http.response.status_code": 503, "empty": ""}, "HTTP 503")
    traces.close()
    spans = {span.name: span for span in collector.spans()}
    root = spans["POST /x"]
    assert root.trace_id.hex() == PARENT.split("-")[1]
    assert root.parent_span_id.hex() == PARENT.split("-")[2]
    assert sent == f"00-{root.trace_id.hex()}-{root.span_id.hex()}-01"
    assert root.status.message == "HTTP 503"
    assert {each.key for each in root.attributes} == {"http.route", "http.response.status_code"}
    assert spans["infer"].parent_span_id == spans["queue"].parent_span_id == root.span_id
    assert spans["queue"].end_time_unix_nano == spans["infer"].start_time_unix_nano
    assert spans["queue"].end_time_unix_nano - spans["queue"].start_time_unix_nano == 500_000_000
    assert {"key": "service.name", "value": "signpost"} in collector.resource()


def test_the_services_own_name_counts(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "pictures")
    traces = tracing.from_environment({"OTEL_SERVICE_NAME": "pictures", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})
    assert traces is not None
    traces.begin("x", {}, {}).end([], {})
    traces.close()
    assert {"key": "service.name", "value": "pictures"} in collector.resource()


def test_a_collector_that_hangs_does_not_keep_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "_FLUSH_S", 0.2)
    with collecting(hangs=True) as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2")
        traces = Tracing({})
        traces.begin("x", {}, {}).end([], {})
        started_s = time.monotonic()
        traces.close()
        assert time.monotonic() - started_s < 2
