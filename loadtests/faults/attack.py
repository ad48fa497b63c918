"""Malformed requests by the thousand, over real sockets, to a real service: never a 500, never a hang, memory flat.

    .venv/bin/python -m loadtests.faults.attack --minutes 5

Starts a service of `sign_language`, attacks HTTP (whole requests and broken ones, as `loadtests/faults/hostile.py`
draws them) and gRPC (messages and streams with changed bytes, tensors that contradict themselves) at the same time, and
prints what was tried, how it was answered, and how the memory grew. Exits with 1 when an input was answered with a 500
or INTERNAL, hung, ended a process, or the memory grew beyond its bound.
"""

import json
import shutil
import socket
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, Final

import click
import grpc
import numpy as np

from loadtests.faults.hostile import Hostile
from loadtests.faults.memory_growth import Growth
from loadtests.subject.pictures import drawings
from loadtests.subject.served import Served, served
from service import protocol
from service.oip.messages import SERVICE

MODEL: Final = "sign_language"
# Seconds after which an input counts as hung; the service itself gives up on a slow one much earlier.
_HANG_S: Final = 20.0
_FLAGS: Final = (
    "--header-timeout-s=2", "--body-timeout-s=2", "--keep-alive-s=2", "--file_system_poll_wait_seconds=5",
)  # fmt: skip
_PREDICTION: Final = "/tensorflow.serving.PredictionService/"
_METHODS: Final = (
    *(_PREDICTION + name for name in ("Predict",) * 3 + ("Classify", "Regress", "MultiInference", "GetModelMetadata")),
    "/tensorflow.serving.ModelService/GetModelStatus",
)
_INFERENCE: Final = (
    *(("ModelInfer",) * 6),
    "ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics", "RepositoryIndex", "ServerMetadata",
)  # fmt: skip
# Requests of one stream.
_IN_STREAM: Final = 4
_ROUTES: Final = tuple(
    ("POST" if path.endswith((":predict", ":classify", ":regress", "/infer", "/index")) else "GET", path)
    for path in (
        "/v1/models/<n>:predict", "/v1/models/<n>/versions/<v>:predict", "/v1/models/<n>/labels/<l>:predict",
        "/v1/models/<n>:classify", "/v1/models/<n>:regress", "/v1/models", "/v1/models/<n>", "/v1/models/<n>/metadata",
        "/v1/models/<n>/labels", "/v1/models/<n>/extra/<f>", "/v1/models/<n>/versions/<v>", "/healthz", "/readyz",
        "/metrics", "/", "/docs", "/openapi.json", "/<n>", "/v2", "/v2/health/live", "/v2/health/ready", "/v2/models",
        "/v2/models/<n>", "/v2/models/<n>/versions/<v>", "/v2/models/<n>/ready", "/v2/models/<n>/config",
        "/v2/models/<n>/stats", "/v2/models/stats", "/v2/models/<n>/infer", "/v2/models/<n>/versions/<v>/infer",
        "/v2/repository/index", "/v2/models/<n>/generate", "/v2/<n>",
    )
)  # fmt: skip


class Attack:
    """What was tried, and what came of it."""

    def __init__(self, service: Served, image: bytes) -> None:
        """Try nothing yet."""
        self._service = service
        self._image = image
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self._lock = threading.Lock()

    def http(self, seed: int, until_s: float, most: int) -> None:
        """Send raw requests, each over a connection of its own."""
        hostile = Hostile(Random(seed), _ROUTES, MODEL, self._image)
        for number in range(most):
            if time.monotonic() > until_s:
                return
            raw = hostile.raw()
            try:
                answer = self._exchange(raw, ends=hostile.random.random() < 0.95)
            except TimeoutError:
                self._note("HTTP hang", f"hang on input {number} of seed {seed}: {raw[:300]!r}")
                continue
            status = answer[9:12].decode("latin-1") if answer.startswith(b"HTTP/1.") else "closed"
            said = f"500 on input {number} of seed {seed}: {raw[:300]!r}: {answer[-300:]!r}"
            self._note(f"HTTP {status}", said if status == "500" else "")

    def grpc(self, seed: int, until_s: float, most: int) -> None:
        """Send messages of gRPC that are broken, or say what can't be."""
        hostile = Hostile(Random(seed), _ROUTES, MODEL, self._image)
        with grpc.insecure_channel(self._service.grpc_address) as channel:
            for number in range(most):
                if time.monotonic() > until_s:
                    return
                self._ask_grpc(channel, hostile, f"message {number} of seed {seed}")

    def _ask_grpc(self, channel: Any, hostile: Hostile, which: str) -> None:
        """Send one message, or a stream of some."""
        random = hostile.random
        method, way = random.choice(_METHODS), random.random()
        message = predict_message(hostile)
        if way < 0.5:
            rpc = "ModelStreamInfer" if way < 0.1 else random.choice(_INFERENCE)
            method, message = f"/{SERVICE}/{rpc}", hostile.infer.message()
            message = message if random.random() < 0.6 else hostile.mutated(message)
        try:
            if method.endswith("StreamInfer"):
                sent = [message, *(hostile.mutated(hostile.infer.message()) for _ in range(_IN_STREAM - 1))]
                answers = list(channel.stream_stream(method)(iter(sent), timeout=_HANG_S))
                short = f"{len(answers)} answers to {which}" if len(answers) != len(sent) else ""
                unforeseen = [each for each in answers if b"Signpost failed" in each]
                self._note("gRPC stream", short or (f"{which}: {unforeseen}" if unforeseen else ""))
            else:
                channel.unary_unary(method)(message, timeout=_HANG_S)
                self._note("gRPC OK")
        except grpc.RpcError as error:
            code, text = error.code().name, error.details() or ""
            if code == "DEADLINE_EXCEEDED" and "parameter timeout" not in text:  # that one was asked for
                code = "hang"
            is_unforeseen = code in ("hang", "INTERNAL") or "Signpost failed" in text or "Exception calling" in text
            said = f"{code} on {which}, {method}: {text}: {message[:300]!r}"
            self._note(f"gRPC {code}", said if is_unforeseen else "")

    def is_well(self) -> bool:
        """Whether the service answers what is right."""
        head = f"POST /v1/models/{MODEL}:predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        raw = f"{head}Content-Length: {len(self._image)}\r\n\r\n".encode() + self._image
        return self._exchange(raw, ends=False).startswith(b"HTTP/1.1 200")

    def _exchange(self, raw: bytes, ends: bool) -> bytes:
        """Send bytes and read until the service closes; `ends` says that no more will come."""
        received = b""
        with socket.create_connection(("127.0.0.1", self._service.port), timeout=_HANG_S) as connection:
            try:
                connection.sendall(raw)
                if ends:
                    connection.shutdown(socket.SHUT_WR)
            except TimeoutError:
                raise
            except OSError:  # it may refuse before it has read everything
                pass
            with suppress(ConnectionError):
                while chunk := connection.recv(65536):
                    received += chunk
        return received

    def _note(self, answer: str, failure: str = "") -> None:
        with self._lock:
            self.answers[answer] += 1
            if failure:
                self.failures.append(failure)


