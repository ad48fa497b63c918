"""Calls that Ray brings, answered as a gRPC server would."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from service.ray_serve import deadline, methods
from service.ray_serve.calls import Calls, Handlers
from service.rpc.access import AccessInterceptor
from service.rpc.messages import MessageInterceptor
from service.security import keys
from service.security.access import Access
from service.security.keys import Key, Keys
from tests.unit.service.ray_serve.contexts import RayContext

SERVICE = "tensorflow.serving.PredictionService"
PREDICT = f"/{SERVICE}/Predict"
HEALTH = "/grpc.health.v1.Health/Check"
LONG_S = 20.0

Answer = Callable[[bytes, Any], bytes]


def upper(request: bytes, _context: Any) -> bytes:
    return request.upper()


@pytest.fixture
def make() -> Iterator[Callable[..., Calls]]:
    """Makes calls with one thread of each kind."""
    pools: list[ThreadPoolExecutor] = []

    def make(answer: Answer, *interceptors: Any, most_bytes: int = 100) -> Calls:
        pools.extend((ThreadPoolExecutor(1), ThreadPoolExecutor(1)))

        def stream(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
            yield from (answer(request, context) for request in requests)

        handlers = Handlers()
        unary = grpc.unary_unary_rpc_method_handler(answer, bytes, bytes)
        service, _, name = methods.STREAM[1:].partition("/")
        handlers.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(SERVICE, {"Predict": unary}),
                grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": unary}),
                grpc.method_handlers_generic_handler(service, {name: grpc.stream_stream_rpc_method_handler(stream)}),
            )
        )
        return Calls(handlers, interceptors=interceptors, pool=pools[-2], aside=pools[-1], most_bytes=most_bytes)

    yield make
    for pool in pools:
        pool.shutdown()


def ask(calls: Calls, request: bytes = b"hello", method: str = PREDICT, context: RayContext | None = None) -> bytes:
    answer = asyncio.run(calls.unary(method, request, RayContext() if context is None else context))
    return answer.SerializeToString()


def test_bytes_come_back(make: Callable[..., Calls]) -> None:
    context = RayContext()
    assert ask(make(upper), context=context) == b"HELLO"
    assert context.told_code is None


def test_an_unforeseen_error_stays_in_the_log(make: Callable[..., Calls], caplog: pytest.LogCaptureFixture) -> None:
    def fail(_request: bytes, _context: Any) -> bytes:
        raise RuntimeError("secret")

    context = RayContext()
    assert ask(make(fail), context=context) == b""
    assert context.told_code is grpc.StatusCode.INTERNAL
    assert "secret" not in context.told_details
    assert "secret" in caplog.text


@pytest.mark.parametrize(
    ("request_", "method", "code", "says"),
    [
        (b"x" * 101, PREDICT, grpc.StatusCode.RESOURCE_EXHAUSTED, "larger than max (101 vs. 100)"),
        (b"x", f"/{SERVICE}/Other", grpc.StatusCode.UNIMPLEMENTED, "is not offered here"),
    ],
)
def test_what_can_not_be_asked_is_told(
    make: Callable[..., Calls], request_: bytes, method: str, code: grpc.StatusCode, says: str
) -> None:
    context = RayContext()
    assert ask(make(upper), request_, method, context) == b""
    assert context.told_code is code
    assert says in context.told_details


def test_a_call_ends_with_its_deadline_whatever_the_model_does(make: Callable[..., Calls]) -> None:
    goes_on, seen = threading.Event(), []

    def wait(_request: bytes, context: Any) -> bytes:
        assert goes_on.wait(LONG_S)
        seen.append((context.is_active(), context.time_remaining()))
        context.set_code(grpc.StatusCode.NOT_FOUND)  # too late
        return b"late"

    context = RayContext((deadline.KEY, "50"))
    started_s = time.monotonic()
    calls = make(wait)
    assert ask(calls, context=context) == b""
    assert time.monotonic() - started_s < LONG_S / 2
    goes_on.set()
    assert ask(calls, method=HEALTH) == b"late"  # by the same function in another thread: `wait` has been through
    calls._pool.shutdown()
    assert seen[0] == (False, 0.0)
    assert (context.told_code, context.told_details) == (
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "No answer within the call's deadline.",
    )


def test_a_client_that_leaves_is_seen_and_one_that_left_is_not_begun_with(make: Callable[..., Calls]) -> None:
    begun, goes_on, left, asked = threading.Event(), threading.Event(), threading.Event(), []

    def wait(request: bytes, context: Any) -> bytes:
        asked.append(request)
        begun.set()
        assert goes_on.wait(LONG_S)
        if not context.is_active():
            left.set()
        return b""

    async def leave() -> None:
        running = asyncio.create_task(calls.unary(PREDICT, b"first", RayContext()))
        waiting = asyncio.create_task(calls.unary(PREDICT, b"second", RayContext()))
        await asyncio.to_thread(begun.wait, LONG_S)
        for task in (running, waiting):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    calls = make(wait)
    asyncio.run(leave())
    goes_on.set()
    assert left.wait(LONG_S)
    calls._pool.shutdown()
    assert asked == [b"first"]


def test_health_is_told_while_every_thread_is_busy(make: Callable[..., Calls]) -> None:
    begun, goes_on = threading.Event(), threading.Event()

    def answer(request: bytes, _context: Any) -> bytes:
        if request == b"slow":
            begun.set()
            assert goes_on.wait(LONG_S)
        return request

    async def both() -> bytes:
        slow = asyncio.create_task(calls.unary(PREDICT, b"slow", RayContext()))
        await asyncio.to_thread(begun.wait, LONG_S)
        quick = await calls.unary(HEALTH, b"quick", RayContext())
        goes_on.set()
        await slow
        return quick.SerializeToString()

    calls = make(answer)
    assert asyncio.run(both()) == b"quick"


def test_keys_are_asked_for_as_anywhere(make: Callable[..., Calls]) -> None:
    access = Access(Keys(None, [Key("me", "predict", keys.digest("secret"))]))
    calls = make(upper, AccessInterceptor(access), MessageInterceptor())
    context = RayContext()
    assert ask(calls, context=context) == b""
    assert context.told_code is grpc.StatusCode.UNAUTHENTICATED
    assert ask(calls, context=RayContext(("authorization", "Bearer secret"))) == b"HELLO"
    assert ask(calls, method=HEALTH) == b"HELLO"  # open to all


def stream(calls: Calls, context: RayContext, *requests: bytes) -> list[bytes]:
    async def sent() -> AsyncIterator[bytes]:
        for request in requests:
            yield request

    async def run() -> list[bytes]:
        return [each.SerializeToString() async for each in calls.stream(methods.STREAM, sent(), context)]

    return asyncio.run(run())


def test_each_message_of_a_stream_is_answered_in_its_turn(make: Callable[..., Calls]) -> None:
    context = RayContext()
    assert stream(make(upper), context, b"a", b"b") == [b"A", b"B"]
    assert context.told_code is None


def test_an_error_of_a_stream_ends_it_with_an_empty_message(make: Callable[..., Calls]) -> None:
    context = RayContext()
    assert stream(make(upper), context, b"a", b"x" * 101, b"c") == [b"A", b""]
    assert context.told_code is grpc.StatusCode.RESOURCE_EXHAUSTED
