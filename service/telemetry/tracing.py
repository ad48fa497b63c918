"""OpenTelemetry traces, where the standard variables (`OTEL_…`) ask for them and the extra `otel` is installed.

Nothing of OpenTelemetry is imported before that. Each request is a span, each of its stages one below it; a client's
`traceparent` is taken up and goes on to an engine elsewhere. The library's own thread sends what has ended; it is
made after the fork and ended by `close`.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Final

from service.version import __version__

log = logging.getLogger(__name__)

# Seconds that a process which stops may take to send its last spans.
_FLUSH_S: Final = 5.0
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Whether the variables name a collector, and do not turn traces off."""
    return (
        any(environment.get(name) for name in _ENDPOINTS)
        and environment.get("OTEL_SDK_DISABLED", "").lower() != "true"
        and environment.get("OTEL_TRACES_EXPORTER", "otlp") == "otlp"
    )


def why_not(environment: Mapping[str, str]) -> str:
    """What stands in the way of traces that are wanted; empty where nothing does."""
    if not all(map(_is_installed, ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"))):
        return "OpenTelemetry is not installed; pip install 'signpost-serving[otel]'"
    spoken = {environment.get(name, "") for name in _PROTOCOLS} - {"", "http/protobuf"}
    return f"only the protocol http/protobuf is supported, not {min(spoken)}" if spoken else ""


def from_environment(environment: Mapping[str, str]) -> "Tracing | None":
    """Traces as the variables want them, in this process; None where they want none. To be called after any fork."""
    return Tracing(environment) if is_wanted(environment) and not why_not(environment) else None


class Tracing:
    """Makes a trace of each request and sends it to the collector.

    Args:
        environment: the variables; the library itself reads the process's own.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Start the thread that sends."""
        from opentelemetry import propagate, trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        named = "service.name=" in environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
        name = {} if named or environment.get("OTEL_SERVICE_NAME") else {"service.name": "signpost"}
        self._provider = TracerProvider(resource=Resource.create({**name, "service.version": __version__}))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("signpost", __version__)
        self._propagate = propagate
        self._trace = trace

    def begin(self, name: str, headers: Any, attributes: Mapping[str, str]) -> "Trace":
        """Begin the span of a request.

        Args:
            name: of the span.
            headers: what came with the request, by name (in lower case where names have a case).
            attributes: what is known of it.
        """
        came_from = self._propagate.extract(headers)
        span = self._tracer.start_span(name, came_from, self._trace.SpanKind.SERVER, dict(attributes))
        return Trace(self._tracer, self._trace, span, self._propagate.inject)

    def close(self) -> None:
        """Send what has ended, within a bound, and end the thread."""
        last = threading.Thread(target=self._provider.shutdown, name="last-traces", daemon=True)
        last.start()
        last.join(_FLUSH_S)
        if last.is_alive():
            log.warning("The last traces could not be sent within %g s.", _FLUSH_S)


class Trace:
    """The span of one request; made by `Tracing.begin`."""

    def __init__(self, tracer: Any, api: Any, span: Any, inject: Any) -> None:
        """Hold it."""
        self._tracer = tracer
        self._api = api
        self._span = span
        self._context = api.set_span_in_context(span)
        carrier: dict[str, str] = {}
        inject(carrier, context=self._context)
        self.carried = tuple(carrier.items())

    def end(
        self, stages: Sequence[tuple[str, float, int]], attributes: Mapping[str, str | int], error: str = ""
    ) -> None:
        """End it, with a span for each stage.

        Args:
            stages: name, seconds, and end (nanoseconds since 1970) of each.
            attributes: what is known now.
            error: what it failed of, where that is the service's fault.
        """
        span = self._span
        if span.is_recording():
            infer_s = next((seconds for stage, seconds, _ in stages if stage == "infer"), 0.0)
            for stage, seconds, end_ns in stages:
                # Both are noted when the answer is there; what waited did so before it ran.
                end_ns -= int(infer_s * 1e9) if stage == "queue" else 0
                part = self._tracer.start_span(stage, self._context, start_time=end_ns - int(seconds * 1e9))
                part.end(end_ns)
            span.set_attributes({key: value for key, value in attributes.items() if value != ""})
            if error:
                span.set_status(self._api.StatusCode.ERROR, error)
        span.end()


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
