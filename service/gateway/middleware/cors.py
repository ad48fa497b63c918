"""Leave for web pages of any origin to use the routes under /v1, as `--rest_api_enable_cors_support` asks for."""

from flask import Flask, Response, request


def register(app: Flask) -> None:
    """Make the application say so in its answers; what may be asked beforehand (OPTIONS) Flask answers itself."""

    @app.after_request
    def allow(response: Response) -> Response:
        if request.path.startswith("/v1/"):
            response.headers["Access-Control-Allow-Origin"] = "*"
            response.headers["Access-Control-Allow-Methods"] = "POST, GET"
            response.headers["Access-Control-Allow-Headers"] = "Content-Type, Authorization, X-API-Key"
        return response
