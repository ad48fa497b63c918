"""Gunicorn's threaded worker, with its own errors as JSON like all others, and an end that clients understand."""

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
    """Answers requests that gunicorn itself refuses; told to stop, it refuses connections from then on."""

    def set_accept_enabled(self, enabled: bool) -> None:
        """Take new connections or not; a worker that is to stop closes its listeners at once.

        Gunicorn keeps them open until the last request is answered. Meanwhile the kernel would take connections that
        nobody ever reads, and a client would wait for the whole drain instead of trying another server.
        """
        super().set_accept_enabled(enabled)
        if self.alive:
            return
        for listener in self.sockets:
            # What the kernel took before is answered like all that was accepted.
            taken = -1
            while taken != self.nr_conns:
                taken = self.nr_conns
                self.accept(listener)
            listener.close()

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
