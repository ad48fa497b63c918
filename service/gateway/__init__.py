"""The gateway: HTTP in, engine calls, HTTP out. It never imports TensorFlow."""

from collections.abc import Callable
from pathlib import Path

from flask import Flask
from werkzeug.routing import BaseConverter

from service.config.settings import Settings
from service.gateway import playground
from service.gateway.express.lane import Express, why_not_express
from service.gateway.middleware import access, cors, exchange, forms, http_errors, overload, paths, query, unmeasured
from service.gateway.oip import infer, models
from service.gateway.oip import repository as oip_repository
from service.gateway.routes import (
    about_api,
    admin_api,
    examples_api,
    health,
    metrics,
    monitoring,
    openapi_pages,
    predict,
    status,
)
from service.gateway.routes.admin_api import Reload
from service.interface import Engine
from service.oip.repository import Repository
from service.security.access import Access
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import Tracing


class _Name(BaseConverter):
    """The name of a model or label in a path; it ends where the `:` of a verb begins, as in TF Serving."""

    regex = "[^/:]+"
    part_isolating = True


def create_app(
    settings: Settings,
    engine: Engine,
    measured: Metrics,
    *,
    admits: Access,
    why_not_ready: Callable[[], str] = str,
    config_override: Path | None = None,
    reload: Reload | None = None,
    tracing: Tracing | None = None,
    repository: Repository | None = None,
    monitoring_path: str | None = None,
) -> Flask:
    """Make the application.

    Args:
        settings: limits and time-outs.
        engine: what answers; its owner starts and closes it.
        measured: the metrics of this process.
        admits: lets each request in, or not.
        why_not_ready: what keeps the service from being ready beside the models of this worker; empty if nothing does.
        config_override: where a configuration is put that a client sets while the service runs.
        reload: puts such a configuration in place; None where this process can't.
        tracing: where each request's trace goes; None traces none.
        repository: loads and unloads models by name; None where this process can't.
        monitoring_path: where metrics are shown under TF Serving's names; None where they are not.
    """
    app = Flask("signpost", static_folder=None)
    app.url_map.converters["name"] = _Name
    app.request_class = forms.InMemory
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.config["MAX_FORM_MEMORY_SIZE"] = settings.max_form_bytes
    app.config["MAX_FORM_PARTS"] = settings.max_images + 16  # some parts may be plain fields
    app.json.sort_keys = False  # type: ignore[attr-defined]  # the default provider has it
    exchange.register(app, measured, settings.access_log, tracing)
    unmeasured.register(app)
    http_errors.register(app)
    overload.register(app, measured)
    query.register(app)
    for routes in (
        predict.blueprint(settings, engine, measured),
        examples_api.blueprint(settings, engine, measured),
        status.blueprint(engine),
        about_api.blueprint(settings, engine, config_override),
        health.blueprint(engine, why_not_ready),
        metrics.blueprint(measured),
        playground.blueprint(settings, admits.needs_key),
        openapi_pages.blueprint(settings, admits.needs_key),
        admin_api.blueprint(settings, reload),
        infer.blueprint(settings, engine, measured),
        models.blueprint(settings, engine, measured, why_not_ready),
        oip_repository.blueprint(settings, engine, repository),
    ):
        app.register_blueprint(routes)
    if monitoring_path is not None:
        app.register_blueprint(monitoring.blueprint(measured.serving, monitoring_path))
    access.guard(app, admits)
    if settings.rest_api_enable_cors_support:
        cors.register(app)
    if not why_not_express(settings, tracing is not None):
        app.extensions["express"] = Express(settings, engine, measured, admits)
    app.wsgi_app = paths.in_lower_case(app.wsgi_app)  # type: ignore[method-assign, assignment]  # Flask's way to wrap
    return app
