"""What Ray's proxy takes of Signpost, with a server that does to handlers what Ray's does."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from service import protocol
from service.oip import messages
from service.ray_serve import deadline, methods, proxy
from service.ray_serve.context import ANSWERED
from tests.unit.service.ray_serve.contexts import ServerContext

PREDICT = "/tensorflow.serving.PredictionService/Predict"
TRACEBACK = 'ray::ServeReplica.handle_request() (pid=7, ip=192.0.2.7)\nTraceback (most recent call last):\n  File "x"'


class Details:
    def __init__(self, method: str) -> None:
        self.method = method
        self.invocation_metadata = ()


class Server:
    """Puts its own functions in the place of all handlers, as `ray.serve._private.grpc_util.gRPCGenericServer`."""

    def __init__(self, call: Any, stream: Any = None) -> None:
        self.call = call
        self.stream = stream

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        [self.handlers] = handlers
        self.handlers._method_handlers = {
            method: handler._replace(
                response_serializer=None, unary_unary=self.call, stream_stream=self.stream or self.call
            )
            for method, handler in self.handlers._method_handlers.items()
        }

    def handler(self, method: str) -> Any:
        return self.handlers.service(Details(method))


def served(call: Any, stream: Any = None) -> Server:
    server = Server(call, stream)
    proxy.add_services(None, server)
    return server


def ask(call: Any, context: ServerContext, method: str = PREDICT) -> bytes:
    answer: bytes = asyncio.run(served(call).handler(method).unary_unary(b"request", context))
    return answer


async def answering(request: bytes, context: Any) -> bytes:
    context.set_trailing_metadata([("x-request-id", "7"), ANSWERED])
    return b"answer to " + request


def failing(code: grpc.StatusCode, details: str) -> Any:
    """What Ray does where a call fails."""

    async def call(_request: bytes, context: Any) -> bytes:
        context.set_code(code)
        context.set_details(details)
        return b""

    return call


def test_messages_pass_as_bytes_and_the_mark_stays_behind() -> None:
    context = ServerContext()
    assert ask(answering, context) == b"answer to request"
    assert context.trailing == (("x-request-id", "7"),)
    assert context.told_code is None


def test_grpcs_own_deadline_is_told_to_the_replica() -> None:
    seen: list[Any] = []

    async def call(request: bytes, context: Any) -> bytes:
        seen.extend(context.invocation_metadata())
        return await answering(request, context)

    ask(call, ServerContext(("a", "b"), remaining_s=0.25))
    assert seen == [("a", "b"), (deadline.KEY, "250")]


def test_an_error_of_the_replicas_own_passes_as_it_is() -> None:
    async def call(request: bytes, context: Any) -> bytes:
        context.set_code(grpc.StatusCode.NOT_FOUND)
        context.set_details("Servable not found for request: Latest(x).")
        await answering(request, context)
        return b""

    context = ServerContext()
    ask(call, context)
    assert (context.told_code, context.told_details) == (
        grpc.StatusCode.NOT_FOUND,
        "Servable not found for request: Latest(x).",
    )


@pytest.mark.parametrize(
    ("code", "becomes"),
    [
        (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE),  # a replica that died, or failed beyond its control
        (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE),  # no application
        (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.DEADLINE_EXCEEDED),
        (grpc.StatusCode.CANCELLED, grpc.StatusCode.CANCELLED),
        (grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE),
    ],
)
def test_what_ray_says_becomes_one_sentence(code: grpc.StatusCode, becomes: grpc.StatusCode) -> None:
    context = ServerContext()
    assert ask(failing(code, TRACEBACK), context) == b""
    assert context.told_code is becomes
    assert not any(word in context.told_details for word in ("Traceback", "ray", "192.0.2.7", "\n"))
    assert context.told_details.endswith(".")


def test_a_proxy_that_fails_tells_no_more() -> None:
    async def call(_request: bytes, _context: Any) -> bytes:
        raise RuntimeError(TRACEBACK)

    context = ServerContext()
    ask(call, context)
    assert context.told_code is grpc.StatusCode.UNAVAILABLE
    assert "Traceback" not in context.told_details


@pytest.mark.parametrize("method", methods.UNSUPPORTED)
def test_what_no_replica_can_answer_is_refused_with_the_reason(method: str) -> None:
    context = ServerContext()
    with pytest.raises(RuntimeError, match="aborted"):
        ask(answering, context, method)
    assert (context.told_code, context.told_details) == (grpc.StatusCode.UNIMPLEMENTED, methods.UNSUPPORTED[method])


def test_other_services_are_none_of_ours() -> None:
    assert served(answering).handler("/other.Service/Method") is None


def stream(call: Any, context: ServerContext) -> list[bytes]:
    async def run() -> list[bytes]:
        handler = served(answering, call).handler(methods.STREAM)
        return [answer async for answer in handler.stream_stream(None, context)]

    return asyncio.run(run())


def test_a_stream_passes_until_the_replica_ends_it() -> None:
    async def call(_requests: Any, context: Any) -> AsyncIterator[bytes]:
        await answering(b"", context)
        yield b"one"
        context.set_code(grpc.StatusCode.UNAUTHENTICATED)
        context.set_details("This service needs an API key.")
        await answering(b"", context)
        yield b""

    context = ServerContext()
    assert stream(call, context) == [b"one"]
    assert (context.told_code, context.told_details) == (
        grpc.StatusCode.UNAUTHENTICATED,
        "This service needs an API key.",
    )


def test_a_stream_that_ends_well_ends_well() -> None:
    async def call(_requests: Any, context: Any) -> AsyncIterator[bytes]:
        await answering(b"", context)
        yield b"one"
        context.set_code(grpc.StatusCode.OK)  # as Ray does

    context = ServerContext()
    assert stream(call, context) == [b"one"]
    assert (context.told_code, context.told_details) == (grpc.StatusCode.OK, "")


@pytest.mark.parametrize("raises", [False, True])
def test_a_stream_whose_replica_dies_ends_with_a_sentence(raises: bool) -> None:
    async def call(_requests: Any, context: Any) -> AsyncIterator[bytes]:
        await answering(b"", context)
        yield b"one"
        if raises:
            raise RuntimeError(TRACEBACK)
        context.set_code(grpc.StatusCode.INTERNAL)
        context.set_details(TRACEBACK)

    context = ServerContext()
    assert stream(call, context) == [b"one"]
    assert context.told_code is grpc.StatusCode.UNAVAILABLE
    assert "Traceback" not in context.told_details


def test_every_rpc_of_the_services_is_passed_on_or_refused() -> None:
    from grpc_health.v1 import health_pb2
    from tensorflow_serving.apis import model_service_pb2, prediction_service_pb2

    assert protocol  # which lets these be imported without TensorFlow
    descriptors = [
        prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"],
        model_service_pb2.DESCRIPTOR.services_by_name["ModelService"],
        health_pb2.DESCRIPTOR.services_by_name["Health"],
    ]
    there_are = {f"/{each.full_name}/{method.name}" for each in descriptors for method in each.methods}
    infer = {name.removesuffix("Request") for name in messages.names() if name.endswith("Request")}
    there_are |= {f"/{messages.SERVICE}/{name}" for name in infer} | {methods.STREAM}
    assert {*methods.unary(), methods.STREAM, *methods.UNSUPPORTED} == there_are
    assert set(methods.unary()) >= methods.ASIDE
    names = [methods.name_of(method) for method in (*methods.unary(), methods.STREAM)]
    assert len(names) == len(set(names))  # Ray tells them apart by that alone
