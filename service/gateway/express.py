"""The express lane: images posted as they are, several requests at a time, without Flask.

For a small model most of a request's time would be Flask's. What comes here are posts that `posts.py` could read: they
are decoded one after the other, run as one batch, and answered. Nothing but good answers is made here. Whatever goes
wrong is left to Flask: an unknown model or a broken image it finds by itself, and what became of the model's run it is
told (`calls.raise_failure`). So there is one place for each error, as for each header and count (`exchange.py`).
"""

import json
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from email.utils import formatdate
from typing import Final

from service.access import Access, secret_of
from service.carried import request_id_of
from service.engine.interface import DEFAULT_SIGNATURE, Answer, Array, Call, Engine, Servable
from service.errors import NotFound, Overloaded, SignpostError, Unavailable
from service.gateway import calls, exchange, images_api, overload
from service.gateway.posts import Post
from service.images import ImageLimits
from service.logs import Answered
from service.metrics import Metrics
from service.settings import Settings
from service.timings import Timings

_DEADLINE: Final = overload.DEADLINE_HEADER.lower().encode()
# Flask's names of the routes, for the metrics.
_OF_MODEL: Final = "/v1/models/<name:name>:predict"
_OF_VERSION: Final = "/v1/models/<name:name>/versions/<int:version>:predict"
_OF_LABEL: Final = "/v1/models/<name:name>/labels/<name:label>:predict"


@dataclass(frozen=True, slots=True)
class Arrived:
    """A post, the connection that it came on, and the time (`time.monotonic()`) of its arrival."""

    post: Post
    connection: object
    at_s: float


@dataclass(frozen=True, slots=True)
class _Boarded:
    """A post whose image is decoded and whose servable is leased."""

    number: int
    arrived: Arrived
    request_id: str
    timings: Timings
    lease: AbstractContextManager[Servable]
    servable: Servable
    pixels: Array
    call: Call


class Express:
    """Answers posts; the caller's thread does all the work.

    Args:
        settings: limits and time-outs.
        engine: what answers.
        metrics: those of this process.
        access: lets each request in, or not.

    Attributes:
        most: posts that are worth answering together, as many as a batch holds.
        max_body_bytes: larger bodies are Flask's to refuse.
    """

    def __init__(self, settings: Settings, engine: Engine, metrics: Metrics, access: Access) -> None:
        """Keep the parts."""
        self.most = settings.max_batch_size
        self.max_body_bytes = settings.max_body_bytes
        self._engine = engine
        self._metrics = metrics
        self._access = access
        self._limits = ImageLimits(settings.max_image_bytes, settings.max_image_pixels)
        self._timeout_s = settings.rest_api_timeout_in_ms / 1e3
        self._access_log = settings.access_log

    def answer(self, posts: Sequence[Arrived], keep_alive: bool) -> list[bytes | SignpostError | None]:
        """Answer posts.

        Returns:
            For each the bytes to send; or None if Flask has to answer it, or the error with which Flask has to.
        """
        outcomes: list[bytes | SignpostError | None] = [None] * len(posts)
        boarded: list[_Boarded] = []
        try:
            for number, arrived in enumerate(posts):
                one = self._board(number, arrived)
                if isinstance(one, _Boarded):
                    boarded.append(one)
                else:
                    outcomes[number] = one
            for same in _by_servable(boarded):
                scored = same[0].servable.score_all([one.pixels for one in same], [one.call for one in same])
                for one, outcome in zip(same, scored, strict=True):
                    if isinstance(outcome, Answer):
                        outcomes[one.number] = self._respond(one, outcome, keep_alive)
                    elif not isinstance(outcome, NotFound | Unavailable):  # for those Flask looks for the next version
                        outcomes[one.number] = outcome
        finally:
            for one in boarded:
                one.lease.__exit__(None, None, None)
        return outcomes

    def _board(self, number: int, arrived: Arrived) -> _Boarded | Overloaded | None:
        began_s = time.monotonic()
        post = arrived.post
        request_id = request_id_of(post.header(b"x-request-id"))
        try:
            if self._access.needs_key:
                self._access.admit(secret_of(post.header(b"authorization"), post.header(b"x-api-key")), "predict")
            wanted = post.header(_DEADLINE) if _DEADLINE in post.headers else None
            deadline, limit = overload.patience_of(wanted, arrived.at_s, self._timeout_s)
            lease = self._engine.lease(post.spec(request_id))
            servable = lease.__enter__()
        except SignpostError:
            return None
        try:
            left = calls.has_left(arrived.connection)
            call = Call(deadline, DEFAULT_SIGNATURE, ("scores",), left, request_id, limit=limit)
            servable.check_room(call)
            timings = Timings()
            size = images_api.size_of(servable, DEFAULT_SIGNATURE)
            pixels = images_api.decode_one(post.image, size, self._limits, timings)
        except BaseException as error:
            lease.__exit__(None, None, None)
            if isinstance(error, SignpostError):
                return error if isinstance(error, Overloaded) else None
            raise
        timings.add("queue", began_s - arrived.at_s)
        return _Boarded(number, arrived, request_id, timings, lease, servable, pixels, call)

    def _respond(self, one: _Boarded, answer: Answer, keep_alive: bool) -> bytes:
        servable, timings, version = one.servable, one.timings, str(one.servable.version)
        calls.count_run(servable, answer, self._metrics, "Predict", timings)
        self._metrics.count_images(servable.name, servable.version, 1)
        began_s = time.monotonic()
        told = images_api.to_json(servable, answer.outputs["scores"], None)
        body = json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()
        now_s = time.monotonic()
        timings.add("encode", now_s - began_s)
        timings.add("total", now_s - one.arrived.at_s)
        rule = _OF_MODEL if one.arrived.post.version is None else _OF_VERSION
        rule = rule if one.arrived.post.label is None else _OF_LABEL
        exchange.count(self._metrics, rule, servable.name, version, 200, timings.stages_s)
        if self._access_log:
            self._log(one, rule, len(body))
        headers = "".join(
            f"{name}: {value}\r\n" for name, value in exchange.headers_of(one.request_id, timings, version).items()
        )
        head = (
            f"HTTP/1.1 200 OK\r\nServer: gunicorn\r\nDate: {_date()}\r\n"
            f"Connection: {'keep-alive' if keep_alive else 'close'}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n{headers}\r\n"
        )
        return head.encode("latin-1") + body

    def _log(self, one: _Boarded, rule: str, size: int) -> None:
        Answered(
            protocol="HTTP",
            request_id=one.request_id,
            method="POST",
            route=rule,
            status=200,
            model=one.servable.name,
            version=str(one.servable.version),
            images=1,
            instances=1,
            stages_s=one.timings.stages_s,
            bytes_in=len(one.arrived.post.image),
            bytes_out=size,
            client=calls.peer_of(one.arrived.connection),
        ).write()


def _by_servable(boarded: list[_Boarded]) -> list[list[_Boarded]]:
    groups: dict[tuple[type, str, int], list[_Boarded]] = {}
    for one in boarded:
        # Each lease may have its own wrapper around the same servable; any of those can run all.
        groups.setdefault((type(one.servable), one.servable.name, one.servable.version), []).append(one)
    return list(groups.values())


_dates: dict[int, str] = {}


def _date() -> str:
    """The time as HTTP writes it, made once a second."""
    now = int(time.time())
    if now not in _dates:
        _dates.clear()
        _dates[now] = formatdate(now, usegmt=True)
    return _dates.get(now) or formatdate(now, usegmt=True)
