"""Is it alive, is it ready."""

from collections.abc import Callable

from flask import Blueprint, Response, jsonify

from service.gateway.openapi.document import described
from service.gateway.openapi.examples import LIVE, READY
from service.interface import Engine, State, Status


def blueprint(engine: Engine, why_not: Callable[[], str]) -> Blueprint:
    """The routes `/healthz` (the process answers) and `/readyz` (every model can, in every worker).

    Args:
        engine: of this worker.
        why_not: what keeps the service from being ready beside the models of this worker; empty if nothing does.
    """
    routes = Blueprint("health", __name__)

    @routes.get("/healthz")
    @described("Service", LIVE, access="open")
    def live() -> Response:
        """Whether the process answers."""
        return jsonify(status="live")

    @routes.get("/readyz")
    @described(
        "Service",
        READY,
        statuses={503: "Not yet, or no longer; the body has the same form."},
        access="open",
    )
    def ready() -> tuple[Response, int]:
        """Whether the version of every model that answers by default is loaded in every worker."""
        status = engine.status()
        models = {
            name: "ready" if any(v.state is State.AVAILABLE for v in versions) else _why_not(name, status)
            for name, versions in status.models.items()
        }
        if reason := status.waiting or (status.ready and why_not()):
            return jsonify(ready=False, models=models, waiting=reason), 503
        return jsonify(ready=status.ready, models=models), 200 if status.ready else 503

    return routes


def _why_not(name: str, status: Status) -> str:
    failed = (version.error for version in status.models[name] if version.error)
    return next(failed, status.reasons.get(name, "loading"))
