"""Who may do what over HTTP: each request is let in, or not, before anything of it is read but its headers."""

import functools
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

from flask import Flask, g, request

from service.errors import Forbidden
from service.gateway.openapi import document
from service.security.access import Access, is_local, secret_of
from service.security.keys import Role

# What a proxy adds; one on this machine would make everybody's requests look like this machine's own.
_OF_PROXIES: Final = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")


def guard(app: Flask, access: Access) -> None:
    """Put `access` before every view that is not open to all; call it when all views are there."""
    for rule in app.url_map.iter_rules():
        need = document.need_of(app, rule)
        view = app.view_functions[rule.endpoint]
        if need != "open" and (need == "admin" or access.needs_key) and not hasattr(view, "__wrapped__"):
            app.view_functions[rule.endpoint] = _guarded(view, need, access)


def _guarded(view: Callable[..., Any], need: Role, access: Access) -> Callable[..., Any]:
    @functools.wraps(view)
    def guarded(**arguments: Any) -> Any:
        secret = secret_of(request.headers.get("Authorization", ""), request.headers.get("X-API-Key", ""))
        g.key_name = access.admit(secret, need)
        if not access.needs_key:
            _check_at_home()
        return view(**arguments)

    return guarded


def _check_at_home() -> None:
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
            f"{request.path} accepts only requests from programs on this machine as long as there are "
            "no API keys (--api-keys-file)."
        )
