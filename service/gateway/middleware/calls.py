"""What every route that runs a model does around it: a call with its deadline, notes of how it ran, a JSON answer."""

import json
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from flask import Response, request

from service.config.settings import Settings
from service.errors import SignpostError
from service.gateway.middleware import overload
from service.gateway.middleware.exchange import answered, request_id, served_by, timings, trace
from service.interface import DEFAULT_SIGNATURE, Answer, Call, Servable
from service.telemetry.metrics import Metrics

# What the server tells beside WSGI's environment: the client's connection, and what became of the request on the
# express lane, if its model failed there.
CONNECTION: Final = "signpost.connection"
FAILURE: Final = "signpost.failure"
# Flags to look at what has come without taking it; made once, as to combine them takes as long as the call.
_PEEK: Final = int(socket.MSG_PEEK | socket.MSG_DONTWAIT)
# `tcpi_state` of a connection that neither side has closed.
_ESTABLISHED: Final = 1


def new_call(settings: Settings, signature_name: str = DEFAULT_SIGNATURE) -> Call:
    """The call of the current request."""
    deadline, limit = overload.patience(settings.rest_api_timeout_in_ms / 1e3)
    current = trace()
    return Call(
        deadline,
        signature_name,
        abandoned=has_left(request.environ.get(CONNECTION)),
        request_id=request_id(),
        limit=limit,
        trace=current.carried if current is not None else (),
    )


def note(servable: Servable, answer: Answer, metrics: Metrics, api: str) -> None:
    """Note in the timings and metrics how the current request ran.

    Args:
        servable: what ran.
        answer: what it answered.
        metrics: those of this process.
        api: the name of what was asked, as TF Serving has it: `Predict`, `Classify`, `Regress`; or `Infer`.
    """
    served_by(servable.name, servable.version)  # a remote engine may have had to move on to the next version
    answered(instances=answer.rows)
    timings().add("queue", answer.queue_s)
    timings().add("infer", answer.infer_s)
    metrics.count_batch(servable.name, servable.version, answer.batch_rows, rows=answer.rows)
    metrics.serving.count_run(servable.name, api, answer.infer_s)


def encode(answer: Mapping[str, Any]) -> bytes:
    """Write TF Serving's JSON, in which numbers may be NaN or infinite; with a line break at the end, as it does."""
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def to_response(answer: Mapping[str, Any], encode: Callable[[Mapping[str, Any]], bytes] = encode) -> Response:
    """Write an answer as JSON, timed as the stage "encode"."""
    started_s = time.monotonic()
    response = Response(encode(answer), mimetype="application/json")
    timings().add("encode", time.monotonic() - started_s)
    return response


@dataclass(frozen=True, slots=True)
class Failure:
    """What became of a request on the express lane, where its model failed.

    Attributes:
        error: for the client.
        decode_s: seconds in which its image was decoded; None if it was not.
        images: how many were decoded.
    """

    error: SignpostError
    decode_s: float | None = None
    images: int = 0


def raise_failure(servable: Servable, metrics: Metrics) -> None:
    """Raise what became of the current request on the express lane, if its model failed there."""
    failure: Failure | None = request.environ.get(FAILURE)
    if failure is None:
        return
    if failure.decode_s is not None:
        timings().add("decode", failure.decode_s)
    if failure.images:
        metrics.count_images(servable.name, servable.version, failure.images)
        answered(images=failure.images)
    raise failure.error


def peer_of(connection: object) -> str:
    """The address of a connection's client."""
    try:
        return str(connection.getpeername()[0]) if isinstance(connection, socket.socket) else ""
    except OSError:  # it has left
        return ""


def has_left(connection: object) -> Callable[[], bool] | None:
    """How to find out whether the client has closed its connection, where the server lets us see it."""
    if not isinstance(connection, socket.socket):
        return None
    if isinstance(connection, ssl.SSLSocket):  # it can't be peeked into, but TCP knows who has hung up
        return lambda: connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _ESTABLISHED

    def check() -> bool:
        try:
            return connection.recv(1, _PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    return check
