"""What every request and answer has: an ID, the time each stage took, and a count in the metrics."""

import re
import secrets
import time
from dataclasses import dataclass, field
from typing import Final

from flask import Flask, Response, g, request

from service.gateway import http_errors
from service.metrics import Metrics

_REQUEST_ID: Final = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)


@dataclass
class Timings:
    """Seconds of each stage of the request at hand, in the order in which they are passed."""

    stages_s: dict[str, float] = field(default_factory=dict)

    def add(self, stage: str, seconds: float) -> None:
        """Add to a stage."""
        self.stages_s[stage] = self.stages_s.get(stage, 0.0) + seconds

    def header(self) -> str:
        """The value of a Server-Timing header (W3C), in milliseconds."""
        return ", ".join(f"{stage};dur={seconds * 1e3:.3f}" for stage, seconds in self.stages_s.items())


def register(app: Flask, metrics: Metrics) -> None:
    """Make the application do this around every request."""

    @app.before_request
    def begin() -> None:
        wanted = request.headers.get("X-Request-ID", "")
        g.request_id = wanted if _REQUEST_ID.fullmatch(wanted) else secrets.token_hex(16)
        g.timings = Timings()
        g.model = g.version = ""
        g.started_s = time.monotonic()

    @app.after_request
    def end(response: Response) -> Response:
        g.timings.add("total", time.monotonic() - g.started_s)
        response.headers["X-Request-ID"] = g.request_id
        response.headers["X-Content-Type-Options"] = "nosniff"  # what answers are is what they say
        response.headers["Server-Timing"] = g.timings.header()
        if g.version:
            response.headers["X-Model-Version"] = g.version
        rule = request.url_rule.rule if request.url_rule else "none"
        metrics.count(rule, g.model, g.version, response.status_code, g.timings.stages_s)
        _, colon, verb = rule.rpartition(":")
        if g.model and colon and verb.isalpha():
            status = http_errors.grpc_name(response.status_code)
            metrics.serving.count_request(g.model, verb, "REST", status, g.timings.stages_s["total"])
        return response


def timings() -> Timings:
    """The timings of the request at hand."""
    current: Timings = g.timings
    return current


def request_id() -> str:
    """The ID of the request at hand."""
    current: str = g.request_id
    return current


def served_by(model: str, version: int) -> None:
    """Note which model and version answer the request at hand; only names that exist, as they become metrics."""
    g.model, g.version = model, str(version)
