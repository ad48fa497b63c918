"""TF Serving's metrics under its path, where `--monitoring_config_file` enables them."""

from pathlib import Path
from typing import Final

from flask import Blueprint, Response

from service.config import text_messages
from service.errors import SettingsError
from service.gateway.openapi.document import described
from service.gateway.openapi.schemas import text_of
from service.telemetry.serving_metrics import ServingMetrics

_DEFAULT_PATH: Final = "/monitoring/prometheus/metrics"


def read_path(file: Path | None) -> str | None:
    """The path that a file with `tensorflow.serving.MonitoringConfig` in text format names; None where it enables none.

    Raises:
        SettingsError: it can't be read, or its path does not begin with a slash.
    """
    if file is None:
        return None
    config = text_messages.read(file, "MonitoringConfig").prometheus_config
    path: str = config.path or _DEFAULT_PATH
    if not path.startswith("/") or not set("<>?#").isdisjoint(path):
        raise SettingsError(f"{file}: the path must begin with a slash and have none of <>?#, not {path!r}.")
    return path if config.enable else None


def blueprint(metrics: ServingMetrics, path: str) -> Blueprint:
    """The route that shows them."""
    routes = Blueprint("monitoring", __name__)

    @routes.get(path)
    @described("Service", text_of("text/plain"))
    def show() -> Response:
        """Metrics for Prometheus under TensorFlow Serving's names."""
        return Response(metrics.text(), content_type="text/plain; charset=utf-8")

    return routes
