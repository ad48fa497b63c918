"""The OpenAPI 3.1 description of the gateway, made from its own routes.

A view says what it takes and answers with `@described(…)` beside its `@routes…`; its docstring is the text. Paths,
methods and path parameters come from Flask's map of routes, so what is described is what there is.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

from flask import Flask
from werkzeug.routing import Rule

from service.gateway.openapi import examples as examples
from service.gateway.openapi import oip
from service.gateway.openapi import schemas as schemas
from service.gateway.openapi.samples import samples
from service.security.keys import Role
from service.version import __version__

View = TypeVar("View", bound=Callable[..., Any])
Json = dict[str, Any]
Need = Role | Literal["open"]

TAGS: Final = {
    "Predict": "Ask a model.",
    "Open Inference Protocol": "What Triton's and KServe's clients speak; over gRPC too.",
    "Models": "Which models there are, and their state.",
    "Service": "Whether the service is live and ready, and its metrics.",
    "Pages": "For people.",
}

# What the converters and names of path parameters mean.
_PARAMETERS: Final[Mapping[str, tuple[str, Json]]] = {
    "name": ("Name of the model.", {"type": "string", "pattern": "^[^/:]+$"}),
    "version": ("Number of the version.", {"type": "integer", "minimum": 0}),
    "label": ("A label that points at a version.", {"type": "string", "pattern": "^[^/:]+$"}),
    "version_or_label": (
        "Number of the version, or a label that points at one.",
        {"type": "string", "pattern": "^[^/:]+$"},
    ),
    "file": ("One of the files that may be fetched.", {"type": "string"}),
}
_EXAMPLES: Final = {"version": 2, "label": "stable", "version_or_label": "2", "file": "model_card.json"}
_PARAMETER: Final = re.compile(r"<(?:(\w+)(?:\((.*?)\))?:)?(\w+)>")


@dataclass(frozen=True)
class Operation:
    """What a view takes and answers.

    Attributes:
        tag: one of `TAGS`.
        answer: what it answers by media type, each an OpenAPI media type object.
        body: what it takes, the same way; None where it takes no body.
        query: names of its query parameters (in `openapi_schemas.QUERY`).
        errors: the HTTP statuses of its errors.
        example_model: a model on which the examples can be run.
        statuses: answers besides 200 that are not errors.
        access: what it needs of an API key where keys are on: its role, or nothing (`open`).
    """

    tag: str
    answer: Json
    body: Json | None = None
    query: tuple[str, ...] = ()
    errors: tuple[int, ...] = ()
    example_model: str = "sign_language"
    statuses: Mapping[int, str] = field(default_factory=dict)
    access: Need = "predict"


def described(tag: str, answer: Json, **more: Any) -> Callable[[View], View]:
    """Describe a view; see `Operation`."""
    operation = Operation(tag, answer, **more)

    def note(view: View) -> View:
        view.operation = operation  # type: ignore[attr-defined]
        return view

    return note


def need_of(app: Flask, rule: Rule) -> Need:
    """What a route needs of an API key; the files of the pages need none."""
    found = operation_of(app, rule)
    return found.access if found is not None else "predict" if is_api(rule) else "open"


def operation_of(app: Flask, rule: Rule) -> Operation | None:
    """How the view of a route is described, if it is."""
    found: Operation | None = getattr(app.view_functions[rule.endpoint], "operation", None)
    return found


def is_api(rule: Rule) -> bool:
    """Whether a route is one to describe: all are but the files of the pages."""
    return not rule.endpoint.endswith(".static")


def document(app: Flask, base_url: str, needs_key: bool = False) -> Json:
    """The description of an application's routes as an OpenAPI 3.1 document.

    Args:
        app: the application.
        base_url: where it is reached; ends with a slash.
        needs_key: whether API keys are on.
    """
    paths: dict[str, Json] = {}
    for rule in app.url_map.iter_rules():
        operation = operation_of(app, rule)
        if operation is None or not is_api(rule):
            continue
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            paths.setdefault(_path(rule), {})[method.lower()] = _operation(
                app, rule, operation, method, base_url, needs_key
            )
    ordered = sorted(paths.items(), key=lambda item: (_tag_order(item[1]), item[0].count("{"), len(item[0]), item[0]))
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Signpost",
            "version": __version__,
            "summary": "TensorFlow SavedModels over HTTP: TensorFlow Serving's REST v1, the Open Inference Protocol "
            "v2, and images as they are.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": says} for name, says in TAGS.items()],
        "paths": dict(ordered),
        "components": {
            "schemas": schemas.SCHEMAS | oip.SCHEMAS,
            "responses": {f"Error{status}": _error(status, says) for status, says in schemas.ERRORS.items()},
            "headers": schemas.HEADERS,
            "parameters": schemas.QUERY | {each["name"]: each for each in (schemas.REQUEST_ID, schemas.DEADLINE)},
            **({"securitySchemes": schemas.SECURITY} if needs_key else {}),
        },
    }


def _path(rule: Rule) -> str:
    return _PARAMETER.sub(r"{\3}", rule.rule)


def _operation(app: Flask, rule: Rule, operation: Operation, method: str, base_url: str, needs_key: bool) -> Json:
    summary, _, description = (inspect.getdoc(app.view_functions[rule.endpoint]) or "").partition("\n\n")
    names = [name for _, _, name in _PARAMETER.findall(rule.rule)]
    variant = "".join(f"_of_{name}" for name in names if name in ("version", "label", "version_or_label"))
    found: Json = {
        "operationId": f"{rule.endpoint.replace('.', '_')}{variant}",
        "tags": [operation.tag],
        "summary": " ".join(summary.split()),
        "parameters": [_parameter(match, operation.example_model) for match in _PARAMETER.findall(rule.rule)]
        + [{"$ref": f"#/components/parameters/{name}"} for name in (*operation.query, *_sent(operation))],
        "responses": {
            "200": {"description": "What was requested.", "headers": _headers(names), "content": operation.answer},
            **{str(status): {"description": says} for status, says in operation.statuses.items()},
            **{str(status): {"$ref": f"#/components/responses/Error{status}"} for status in operation.errors},
        },
    }
    asks_for_key = needs_key and operation.access != "open"
    url = base_url + _example_path(rule, operation).removeprefix("/")
    query = "&".join(f"{name}={schemas.QUERY[name]['example']}" for name in operation.query)
    changes = operation.access == "admin"
    if asked := samples(method, url, query and f"?{query}", base_url, operation.body or {}, asks_for_key, changes):
        found["x-codeSamples"] = asked
    if asks_for_key:
        roles = ["admin"] if operation.access == "admin" else []
        found["security"] = [{scheme: roles} for scheme in schemas.SECURITY]
        found["responses"] |= {str(status): {"$ref": f"#/components/responses/Error{status}"} for status in (401, 403)}
    if description:
        found["description"] = description
    if operation.body is not None:
        found["requestBody"] = {"required": True, "content": operation.body}
    return found


def _example_path(rule: Rule, operation: Operation) -> str:
    return _PARAMETER.sub(lambda found: str(_EXAMPLES.get(found[3], operation.example_model)), rule.rule)


def _parameter(match: tuple[str, str, str], model: str) -> Json:
    converter, arguments, name = match
    says, schema = _PARAMETERS[name]
    if converter == "any":
        schema = {**schema, "enum": [each.strip() for each in arguments.split(",")]}
    example = _EXAMPLES.get(name, model)
    return {"name": name, "in": "path", "required": True, "description": says, "schema": schema, "example": example}


def _sent(operation: Operation) -> tuple[str, ...]:
    """The headers that it takes: a deadline where a model runs."""
    return ("X-Request-ID", "X-Request-Deadline-Ms") if 504 in operation.errors else ("X-Request-ID",)


def _headers(parameters: list[str]) -> Json:
    names = ["X-Request-ID", "Server-Timing", *(["X-Model-Version"] if "name" in parameters else [])]
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _error(status: int, says: str) -> Json:
    shown = {name: {"error": message} for name, message in examples.ERRORS.get(status, {}).items()}
    return {"description": says, "content": schemas.json_of("Error", **shown)}


def _tag_order(operations: Json) -> int:
    return min(list(TAGS).index(each["tags"][0]) for each in operations.values())
