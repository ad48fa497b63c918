"""Leave for web pages of any origin to use the routes under /v1, as `--rest_api_enable_cors_support` asks for."""

from collections.abc import Mapping
from typing import Final

from flask import Flask, Response, request

# What says so in each answer.
HEADERS: Final[Mapping[str, str]] = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type, Authorization, X-API-Key",
}
PREFIX: Final = "/v1/"


def register(app: Flask) -> None:
    """Make the application say so in its answers; what may be asked beforehand (OPTIONS) Flask answers itself."""

    @app.after_request
    def allow(response: Response) -> Response:
        if request.path.startswith(PREFIX):
            response.headers.update(HEADERS)
        return response
