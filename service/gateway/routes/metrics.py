"""The route that shows the metrics."""

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service.gateway.openapi.document import described
from service.gateway.openapi.schemas import text_of
from service.telemetry.metrics import Metrics


def blueprint(metrics: Metrics) -> Blueprint:
    """The route `/metrics`."""
    routes = Blueprint("metrics", __name__)

    @routes.get("/metrics")
    @described("Service", text_of("text/plain"))
    def show() -> Response:
        """Metrics for Prometheus."""
        return Response(generate_latest(metrics), content_type=CONTENT_TYPE_LATEST)

    return routes
