"""Locust users, one class for each way in. They ask when their pace gives them a turn, and record what came of it."""

import json
import time
from typing import Any, ClassVar, Final

import grpc
from locust import FastHttpUser, User, constant, task
from locust.exception import StopUser

from loadtests.load.kit import Kit
from loadtests.load.pace import Turn
from loadtests.load.ways import Request
from loadtests.results import records
from loadtests.subject import target

_PREDICT: Final = "/tensorflow.serving.PredictionService/Predict"
# Each user has a connection of its own, as clients on several hosts would.
_CHANNEL_OPTIONS: Final = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))


class Paced(User):
    """Asks when it is its turn."""

    abstract = True
    wait_time = constant(0)
    way: ClassVar[str]
    kit: ClassVar[Kit]  # set by the locustfile, in each process

    def on_start(self) -> None:
        """Take a number."""
        self.number = self.kit.users
        self.kit.users += 1
        self.kit.here += 1

    def on_stop(self) -> None:
        """Go."""
        self.kit.here -= 1

    @task
    def ask(self) -> None:
        """Wait for a turn and take it."""
        turn = self.kit.pace.turn(self.way, self.number)
        if turn is None:
            raise StopUser
        self.send(turn, next(self.kit.turns[turn.kind]), str(self.kit.plan.kinds[turn.kind]))

    def send(self, turn: Turn, request: Request, name: str) -> None:
        """Send a request and record what came of it."""
        raise NotImplementedError


class _Http(Paced, FastHttpUser):
    """Asks over HTTP, on a connection that is kept alive."""

    abstract = True
    max_redirects = 0

    def __init__(self, environment: Any) -> None:
        """Wait no longer than the plan says."""
        self.connection_timeout = self.network_timeout = self.kit.plan.timeout_s
        self.default_headers = target.key_headers()
        super().__init__(environment)

    def send(self, turn: Turn, request: Request, name: str) -> None:
        """Post it; an answer without predictions is a failure."""
        sent_s = time.monotonic()
        headers = {"Content-Type": request.content_type}
        # Locust's annotation knows only text, but bytes are sent as they are.
        body: Any = request.body
        with self.client.post(request.path, data=body, headers=headers, name=name, catch_response=True) as response:
            content = response.content or b""
            done_s = time.monotonic()
            response.request_meta["response_time"] = (done_s - turn.due_s) * 1e3
            status = response.status_code or records.NO_ANSWER
            error = "" if status == 200 else _said(response)
            if status == 200 and b'"predictions"' not in content and b'"outputs"' not in content:
                status, error = records.ODD_ANSWER, f"200 without predictions: {content[:200]!r}"
            if error:
                response.failure(f"{status}: {error}")
            timing = response.headers.get("Server-Timing", "") if response.headers is not None else ""
        self.kit.note(turn, sent_s, done_s, status, error, timing)


def _said(response: Any) -> str:
    """Why there is no good answer."""
    if response.error is not None and not response.content:
        error = getattr(response.error, "original", None) or response.error  # without the URL
        return str(error) or type(error).__name__
    text: str = (response.content or b"").decode("utf-8", "replace")[:1000]
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text or "(an empty answer)"


class ImageUser(_Http):
    """Posts one image as it is."""

    way = "image"


class MultipartUser(_Http):
    """Posts several images as a form's files."""

    way = "multipart"


class Base64User(_Http):
    """Posts TensorFlow Serving's JSON with images in base64."""

    way = "b64"


class ArraysUser(_Http):
    """Posts TensorFlow Serving's JSON with pixels as nested lists."""

    way = "arrays"


class GrpcUser(Paced):
    """Calls PredictionService.Predict with pixels; bytes both ways, so that the generator parses nothing."""

    way = "grpc"

    def on_start(self) -> None:
        """Open a channel of its own."""
        super().on_start()
        self.channel = grpc.insecure_channel(self.kit.plan.grpc_address, options=_CHANNEL_OPTIONS)
        self.predict = self.channel.unary_unary(_PREDICT, request_serializer=None, response_deserializer=None)
        self.metadata = [(name.lower(), value) for name, value in target.key_headers().items()]

    def on_stop(self) -> None:
        """Close it."""
        super().on_stop()
        self.channel.close()

    def send(self, turn: Turn, request: Request, name: str) -> None:
        """Call Predict."""
        sent_s, answer, failure = time.monotonic(), b"", None
        try:
            answer = self.predict(request.body, timeout=self.kit.plan.timeout_s, metadata=self.metadata)
            status, error = records.GRPC_CODES, ""
        except grpc.RpcError as raised:
            failure = raised
            status, error = records.GRPC_CODES + raised.code().value[0], f"{raised.code().name}: {raised.details()}"
        done_s = time.monotonic()
        self.environment.events.request.fire(
            request_type="GRPC",
            name=name,
            response_time=(done_s - turn.due_s) * 1e3,
            response_length=len(answer),
            exception=failure,
            context={},
        )
        self.kit.note(turn, sent_s, done_s, status, error)


EVERY: Final[tuple[type[Paced], ...]] = (ImageUser, MultipartUser, Base64User, ArraysUser, GrpcUser)
