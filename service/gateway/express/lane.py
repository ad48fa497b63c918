"""The express lane: images posted as they are, or in a tensor of one row, several requests at a time, without Flask.

For a small model most of a request's time would be Flask's. What comes here are posts that `posts.py` takes: they are
decoded one after the other, run as one batch, and answered. Nothing but good answers is made here. Whatever goes
wrong is left to Flask: an unknown model or a broken image it finds by itself, and what became of the model's run it is
told (`calls.raise_failure`). So there is one place for each error, as for each header and count (`exchange.py`).
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from service.config.settings import Settings
from service.errors import Abandoned, NotFound, Overloaded, SignpostError, Unavailable, UnsupportedMedia
from service.gateway.bodies import images_api
from service.gateway.express import infer as express_infer
from service.gateway.express import posts
from service.gateway.express.posts import Post
from service.gateway.middleware import calls, cors, exchange, overload
from service.gateway.middleware.calls import Failure
from service.gateway.oip import answers as oip_answers
from service.gateway.oip import infer
from service.images import ImageLimits
from service.interface import DEFAULT_SIGNATURE, Answer, Array, Call, Engine, ImageSize, ModelSpec, Servable
from service.message.answers import write as write_answer
from service.message.heads import Head
from service.oip.requests import InferRequest
from service.oip.tensors import BYTES
from service.security.access import Access, secret_of
from service.telemetry.carried import request_id_of
from service.telemetry.logs import Answered
from service.telemetry.metrics import Metrics
from service.telemetry.timings import Timings

_DEADLINE: Final = overload.DEADLINE_HEADER.lower()
# Flask's names of the routes, for the metrics.
_OF_MODEL: Final = "/v1/models/<name:name>:predict"
_OF_VERSION: Final = "/v1/models/<name:name>/versions/<int:version>:predict"
_OF_LABEL: Final = "/v1/models/<name:name>/labels/<name:label>:predict"
_SCORES: Final = "scores"


# The bytes of an answer; None for Flask to answer, or the failure with which it has to.
Outcome = bytes | Failure | None


@dataclass(frozen=True, slots=True)
class Arrived:
    """A post, the connection that it came on, and the time (`time.monotonic()`) of its arrival."""

    post: Post
    connection: object
    at_s: float


@dataclass(slots=True)
class _Boarded:
    """A post whose image is decoded; `wanted` is what it asks for by the Open Inference Protocol."""

    number: int
    arrived: Arrived
    request_id: str
    timings: Timings
    call: Call
    wanted: InferRequest | None = None

    @property
    def has_image(self) -> bool:
        """Whether it brought an encoded image rather than pixels."""
        return self.wanted is None or self.wanted.inputs[0].datatype == BYTES


@dataclass(slots=True)
class _Group:
    """Posts that one servable answers, and their pixels: a row of uint8 (N, H, W, C) for each post."""

    servable: Servable
    size: ImageSize
    pixels: Array
    boarded: list[_Boarded] = field(default_factory=list)


class Express:
    """Answers posts; the caller's thread does all the work.

    Args:
        settings: limits and time-outs.
        engine: what answers.
        metrics: those of this process.
        access: lets each request in, or not.

    """

    def __init__(self, settings: Settings, engine: Engine, metrics: Metrics, access: Access) -> None:
        """Keep the parts."""
        self._most = settings.max_batch_size
        self._max_body_bytes = settings.max_body_bytes
        self._headers = cors.HEADERS if settings.rest_api_enable_cors_support else {}
        self._engine = engine
        self._metrics = metrics
        self._access = access
        self._limits = ImageLimits(settings.max_image_bytes, settings.max_image_pixels)
        self._timeout_s = settings.rest_api_timeout_in_ms / 1e3
        self._access_log = settings.access_log
        self._max_depth = settings.max_json_depth
        self._not_of_images: set[str] = set()  # models that were asked for by requests, and take other tensors

    def post_of(self, head: Head) -> Post | None:
        """What a head announces, without its body; None if it is Flask's to answer."""
        post = posts.read(head, self._max_body_bytes)
        if post is None or (post.json_length is not None and post.name in self._not_of_images):
            return None
        return post

    def answer(self, arrivals: Sequence[Arrived], keep_alive: bool) -> tuple[list[Outcome], Callable[[], None]]:
        """Answer posts; `keep_alive` is whether connections stay open where their clients want that.

        Returns:
            For each the bytes to send; or None if Flask has to answer it, or the failure with which Flask has to. And
            what counts the answers, to be called once they are sent.
        """
        outcomes: list[Outcome] = [None] * len(arrivals)
        written: list[tuple[_Group, list[tuple[_Boarded, Answer]], list[bytes]]] = []
        groups: dict[tuple[type, str, int], _Group] = {}
        leased: dict[ModelSpec, _Group] = {}
        with ExitStack() as leases:
            for number, arrived in enumerate(arrivals):
                try:
                    self._board(number, arrived, len(arrivals) - number, groups, leased, leases)
                except (Overloaded, Abandoned) as error:
                    outcomes[number] = Failure(error)
                except SignpostError:
                    pass  # for Flask to find again
            for group in groups.values():
                answered: list[tuple[_Boarded, Answer]] = []
                for one, outcome in zip(group.boarded, self._run(group), strict=True):
                    if isinstance(outcome, Answer):
                        answered.append((one, outcome))
                    elif not isinstance(outcome, NotFound | Unavailable):  # for those Flask looks for the next version
                        decode_s = one.timings.stages_s.get("decode")
                        outcomes[one.number] = Failure(outcome, decode_s, images=int(one.wanted is None))
                if answered:
                    responses = self._respond(group.servable, answered, keep_alive)
                    written.append((group, answered, responses))
                    for (one, _), response in zip(answered, responses, strict=True):
                        outcomes[one.number] = response

        def count() -> None:
            for group, answered, responses in written:
                self._count(group.servable, answered, responses)

        return outcomes, count

    def look(self, model: str) -> tuple[int, bool]:
        """How many of a model's posts are worth answering together now, and whether nothing else runs on it."""
        queues = self._engine.queued(model).values()
        most = min([self._most, *(queue.batch_rows for queue in queues if queue.batch_rows)])
        return most, not any(queue.running for queue in queues)

    def _board(
        self, number: int, arrived: Arrived, most: int, groups: dict[tuple[type, str, int], _Group],
        leased: dict[ModelSpec, _Group], leases: ExitStack,
    ) -> None:  # fmt: skip
        """Decode a post's image into the group that its servable answers; `most` is how many posts may still come."""
        began_s = time.monotonic()
        post = arrived.post
        request_id = request_id_of(post.header("x-request-id"))
        if self._access.needs_key:
            self._access.admit(secret_of(post.header("authorization"), post.header("x-api-key")), "predict")
        wanted = post.header(_DEADLINE) if _DEADLINE in post.head.headers else None
        deadline, limit = overload.patience_of(wanted, arrived.at_s, self._timeout_s)
        left = calls.has_left(arrived.connection)
        if left is not None and left():
            raise Abandoned("The client disconnected before the request ran.")
        asked = None if post.json_length is None else express_infer.read(post, self._max_depth)
        if asked is not None:
            deadline, limit = infer.earlier(deadline, limit, asked.options.timeout_us, arrived.at_s)
        call = Call(deadline, DEFAULT_SIGNATURE, (_SCORES,), left, request_id, limit=limit)
        spec = post.spec(request_id if self._engine.has_canaries else None)
        group = leased.get(spec)
        if group is None:
            servable = leases.enter_context(self._engine.lease(spec))
            # Each lease may have its own wrapper around the same servable; any of those can run all.
            key = (type(servable), servable.name, servable.version)
            if key not in groups:
                try:
                    size = images_api.size_of(servable, DEFAULT_SIGNATURE)
                except UnsupportedMedia:
                    if asked is not None:
                        self._not_of_images.add(servable.name)
                    raise
                pixels = np.empty((most, size.height, size.width, size.channels), dtype=np.uint8)
                groups[key] = _Group(servable, size, pixels)
            group = leased[spec] = groups[key]
        group.servable.check_room(call)
        timings = Timings()
        row = len(group.boarded)
        if asked is None:
            group.pixels[row] = images_api.decode_one(post.body, group.size, self._limits, timings)
        else:
            group.pixels[row] = express_infer.pixels(asked, group.size, self._limits, timings)
        timings.add("queue", began_s - arrived.at_s)
        group.boarded.append(_Boarded(number, arrived, request_id, timings, call, asked))

    def _run(self, group: _Group) -> list[Answer | SignpostError]:
        """Score the images of a group, as one request where that can be done."""
        calls = [one.call for one in group.boarded]
        if not calls:
            return []
        count = len(calls)
        if not self._engine.has_canaries:
            first = min(calls, key=lambda call: call.deadline)
            together = replace(first, abandoned=None, request_id=",".join(call.request_id for call in calls))
            [outcome] = group.servable.score_all([group.pixels[:count]], [together])
            if isinstance(outcome, Answer):
                return [
                    replace(outcome, outputs={name: array[row : row + 1] for name, array in outcome.outputs.items()})
                    for row in range(count)
                ]
            if count == 1 or isinstance(outcome, NotFound | Unavailable):
                return [outcome] * count
        # What befell them all need not befall each.
        return group.servable.score_all([group.pixels[row : row + 1] for row in range(count)], calls)

    def _respond(self, servable: Servable, answered: list[tuple[_Boarded, Answer]], keep_alive: bool) -> list[bytes]:
        """Write answers."""
        began_s = time.monotonic()
        bodies = _bodies_of_images(servable, [answer for one, answer in answered if one.wanted is None])
        written = [
            (next(bodies), {"Content-Type": oip_answers.JSON})
            if one.wanted is None
            else express_infer.write(servable, one.wanted, answer.outputs[_SCORES])
            for one, answer in answered
        ]
        now_s = time.monotonic()
        for one, answer in answered:
            one.timings.add("queue", answer.queue_s)
            one.timings.add("infer", answer.infer_s)
            one.timings.add("encode", (now_s - began_s) / len(answered))
            one.timings.add("total", now_s - one.arrived.at_s)
        version = str(servable.version)
        responses = []
        for (one, _), (body, kind) in zip(answered, written, strict=True):
            allowed = self._headers if one.wanted is None else {}
            told = {**kind, **exchange.headers_of(one.request_id, one.timings, version, exchange.EXPRESS), **allowed}
            keeps = keep_alive and one.arrived.post.head.keeps
            responses.append(write_answer(200, body, told.items(), keeps))
        return responses

    def _count(self, servable: Servable, answered: list[tuple[_Boarded, Answer]], responses: Sequence[bytes]) -> None:
        name, version = servable.name, servable.version
        stages_s: dict[str, list[Mapping[str, float]]] = {}
        for one, _ in answered:
            stages_s.setdefault(_rule(one.arrived.post), []).append(one.timings.stages_s)
        for rule, each in stages_s.items():
            exchange.count(self._metrics, rule, name, str(version), 200, *each, lane=exchange.EXPRESS)
        if decoded := sum(one.has_image for one, _ in answered):
            self._metrics.count_images(name, version, decoded)
        runs = Counter((one.wanted is None, each.batch_rows, each.infer_s) for one, each in answered)
        for (is_image, rows, infer_s), requests in runs.items():
            self._metrics.count_batch(name, version, rows, requests)
            self._metrics.serving.count_run(name, "Predict" if is_image else "Infer", infer_s, requests)
        if self._access_log:
            for (one, _), response in zip(answered, responses, strict=True):
                self._log(servable, one, len(response) - response.index(b"\r\n\r\n") - 4)

    def _log(self, servable: Servable, one: _Boarded, size: int) -> None:
        Answered(
            protocol="HTTP",
            request_id=one.request_id,
            method="POST",
            route=_rule(one.arrived.post),
            status=200,
            model=servable.name,
            version=str(servable.version),
            images=int(one.has_image),
            instances=1,
            stages_s=one.timings.stages_s,
            bytes_in=len(one.arrived.post.body),
            bytes_out=size,
            client=calls.peer_of(one.arrived.connection),
        ).write()


def why_not_express(settings: Settings, has_traces: bool) -> str:
    """Why all requests go by Flask, for people; empty where posted images have their lane."""
    if has_traces:
        return "tracing is on"
    return "batching is off" if settings.enable_batching == "false" else ""


def _bodies_of_images(servable: Servable, answers: Sequence[Answer]) -> Iterator[bytes]:
    """The bodies that answer posted images."""
    if answers:
        outputs = {name: np.concatenate([each.outputs[name] for each in answers]) for name in answers[0].outputs}
        told = images_api.to_json(servable, outputs, None)
        yield from (images_api.encode({**told, "predictions": [each]}) for each in told["predictions"])


def _rule(post: Post) -> str:
    if post.json_length is not None:
        return exchange.INFER if post.version is None and post.label is None else exchange.INFER_OF_VERSION
    if post.label is not None:
        return _OF_LABEL
    return _OF_MODEL if post.version is None else _OF_VERSION
