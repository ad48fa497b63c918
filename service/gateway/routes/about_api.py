"""What the store says of a model beyond its status: labels, and the model card and figures of a version.

A gateway before a remote engine has no store, or another one: there these routes find nothing.
"""

import json
import mimetypes
from pathlib import Path
from typing import Any, Final

from flask import Blueprint, Response, jsonify, request

from service import store
from service.config import config_source
from service.config.model_config import ModelConfig
from service.config.settings import Settings
from service.errors import NotFound, SettingsError, StoreError
from service.gateway.middleware.exchange import served_by
from service.gateway.openapi.document import described
from service.gateway.openapi.examples import LABELS
from service.gateway.openapi.schemas import ASKING, image_of, json_of
from service.gateway.routes.status import runtime_of
from service.interface import Engine, ModelSpec, Servable
from service.near_misses import did_you_mean

# Nothing else of a version's folder ever leaves by HTTP.
CARD: Final = "model_card.json"
FILES: Final = (CARD, "curves.png", "confusion_matrix.png")


def blueprint(settings: Settings, engine: Engine, config_override: Path | None = None) -> Blueprint:
    """The routes `GET /v1/models/M/labels` and `…/extra/FILE` of a model, of a version and of a label."""
    routes = Blueprint("about", __name__)
    source = None if settings.engine_addresses else config_source.from_settings(settings, config_override)

    @routes.get("/v1/models/<name:name>/labels")
    @described("Models", LABELS, errors=(404,))
    def labels(name: str) -> Response:
        """The labels of a model and the versions that they point at."""
        if name not in (models := engine.status().models):
            raise NotFound(f"There is no model {name}; {did_you_mean(name, models)}GET /v1/models lists the models.")
        config = _config(name)
        return jsonify(labels=dict(config.labels) if config is not None else {})

    @routes.get("/v1/models/<name:name>/extra/<any(model_card.json, curves.png, confusion_matrix.png):file>")
    @routes.get(
        "/v1/models/<name:name>/versions/<int:version>"
        "/extra/<any(model_card.json, curves.png, confusion_matrix.png):file>"
    )
    @routes.get(
        "/v1/models/<name:name>/labels/<name:label>/extra/<any(model_card.json, curves.png, confusion_matrix.png):file>"
    )
    @described("Models", {**json_of("ModelCard"), **image_of("image/png")}, errors=ASKING)
    def extra(name: str, file: str, version: int | None = None, label: str | None = None) -> Response:
        """The model card of a version, or one of its figures.

        404 where it has none, and before a remote engine, whose store is elsewhere.
        """
        with engine.lease(ModelSpec(name, version, label)) as servable:
            served_by(servable.name, servable.version)
            path = _folder(servable) / file
            if not path.is_file():
                raise NotFound(f"{servable.name} version {servable.version} has no {file} here.")
            content = path.read_bytes()  # some kilobytes
            if file == CARD:
                content = _with_runtime(content, runtime_of(servable))
            response = Response(content, mimetype=mimetypes.guess_type(file)[0])
        response.cache_control.no_cache = True  # kept by a browser, which asks whether it still holds
        response.add_etag()
        response.make_conditional(request)
        return response

    def _folder(servable: Servable) -> Path:
        config = _config(servable.name)
        if config is None:
            raise NotFound(f"The store of {servable.name} is not here, so nothing more is known about it.")
        try:
            folder = config.look().versions[servable.version]
        except (KeyError, StoreError) as error:  # loaded, and gone from the disk since
            raise NotFound(f"{servable.name} version {servable.version} is no longer in the store.") from error
        return folder / store.EXTRA

    def _config(name: str) -> ModelConfig | None:
        if source is None:  # what is here need not be what the engine has
            return None
        try:
            return next((config for config in source.read() if config.name == name), None)
        except (SettingsError, StoreError):  # no store here
            return None

    return routes


def _with_runtime(card: bytes, runtime: dict[str, Any]) -> bytes:
    """A model card that says too what runs the version here; as it is where it can't be read or nobody tells."""
    try:
        read = json.loads(card)
    except ValueError:
        return card
    return json.dumps({**read, "runtime": runtime}).encode() if runtime and isinstance(read, dict) else card
