"""Clients that ask side by side, each over a connection of its own, and what came of it."""

import http.client
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

import grpc
import numpy as np

from loadtests.asking.difference import difference
from loadtests.asking.forms import grpc_outputs, grpc_request, http_outputs, http_request
from loadtests.exports.cases import Case

_PATIENCE_S: Final = 60.0
_PREDICT: Final = "/tensorflow.serving.PredictionService/Predict"
PROTOCOLS: Final = ("HTTP", "gRPC")


@dataclass
class Outcome:
    """What came of the requests for a model.

    Attributes:
        requests: how many were sent.
        wrong: answers that differ from the right one.
        errors: refusals of what should be answered, and answers to what should be refused.
        first: what the first wrong answer or error was.
    """

    requests: int = 0
    wrong: int = 0
    errors: int = 0
    first: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def note(self, wrong: str = "", error: str = "") -> None:
        """Count one request."""
        with self._lock:
            self.requests += 1
            self.wrong += bool(wrong)
            self.errors += bool(error)
            self.first = self.first or wrong or error


class _Connection(Protocol):
    def ask(self, request: bytes) -> tuple[bool, bytes]: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class _Prepared:
    case: Case
    request: bytes
    read: Callable[[bytes], dict[str, Any]]
    right: set[bytes]  # answers that were compared already: most are the same bytes


def ask(
    protocol: str, address: str, model: str, cases: Sequence[Case], clients: int, requests: int, seed: int = 0
) -> Outcome:
    """Ask for a model by several clients at once and compare every answer.

    Args:
        protocol: one of `PROTOCOLS`.
        address: host and port for it.
        model: its name.
        cases: what is asked, each client in an order of its own.
        clients: how many ask at the same time.
        requests: how many all together send.
        seed: of the orders.
    """
    prepared = _prepare(protocol, model, cases)
    outcome = Outcome()
    if not prepared:
        return outcome

    def run(number: int) -> None:
        random = np.random.default_rng((seed, number))
        share = requests // clients + (number < requests % clients)
        connection = _connect(protocol, address)
        try:
            while share > 0:
                for index in random.permutation(len(prepared))[:share]:
                    _ask_once(connection, prepared[index], outcome)
                share -= len(prepared)
        except (OSError, http.client.HTTPException) as error:
            outcome.note(error=f"the connection broke: {error!r}")
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcome


def _prepare(protocol: str, model: str, cases: Sequence[Case]) -> list[_Prepared]:
    random = np.random.default_rng(len(cases))
    if protocol == "gRPC":
        return [_prepare_grpc(model, case, random) for case in cases]
    inputs: dict[str, set[str]] = {}
    for case in cases:
        inputs.setdefault(case.signature, set()).update(case.inputs)
    return [
        _Prepared(
            case,
            http_request(
                model,
                case,
                rows=bool(random.integers(2)),
                bare=len(inputs[case.signature]) == 1 and bool(random.integers(2)),
            ),
            lambda body, names=list(case.outputs): http_outputs(body, names),  # type: ignore[misc]
            set(),
        )
        for case in cases
        if case.over_rest
    ]


def _prepare_grpc(model: str, case: Case, random: np.random.Generator) -> _Prepared:
    """Some requests want some of the outputs only."""
    names = sorted(case.outputs)
    if len(names) < 2 or random.random() < 0.5:
        return _Prepared(case, grpc_request(model, case), grpc_outputs, set())
    wanted = random.choice(names, random.integers(1, len(names)), replace=False).tolist()
    case = replace(case, outputs={name: case.outputs[name] for name in wanted})
    return _Prepared(case, grpc_request(model, case, wanted), grpc_outputs, set())


def _ask_once(connection: _Connection, prepared: _Prepared, outcome: Outcome) -> None:
    answered, body = connection.ask(prepared.request)
    case = prepared.case
    if answered and case.refused:
        outcome.note(error=f"{case.signature} was answered: {body[:200]!r}")
    elif not answered:
        text = body.decode(errors="replace").strip()
        expected = case.refused and case.refused in text
        outcome.note(error="" if expected else f"{case.signature}: {text[:300]}")
    elif body in prepared.right:
        outcome.note()
    else:
        try:
            wrong = difference(case.outputs, prepared.read(body), case.within, case.rounding)
        except (ValueError, KeyError, TypeError) as error:
            wrong = f"unreadable answer: {error!r}: {body[:200]!r}"
        if not wrong:
            prepared.right.add(body)
        outcome.note(wrong=wrong and f"{case.signature}: {wrong}")


def _connect(protocol: str, address: str) -> _Connection:
    return _GrpcConnection(address) if protocol == "gRPC" else _HttpConnection(address)


class _HttpConnection:
    """One that is kept alive; it parses no more of an answer than its status and length."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=_PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request: bytes) -> tuple[bool, bytes]:
        self._socket.sendall(request)
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._receive()
        head = data[:end].lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        while len(data) < end + 4 + length:
            data += self._receive()
        return head[9:12] == b"200", (b"" if head[9:12] == b"200" else head[9:12] + b" ") + data[end + 4 :]

    def _receive(self) -> bytes:
        data = self._socket.recv(1 << 16)
        if not data:
            raise http.client.RemoteDisconnected("the service closed it")
        return data

    def close(self) -> None:
        self._socket.close()


class _GrpcConnection:
    """A channel with a connection of its own."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),))
        self._call = self._channel.unary_unary(_PREDICT)

    def ask(self, request: bytes) -> tuple[bool, bytes]:
        try:
            return True, self._call(request, timeout=_PATIENCE_S)
        except grpc.RpcError as error:
            return False, f"{error.code().name} {error.details()}".encode()

    def close(self) -> None:
        self._channel.close()
