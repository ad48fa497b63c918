"""What every request and answer has: an ID, the time each stage took, and a count in the metrics."""

import re
import time
from collections.abc import Mapping
from typing import Final

from flask import Flask, Response, g, request

from service.gateway.middleware import http_errors
from service.telemetry.carried import request_id_of
from service.telemetry.logs import Answered
from service.telemetry.metrics import Metrics
from service.telemetry.timings import Timings
from service.telemetry.tracing import Trace, Tracing

# Asked so often, and telling so little, that they are not part of a trace.
_PROBES: Final = ("/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready")
# Flask's names of routes, where others than Flask count what takes them.
NO_ROUTE: Final = "none"
INFER: Final = "/v2/models/<name:name>/infer"
INFER_OF_VERSION: Final = "/v2/models/<name:name>/versions/<name:version_or_label>/infer"
# Who answered: Flask, the express lane, or the front, which no request passes that can't be read or exceeds a limit.
FLASK: Final = "flask"
EXPRESS: Final = "express"
FRONT: Final = "front"
# What a route that runs a model ends with.
_VERB: Final = re.compile(r"(?::|/(?=infer))([a-z]+)$")


def register(app: Flask, metrics: Metrics, access_log: bool = False, tracing: Tracing | None = None) -> None:
    """Make the application do this around every request.

    Args:
        app: the application.
        metrics: those of this process.
        access_log: whether each request gets a line in the log.
        tracing: where each request's trace goes; None traces none.
    """

    @app.before_request
    def begin() -> None:
        g.request_id = request_id_of(request.headers.get("X-Request-ID", ""))
        g.timings = Timings()
        g.model = g.version = ""
        g.images = g.instances = 0
        g.trace = None if tracing is None else _begin_trace(tracing)
        g.started_s = time.monotonic()

    @app.after_request
    def end(response: Response) -> Response:
        g.timings.add("total", time.monotonic() - g.started_s)
        response.headers.update(headers_of(g.request_id, g.timings, g.version, FLASK))
        rule = request.url_rule.rule if request.url_rule else NO_ROUTE
        count(metrics, rule, g.model, g.version, response.status_code, g.timings.stages_s, lane=FLASK)
        if access_log:
            _answered(rule, response).write()
        if g.trace is not None:
            _end_trace(g.trace, response)
        return response


def headers_of(request_id: str, timings: Timings, version: str, lane: str) -> dict[str, str]:
    """The headers that every answer has; `version` is empty where no model answered, `lane` is who did."""
    headers = {
        "X-Request-ID": request_id,
        "X-Content-Type-Options": "nosniff",  # what answers are is what they say
        "Server-Timing": f"{timings.header()}, lane;desc={lane}",
    }
    return {**headers, "X-Model-Version": version} if version else headers


def count(
    metrics: Metrics, rule: str, model: str, version: str, status: int, *stages_s: Mapping[str, float], lane: str
) -> None:
    """Count answered requests.

    Args:
        metrics: those of this process.
        rule: of the route that they took.
        model: what answered them; empty where no model did.
        version: of the model.
        status: HTTP's.
        stages_s: of each request the seconds of each stage, and in total.
        lane: who answered.
    """
    metrics.count(rule, model, version, status, *stages_s)
    metrics.count_lane(lane, len(stages_s))
    if model and (verb := _VERB.search(rule)) is not None:
        totals = (each["total"] for each in stages_s)
        metrics.serving.count_request(model, verb[1], "REST", http_errors.grpc_name(status), *totals)


def timings() -> Timings:
    """The timings of the current request."""
    current: Timings = g.timings
    return current


def request_id() -> str:
    """The ID of the current request."""
    current: str = g.request_id
    return current


def trace() -> Trace | None:
    """The trace of the current request."""
    current: Trace | None = g.trace
    return current


def answered(images: int = 0, instances: int = 0) -> None:
    """Note how many images were decoded, or instances answered, for the current request."""
    g.images += images
    g.instances += instances


def served_by(model: str, version: int) -> None:
    """Note which model and version answer the current request; only names that exist, as they become metrics."""
    g.model, g.version = model, str(version)


def _answered(rule: str, response: Response) -> Answered:
    """What the log tells: the rule rather than the path, and nothing of the query, which may hold secrets."""
    return Answered(
        protocol="HTTP",
        request_id=g.request_id,
        method=request.method if request.url_rule else "",
        route=rule,
        status=response.status_code,
        model=g.model,
        version=g.version,
        images=g.images,
        instances=g.instances,
        stages_s=g.timings.stages_s,
        bytes_in=request.content_length,
        bytes_out=response.content_length,
        client=request.remote_addr or "",
    )


def _begin_trace(tracing: Tracing) -> Trace | None:
    rule = request.url_rule.rule if request.url_rule else "none"
    if rule in _PROBES:
        return None
    g.timings.ended = []
    name = f"{request.method} {rule}" if request.url_rule else "none"
    attributes = {"http.request.method": request.method, "http.route": rule, "url.scheme": request.scheme}
    return tracing.begin(name, request.headers, {**attributes, "signpost.request_id": g.request_id})


def _end_trace(current: Trace, response: Response) -> None:
    status = response.status_code
    current.end(
        g.timings.ended[:-1],  # the total is the request's own span
        {
            "http.response.status_code": status,
            "signpost.model": g.model,
            "signpost.version": g.version,
            "signpost.images": g.images,
            "signpost.instances": g.instances,
        },
        f"HTTP {status}" if status >= 500 else "",
    )
