"""`/openapi.json`, and the same for people at `/docs`."""

import re
from typing import Any, Final

from flask import Blueprint, Response, current_app, json, jsonify, request

from service.config.settings import Settings
from service.gateway import playground
from service.gateway.openapi import document as openapi
from service.gateway.openapi.document import described
from service.gateway.openapi.schemas import json_of, text_of

Json = dict[str, Any]

_REFERENCE: Final = "#/components/"


def blueprint(settings: Settings, needs_key: bool) -> Blueprint:
    """The two routes; `needs_key` where API keys are on."""
    routes = Blueprint("openapi", __name__)

    @routes.get("/openapi.json")
    @described("Pages", json_of({"type": "object"}), access="open")
    def openapi_json() -> Response:
        """The description of all routes, OpenAPI 3.1."""
        return jsonify(openapi.document(current_app, request.url_root, needs_key))

    @routes.get("/docs")
    @described("Pages", text_of("text/html"), access="open")
    def docs() -> Response:
        """The description of all routes as a page."""
        document = openapi.document(current_app, request.url_root, needs_key)
        components = document["components"]
        return playground.page(
            "docs.html",
            has_playground=settings.playground,
            needs_key=needs_key,
            document=document,
            groups=_groups(document),
            resolve=lambda each: _resolve(components, each),
            pretty=_pretty,
        )

    return routes


def _groups(document: Json) -> list[tuple[Json, list[Json]]]:
    """For each tag its operations; those of versions and labels stand with the one of the model itself."""
    entries: dict[tuple[str, str], Json] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            key = (operation["operationId"].split("_of_")[0], method)
            entry = entries.setdefault(key, {"method": method.upper(), "operation": operation, "paths": []})
            entry["paths"].append(path)
    return [
        (tag, [each for each in entries.values() if each["operation"]["tags"] == [tag["name"]]])
        for tag in document["tags"]
    ]


def _pretty(value: Any) -> str:
    """JSON for people: lists of plain values on one line."""
    text = json.dumps(value, indent=2, sort_keys=False, ensure_ascii=False)
    return re.sub(r"\[\s+([^\[\]{}]+?)\s+\]", lambda plain: f"[{' '.join(plain[1].split())}]", text)


def _resolve(components: Json, each: Json) -> Json:
    """What a reference stands for; anything else stands for itself."""
    if not str(each.get("$ref", "")).startswith(_REFERENCE):
        return each
    kind, name = each["$ref"].removeprefix(_REFERENCE).split("/")
    found: Json = components[kind][name]
    return found
