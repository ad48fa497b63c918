"""Parameters of the query that a route does not have.

TF Serving ignores them all, and proxies and browsers add their own, so most are ignored here too. One that is nearly
the name of a parameter that the route has was meant for it, and is refused rather than passed over.
"""

from typing import Final

from flask import Flask, request

from service.errors import InvalidRequest
from service.gateway.openapi import document
from service.near_misses import near

# What other services call the same, and looks like nothing here.
_ELSEWHERE: Final = {"k": "top_k", "n": "top_k", "topn": "top_k"}
_LONGEST_SHOWN: Final = 40


def register(app: Flask) -> None:
    """Make the application refuse near misses on every route that has parameters."""

    @app.before_request
    def check() -> None:
        if not request.query_string or request.url_rule is None:
            return
        operation = document.operation_of(app, request.url_rule)
        known = operation.query if operation is not None else ()
        for name in request.args:
            if name not in known and (meant := _meant(name, known)) is not None:
                raise InvalidRequest(
                    f"{request.path} has no parameter {name[:_LONGEST_SHOWN]!r}; did you mean {meant}? "
                    f"It has {', '.join(known)}."
                )


def _meant(name: str, known: tuple[str, ...]) -> str | None:
    elsewhere = _ELSEWHERE.get(name.casefold())
    return elsewhere if elsewhere in known else next(iter(near(name, known)), None)
