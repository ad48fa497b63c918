"""Gunicorn's threaded worker, with its own errors as JSON like all others."""

import json
from typing import Any, Final

from gunicorn.http import errors
from gunicorn.workers.gthread import ThreadWorker

_STATUSES: Final = (
    (errors.LimitRequestLine, 414, "URI Too Long"),
    (errors.LimitRequestHeaders, 431, "Request Header Fields Too Large"),
    (errors.ParseException, 400, "Bad Request"),
)


class JsonWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Answers requests that gunicorn itself refuses, before the gateway sees them."""

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer what gunicorn could not parse; anything else is its own business."""
        status, reason = next(((s, r) for kind, s, r in _STATUSES if isinstance(exc, kind)), (0, ""))
        if not status:
            super().handle_error(req, client, addr, exc)
            return
        self.log.info("Refused a request from %s: %s", addr[0] if addr else "a socket", exc)
        body = json.dumps({"error": f"The request can't be read: {exc}."}).encode()
        head = (
            f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        try:
            client.sendall(head.encode() + body)
        except OSError:
            self.log.debug("The client left before its error was sent.")
