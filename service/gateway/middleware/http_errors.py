"""Errors on their way to an HTTP client: one table from our errors to statuses, JSON everywhere."""

import logging
import math
import re
from typing import Final

from flask import Flask, Response, g, jsonify, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge
from werkzeug.exceptions import NotFound as NoRoute

from service import errors
from service.near_misses import did_you_mean

log = logging.getLogger(__name__)

# From the most special class to the least: the first that fits counts.
STATUSES: Final[tuple[tuple[type[errors.SignpostError], int], ...]] = (
    (errors.TooSlow, 408),
    (errors.TooLarge, 413),
    (errors.UnsupportedMedia, 415),
    (errors.InvalidRequest, 400),
    (errors.SettingsError, 400),  # of a configuration that a client sends
    (errors.Unauthenticated, 401),
    (errors.Forbidden, 403),
    (errors.NotFound, 404),
    (errors.Overloaded, 429),
    (errors.Unavailable, 503),
    (errors.DeadlineExceeded, 504),
    (errors.Abandoned, 499),  # nginx's number for "the client closed the connection"; nobody reads it
    (errors.Unsupported, 501),
    (errors.SignpostError, 500),
)

# What stands behind the `:` of a path.
_VERBS: Final = ("predict", "classify", "regress")

# What other servers of the Open Inference Protocol have beyond it.
_UNBUILT: Final = re.compile(
    r"/v2/(?:models/[^/]+(?:/versions/[^/]+)?/(?:generate|generate_stream|infer_stream|trace/setting)"
    r"|(?:system|cuda)sharedmemory(?:/.*)?|trace/setting|logging)$"
)

_GRPC_NAMES: Final = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "UNAVAILABLE",
    499: "CANCELLED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def status_of(error: errors.SignpostError) -> int:
    """The HTTP status of one of our errors."""
    return next(status for kind, status in STATUSES if isinstance(error, kind))


def grpc_name(status: int) -> str:
    """The name in gRPC of an HTTP status, as TF Serving's metrics tell how a request ended."""
    return _GRPC_NAMES.get(status, "OK" if status < 400 else "INVALID_ARGUMENT" if status < 500 else "INTERNAL")


def register(app: Flask) -> None:
    """Make the application answer every error as `{"error": "…"}`."""
    app.register_error_handler(errors.SignpostError, _answer_ours)
    app.register_error_handler(HTTPException, _answer_http)
    app.register_error_handler(Exception, _answer_unforeseen)


def _answer(message: str, status: int) -> Response:
    response = jsonify(error=errors.one_line(message))
    response.status_code = status
    return response


def _answer_ours(error: errors.SignpostError) -> Response:
    status = status_of(error)
    if status == 500:
        log.error("Request %s failed: %s", g.request_id, errors.one_line(str(error)), exc_info=error)
    response = _answer(str(error), status)
    if isinstance(error, errors.Overloaded):
        response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    elif status == 503:
        response.headers["Retry-After"] = "1"
    elif isinstance(error, errors.Unauthenticated):  # RFC 6750
        wrong = ', error="invalid_token"' if error.was_sent else ""
        response.headers["WWW-Authenticate"] = f'Bearer realm="signpost"{wrong}'
    return response


def _answer_http(error: HTTPException) -> Response:
    if isinstance(error, NoRoute) and _UNBUILT.match(request.path):
        return _answer(f"{request.path} is a Triton extension that this service does not support.", 501)
    if isinstance(error, NoRoute):
        hint = did_you_mean(request.path.rpartition(":")[2], _VERBS)
        message = (
            f"There is no {request.path}; {hint}POST /v1/models/<model>:predict, or GET /v1/models for the models."
        )
        if request.path.startswith("/v2"):
            message = f"There is no {request.path}; POST /v2/models/<model>/infer, or GET /v2/models for the models."
    elif isinstance(error, MethodNotAllowed):
        message = f"{request.path} does not take {request.method}; use {', '.join(sorted(error.valid_methods or ()))}."
    elif isinstance(error, RequestEntityTooLarge):
        message = _too_large()
    else:
        message = error.description or error.name
    response = _answer(message, error.code or 500)
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return response


def _too_large() -> str:
    most = request.max_content_length or 0
    if request.mimetype == "multipart/form-data" and 0 < (request.content_length or 0) <= most:
        return (
            f"The form has more than {request.max_form_parts} parts, or a field of more than "
            f"{request.max_form_memory_size} bytes; send fewer images, and each as a file."
        )
    return f"The body has more than the {most} bytes that are allowed; send fewer or smaller images."


def _answer_unforeseen(error: Exception) -> Response:
    log.error("Request %s failed unexpectedly.", g.request_id, exc_info=error)
    return _answer(f"Signpost failed on this request; its log says why under the request ID {g.request_id}.", 500)
