"""Answers to requests that no route sees: what can't be read, comes too slowly, or exceeds a limit.

They have what every answer has (`exchange.py`): an ID, timings, a count, a line in the log.
"""

import math
import re
import time
from typing import Final

from service.gateway.middleware import exchange
from service.message import answers
from service.message.heads import Head
from service.telemetry.carried import request_id_of
from service.telemetry.logs import Answered
from service.telemetry.metrics import Metrics
from service.telemetry.timings import Timings

# The routes of models, by what their targets look like.
_TARGET: Final = re.compile(
    r"/(?:v1/models/[^/:]+(?P<at>/versions/\d+|/labels/[^/:]+)?:(?P<verb>predict|classify|regress)"
    r"|v2/models/[^/]+(?P<of>/versions/[^/]+)?/infer)(?:\?|$)"
)


class Unrouted:
    """See the module.

    Args:
        metrics: those of this process.
        access_log: whether each request gets a line in the log.
    """

    def __init__(self, metrics: Metrics, access_log: bool) -> None:
        """Keep the parts."""
        self._metrics = metrics
        self._access_log = access_log

    def answer(
        self,
        status: int,
        message: str,
        *,
        head: Head | None,
        arrived_s: float,
        peer: str,
        keep_alive: bool = False,
        retry_after_s: float | None = None,
    ) -> bytes:
        """Write an answer and count it.

        Args:
            status: HTTP's.
            message: what is wrong, with what, and what would be right.
            head: of the request; None if it could not be read.
            arrived_s: time (`time.monotonic()`) of the request's arrival.
            peer: the client's address.
            keep_alive: whether the connection stays open.
            retry_after_s: when the client may try again.
        """
        sent = head.headers if head is not None else {}
        request_id = request_id_of(sent.get("x-request-id", ""))
        timings = Timings()
        timings.add("total", time.monotonic() - arrived_s)
        headers = {"Content-Type": answers.JSON, **exchange.headers_of(request_id, timings, "", exchange.FRONT)}
        if retry_after_s is not None:
            headers["Retry-After"] = str(max(1, math.ceil(retry_after_s)))
        body = answers.error(message)
        rule = _rule(head)
        exchange.count(self._metrics, rule, "", "", status, timings.stages_s, lane=exchange.FRONT)
        if status == 429:
            self._metrics.count_refusal()
        if self._access_log:
            Answered(
                protocol="HTTP",
                request_id=request_id,
                method=head.method if head is not None and rule != exchange.NO_ROUTE else "",
                route=rule,
                status=status,
                stages_s=timings.stages_s,
                bytes_in=head.length if head is not None else None,
                bytes_out=len(body),
                client=peer,
            ).write()
        return answers.write(status, body, headers.items(), keep_alive)


def _rule(head: Head | None) -> str:
    found = _TARGET.match(head.target) if head is not None and head.method == "POST" else None
    if found is None:
        return exchange.NO_ROUTE
    verb, at, of = found["verb"], found["at"] or "", found["of"]
    if verb is None:
        return exchange.INFER if of is None else exchange.INFER_OF_VERSION
    of_what = "" if not at else "/versions/<int:version>" if at.startswith("/versions") else "/labels/<name:label>"
    return f"/v1/models/<name:name>{of_what}:{verb}"
