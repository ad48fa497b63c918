"""`POST /v1/config:reload`: put another configuration in place, as HandleReloadConfigRequest does over gRPC."""

import logging
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, g, jsonify, request

from service.config import model_config
from service.config.settings import Settings
from service.errors import Unsupported
from service.gateway.middleware.exchange import request_id
from service.gateway.openapi.document import described
from service.gateway.openapi.examples import CONFIG_ANSWER, CONFIG_BODY

log = logging.getLogger(__name__)

# See `service.parts.reloading`.
Reload = Callable[[Any, float], None]


def blueprint(settings: Settings, reload: Reload | None) -> Blueprint:
    """The route; without `reload` it says that this process can't.

    Args:
        settings: tell how long a request may take.
        reload: puts a configuration in place.
    """
    routes = Blueprint("admin", __name__)

    @routes.post("/v1/config:reload")
    @described("Service", CONFIG_ANSWER, body=CONFIG_BODY, errors=(400, 403, 404, 501, 503, 504), access="admin")
    def reload_config() -> Response:
        """Serve what another configuration says.

        The body is a `ModelServerConfig`, in the text format of `models.config` or as JSON. It is answered when every
        model has the versions that it should have, in every worker. The configuration stays until the file changes or
        the service stops.
        """
        if reload is None:
            raise Unsupported("The models belong to other engines; change the configuration there.")
        message = model_config.read_body(request.get_data(cache=False))
        log.info("Request %s (%s) reloads the configuration.", request_id(), g.key_name or "without a key")
        reload(message, settings.rest_api_timeout_in_ms / 1e3)
        return jsonify(models=[model.name for model in message.model_config_list.config])

    return routes
