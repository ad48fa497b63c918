"""Requests that came when too many others waited, and how long a client is willing to wait."""

import re
import time
from typing import Final

from flask import Flask, request

from service.admission import ARRIVAL, Arrival, too_many
from service.errors import Overloaded
from service.telemetry.carried import milliseconds_in
from service.telemetry.metrics import Metrics

DEADLINE_HEADER: Final = "X-Request-Deadline-Ms"
_RUNS: Final = re.compile(r":(?:predict|classify|regress)|/infer", re.ASCII)


def register(app: Flask, metrics: Metrics) -> None:
    """Make the application refuse what is to be refused before it reads a body; everything but models goes on."""

    @app.before_request
    def refuse() -> None:
        arrival: Arrival | None = request.environ.get(ARRIVAL)
        if arrival is not None and arrival.refused and request.method == "POST" and _RUNS.search(request.path):
            wait_s = time.monotonic() - arrival.at_s
            metrics.count_refusal()
            raise Overloaded(too_many(wait_s), wait_s)


def patience(most_s: float) -> tuple[float, str]:
    """How long the client of the current request waits; see `patience_of`."""
    return patience_of(request.headers.get(DEADLINE_HEADER), arrived_s(), most_s)


def arrived_s() -> float:
    """Time (`time.monotonic()`) at which the current request arrived."""
    arrival: Arrival | None = request.environ.get(ARRIVAL)
    return time.monotonic() if arrival is None else arrival.at_s


def patience_of(text: str | None, arrived_s: float, most_s: float) -> tuple[float, str]:
    """How long the client of a request waits, counted from its arrival.

    Args:
        text: its header, if it has one.
        arrived_s: time (`time.monotonic()`) of its arrival.
        most_s: seconds that any request may take.

    Returns:
        Time (`time.monotonic()`) until which it waits, and what limits it, for people.

    Raises:
        InvalidRequest: its header is not a whole number of at least 1.
    """
    if text is None:
        return arrived_s + most_s, f"the service's {most_s * 1e3:.0f} ms"
    allowed_s = min(most_s, milliseconds_in(text, DEADLINE_HEADER) / 1e3)
    return arrived_s + allowed_s, f"the {allowed_s * 1e3:.0f} ms of {DEADLINE_HEADER}"
