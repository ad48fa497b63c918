"""`/v2/repository/…`: which models there are, and loading and unloading them by name."""

import logging
from typing import Any

from flask import Blueprint, Response, g, jsonify, request

from service.config.settings import Settings
from service.errors import InvalidRequest
from service.gateway.bodies import json_body
from service.gateway.middleware.exchange import request_id
from service.gateway.openapi import oip as examples
from service.gateway.openapi.document import described
from service.interface import Engine
from service.oip import about, repository
from service.oip.repository import Repository
from service.oip.requests import flag

log = logging.getLogger(__name__)

_CHANGING = (400, 403, 404, 501, 503, 504)


def blueprint(settings: Settings, engine: Engine, models: Repository | None) -> Blueprint:
    """The `POST /v2/repository/…` routes.

    Args:
        settings: tell how long a request may take.
        engine: of this worker.
        models: loads and unloads them; None where this process can't.
    """
    routes = Blueprint("oip_repository", __name__)

    @routes.post("/v2/repository/index")
    @described(examples.TAG, examples.INDEX, body=examples.INDEX_BODY, errors=(400,))
    def index() -> Response:
        """Every version of every model with its state; `{"ready": true}` leaves out those that do not answer."""
        only_ready = flag(_body(), "ready")
        unloaded = models.unloaded() if models is not None else ()
        return jsonify(about.index(engine.status(), only_ready, unloaded))

    @routes.post("/v2/repository/models/<name:name>/load")
    @described(examples.TAG, examples.LOADED, body=examples.CHANGE_BODY, errors=_CHANGING, access="admin")
    def load(name: str) -> Response:
        """Serve a model from now on.

        It is answered when the model has the versions that it should have. The change stays until the file of the
        configuration changes or the service stops.
        """
        changes = _changes()
        log.info("Request %s (%s) loads %s.", request_id(), g.key_name or "without a key", name)
        changes.load(name, settings.rest_api_timeout_in_ms / 1e3)
        return jsonify(name=name, load=True)

    @routes.post("/v2/repository/models/<name:name>/unload")
    @described(examples.TAG, examples.UNLOADED, body=examples.CHANGE_BODY, errors=_CHANGING, access="admin")
    def unload(name: str) -> Response:
        """Serve a model no longer.

        It is answered when the model has gone. The change stays until the file of the configuration changes or the
        service stops.
        """
        changes = _changes()
        log.info("Request %s (%s) unloads %s.", request_id(), g.key_name or "without a key", name)
        changes.unload(name, settings.rest_api_timeout_in_ms / 1e3)
        return jsonify(name=name, unload=True)

    def _changes() -> Repository:
        parameters = _body().get("parameters") or {}
        if not isinstance(parameters, dict):
            raise InvalidRequest("The parameters must be a JSON object.")
        repository.check(parameters)
        return repository.of_this_service(models)

    def _body() -> dict[str, Any]:
        body = request.get_data(cache=False)
        document = json_body.parse(body, settings.max_json_depth) if body.strip() else {}
        if not isinstance(document, dict):
            raise InvalidRequest("The body must be a JSON object, or empty.")
        return document

    return routes
