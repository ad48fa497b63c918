"""Who may do what over HTTP: each request is let in, or not, before anything of it is read but its headers."""

from typing import Final
from urllib.parse import urlsplit

from flask import Flask, current_app, g, request
from werkzeug.routing import Rule

from service.access import Access, is_local, secret_of
from service.errors import Forbidden
from service.gateway import openapi

# What a proxy adds; one on this machine would make everybody's requests look like this machine's own.
_OF_PROXIES: Final = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")


def register(app: Flask, access: Access) -> None:
    """Make the application ask `access` about every request whose route is not open to all."""
    needs: dict[str, openapi.Need] = {}

    @app.before_request
    def admit() -> None:
        rule = request.url_rule
        if rule is None or request.method == "OPTIONS":  # there is nothing, and what a browser asks beforehand
            return
        need = needs.get(rule.endpoint) or needs.setdefault(rule.endpoint, openapi.need_of(current_app, rule))
        if need == "open" or (need == "predict" and not access.needs_key):
            return
        secret = secret_of(request.headers.get("Authorization", ""), request.headers.get("X-API-Key", ""))
        g.key_name = access.admit(secret, need)
        if not access.needs_key:
            _check_at_home(rule)


def _check_at_home(rule: Rule) -> None:
    """Let a change without a key pass only if a program on this machine asks for it by one of its own names.

    A page from elsewhere in a browser on this machine can send requests here too, by this machine's address or by a
    name of its own that it has pointed here.

    Raises:
        Forbidden: it came by a proxy, by another name, or from a page of another origin.
    """
    origin = request.headers.get("Origin", "")
    try:
        asked_for = urlsplit(f"//{request.host}").hostname or ""
    except ValueError:
        asked_for = ""
    if (
        not is_local(asked_for)
        or (origin and origin.partition("://")[2] != request.host)
        or request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")
        or any(name in request.headers for name in _OF_PROXIES)
    ):
        raise Forbidden(
            f"{rule.rule} takes only requests of this machine's own programs while there are no API keys "
            "(--api-keys-file)."
        )
