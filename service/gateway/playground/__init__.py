"""The playground at `/`: a page on which anyone tries a model. It asks the same routes as every other client.

A template, style sheets and plain ES modules: there is nothing to build, and nothing comes from another host.
"""

from typing import Final

from flask import Blueprint, Response, make_response, render_template

from service import images
from service.config.settings import Settings
from service.gateway.openapi.document import described
from service.gateway.openapi.schemas import text_of
from service.version import __version__

# All that the pages need is here: own scripts and styles, own images and those that the visitor brings (blob:).
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "media-src 'self' blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


_FURTHER: Final = (".tif", ".tiff", ".jp2", ".tga", ".ppm", ".avif")
_HEIF: Final = (".heic", ".heif", ".hif")


def blueprint(settings: Settings, needs_key: bool) -> Blueprint:
    """The page at `/`, unless it is turned off, and the files that it and `/docs` load."""
    routes = Blueprint(
        "playground", __name__, static_folder="static", static_url_path="/static", template_folder="templates"
    )

    if settings.playground:

        @routes.get("/")
        @described("Pages", text_of("text/html"), access="open")
        def playground() -> Response:
            """The playground: a page to try the models on."""
            return page("playground.html", needs_key=needs_key, takes=_takes())

    return routes


def _takes() -> str:
    """What the page's file picker offers: `image/*`, and what browsers do not count to that everywhere.

    HEIC only where it is read: phones send a JPEG to pages that do not name it.
    """
    return ",".join(("image/*", *_FURTHER, *(_HEIF if images.reads_heif() else ())))


def page(template: str, **values: object) -> Response:
    """Render a page under a policy that lets it load nothing from elsewhere and run no inline script."""
    response = make_response(render_template(template, signpost_version=__version__, **values))
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Permissions-Policy"] = "camera=(self), microphone=(), geolocation=()"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
