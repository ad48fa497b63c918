"""What there is, by the Open Inference Protocol: the service, its models, their configuration and statistics."""

from collections.abc import Callable
from typing import Final

from flask import Blueprint, Response, jsonify

from service.config.settings import Settings
from service.gateway.openapi import oip as examples
from service.gateway.openapi.document import described
from service.gateway.openapi.schemas import ASKING
from service.interface import Engine
from service.oip import about, inference, statistics
from service.oip.requests import rules_of, spec_of
from service.telemetry.metrics import Metrics

_STARTING: Final = "Not every model has a version ready yet."
_UNREADY: Final = {503: "Not yet, or no longer; the body has the same form."}


def blueprint(settings: Settings, engine: Engine, metrics: Metrics, why_not: Callable[[], str]) -> Blueprint:
    """The `GET /v2…` routes.

    Args:
        settings: tell what a request may carry.
        engine: of this worker.
        metrics: those of the service.
        why_not: what keeps the service from being ready beside the models of this worker; empty if nothing does.
    """
    routes = Blueprint("oip_models", __name__)

    @routes.get("/v2")
    @described(examples.TAG, examples.SERVER)
    def server() -> Response:
        """Who answers, and which extensions of the protocol it speaks."""
        return jsonify(about.server())

    @routes.get("/v2/health/live")
    @described(examples.TAG, examples.LIVE, access="open")
    def live() -> Response:
        """Whether the process answers."""
        return jsonify(live=True)

    @routes.get("/v2/health/ready")
    @described(examples.TAG, examples.READY, statuses=_UNREADY, access="open")
    def ready() -> tuple[Response, int]:
        """Whether every model has a version that answers."""
        reason = why_not() if engine.status().ready else _STARTING
        return (jsonify(ready=False, error=reason), 503) if reason else (jsonify(ready=True), 200)

    @routes.get("/v2/models")
    @described(examples.TAG, examples.MODELS)
    def list_models() -> Response:
        """The names of all models."""
        return jsonify(models=list(engine.status().models))

    @routes.get("/v2/models/<name:name>")
    @routes.get("/v2/models/<name:name>/versions/<name:version_or_label>")
    @described(examples.TAG, examples.METADATA, errors=(400, *ASKING))
    def metadata(name: str, version_or_label: str = "") -> Response:
        """What a model takes and gives: names, datatypes and shapes."""
        with inference.leased(engine, spec_of(name, version_or_label)) as servable:
            return jsonify(about.metadata(servable, engine.status(), every=not version_or_label))

    @routes.get("/v2/models/<name:name>/ready")
    @routes.get("/v2/models/<name:name>/versions/<name:version_or_label>/ready")
    @described(examples.TAG, examples.MODEL_READY, errors=ASKING)
    def model_ready(name: str, version_or_label: str = "") -> Response:
        """Whether a model, or one of its versions, answers."""
        inference.check_ready(engine, spec_of(name, version_or_label))
        return jsonify(name=name, ready=True)

    @routes.get("/v2/models/<name:name>/config")
    @routes.get("/v2/models/<name:name>/versions/<name:version_or_label>/config")
    @described(examples.TAG, examples.CONFIG, errors=(400, *ASKING))
    def config(name: str, version_or_label: str = "") -> Response:
        """Triton's configuration of a model, as far as it applies here."""
        with inference.leased(engine, spec_of(name, version_or_label)) as servable:
            return jsonify(about.config(servable, rules_of(settings)))

    @routes.get("/v2/models/stats")
    @described(examples.TAG, examples.STATISTICS)
    def all_statistics() -> Response:
        """What all models have done so far."""
        return jsonify(model_stats=statistics.statistics(metrics, engine))

    @routes.get("/v2/models/<name:name>/stats")
    @routes.get("/v2/models/<name:name>/versions/<name:version_or_label>/stats")
    @described(examples.TAG, examples.STATISTICS, errors=ASKING)
    def model_statistics(name: str, version_or_label: str = "") -> Response:
        """What a model has done so far: requests, instances, batches, and the time of each stage."""
        return jsonify(model_stats=statistics.statistics(metrics, engine, spec_of(name, version_or_label)))

    return routes
