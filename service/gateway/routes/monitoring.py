"""TF Serving's metrics under its path, where `--monitoring_config_file` enables them."""

from flask import Blueprint, Response

from service.gateway.openapi.document import described
from service.gateway.openapi.schemas import text_of
from service.telemetry.serving_metrics import ServingMetrics


def blueprint(metrics: ServingMetrics, path: str) -> Blueprint:
    """The route that shows them."""
    routes = Blueprint("monitoring", __name__)

    @routes.get(path)
    @described("Service", text_of("text/plain"))
    def show() -> Response:
        """Metrics for Prometheus under TensorFlow Serving's names."""
        return Response(metrics.text(), content_type="text/plain; charset=utf-8")

    return routes