def predict_message(hostile: Hostile) -> bytes:
    """A PredictRequest whose tensor says what can't be, or whose bytes are changed."""
    random = hostile.random
    request = protocol.predict_pb2.PredictRequest()
    request.model_spec.name = random.choice((MODEL, MODEL, MODEL, "", "nosuch"))
    if random.random() < 0.2:
        request.model_spec.version.value = random.choice((0, -1, 1, 2**62))
    if random.random() < 0.2:
        request.model_spec.signature_name = random.choice(("", "nosuch", "serving_default", "\x00"))
    pixels = np.zeros((random.choice((0, 1, 2)), 28, 28, 1), np.uint8)
    tensor = protocol.to_tensor_proto(pixels, as_content=random.random() < 0.7)
    way = random.randrange(6)
    if way == 0:
        tensor.dtype = random.choice((0, 1, 3, 7, 9, 14, 23, 101, 2**30))
    elif way == 1:
        for dimension in tensor.tensor_shape.dim:
            dimension.size = random.choice((-1, 0, 1, 28, 2**31, 2**62))
    elif way == 2:
        tensor.tensor_content = random.randbytes(random.randrange(2000))
    elif way == 3:
        tensor.tensor_shape.unknown_rank = True
    elif way == 4:
        tensor.string_val.extend([b"x", hostile.mutated(b"abc")])
    request.inputs[random.choice(("image", "image", "image", "x", ""))].CopyFrom(tensor)
    request.output_filter.extend(random.choice(((), (), ("scores",), ("nosuch",), ("scores", "scores"))))
    message: bytes = request.SerializeToString()
    return message if random.random() < 0.6 else hostile.mutated(message)


def attack(minutes: float, inputs: int, seed: int, flags: tuple[str, ...], clients: int = 4) -> dict[str, Any]:
    """Attack a service for so long or with so many inputs, whichever ends first.

    Args:
        minutes: of the attack.
        inputs: for HTTP and for gRPC, each.
        seed: of what is drawn.
        flags: for `signpost serve`.
        clients: threads for HTTP, and for gRPC.

    Returns:
        What was tried and what came of it.
    """
    [image] = drawings(1)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder, "store")
        shutil.copytree(Path(__file__).parents[2] / "model_store" / MODEL, store / MODEL)
        with served(store, (*_FLAGS, *flags)) as service:
            tried = Attack(service, image)
            before = service.processes()
            until_s = time.monotonic() + minutes * 60
            growth = Growth(service)
            with ThreadPoolExecutor(2 * clients) as pool:
                running = [
                    pool.submit(way, seed + number, until_s, inputs // clients)
                    for number in range(clients)
                    for way in (tried.http, tried.grpc)
                ]
                while not all(each.done() for each in running):
                    growth.look()
                    time.sleep(min(5.0, minutes * 2))
                for each in running:
                    each.result()
            growth.look()
            if not tried.is_well():
                tried.failures.append("the service no longer answers correctly")
            if service.processes() != before:
                tried.failures.append("a process of the service ended")
            log = service.log.read_text()
            tried.failures += [line for line in log.splitlines() if "unexpectedly" in line or "Traceback" in line][:20]
    return {
        "inputs": tried.answers.total(),
        "answers": dict(sorted(tried.answers.items())),
        "answers_500": tried.answers["HTTP 500"],
        "hangs": tried.answers["HTTP hang"] + tried.answers["gRPC hang"],
        "failures": tried.failures,
        "memory": growth.told(),
    }


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--minutes", default=5.0, show_default=True, help="How long to attack.")
@click.option("--inputs", default=1_000_000, show_default=True, help="Maximum inputs over HTTP, and over gRPC.")
@click.option("--seed", default=0, show_default=True, help="Seed of what is drawn.")
@click.option("--most-growth-mb", default=32.0, show_default=True, help="Memory growth that still counts as flat.")
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
def main(minutes: float, inputs: int, seed: int, most_growth_mb: float, flags: tuple[str, ...]) -> None:
    """Attack a service with malformed requests; FLAGS go to `signpost serve`."""
    found = attack(minutes, inputs, seed, flags)
    click.echo(json.dumps(found, indent=1))
    if found["failures"] or found["memory"]["growth_mb"] > most_growth_mb:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
