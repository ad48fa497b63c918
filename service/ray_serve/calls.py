"""A gRPC server without a socket: what a server would do with a call's bytes, for calls that Ray brings.

Servicers and interceptors are those of every gRPC server of Signpost. A call waits in a `FrontQueue` for one of the
threads, as there; what only tells how the replica is has threads of its own. Whoever made the threads ends them.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import grpc

from service.ray_serve import methods
from service.ray_serve.context import CallContext, Ended

log = logging.getLogger(__name__)

_FAILED: Final = "Signpost failed on this call; its log says why."
# Seconds by which the deadline passes before nobody waits any more: who finds it passed first says what was slow.
_GRACE_S: Final = 0.01


@dataclass(frozen=True)
class Message:
    """A message as bytes; Ray asks for them by the name that protobuf has for it."""

    content: bytes = b""

    def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
        """The bytes."""
        return self.content


@dataclass(frozen=True)
class _Details:
    """What interceptors and handlers are asked with; see `grpc.HandlerCallDetails`."""

    method: str
    invocation_metadata: tuple[Any, ...]


class Handlers:
    """Collects the handlers of services, as gRPC's server does."""

    def __init__(self) -> None:
        """None yet."""
        self.generic: list[grpc.GenericRpcHandler] = []

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Take the handlers of a service."""
        self.generic.extend(handlers)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Any) -> None:
        """Take nothing: generated code offers the same handlers twice."""


class Calls:
    """Runs the calls of a replica.

    Args:
        handlers: of all services.
        interceptors: what each call goes through first.
        pool: threads for calls that may run a model.
        aside: threads for those that only tell how the replica is.
        most_bytes: size of a request at most.
    """

    def __init__(
        self,
        handlers: Handlers,
        *,
        interceptors: Sequence[grpc.ServerInterceptor],
        pool: Executor,
        aside: Executor,
        most_bytes: int,
    ) -> None:
        """Keep what the calls need."""
        self._handlers = handlers.generic
        self._interceptors = interceptors
        self._pool = pool
        self._aside = aside
        self._most_bytes = most_bytes

    async def unary(self, method: str, request: bytes, ray_context: Any) -> Message:
        """Answer a call of one message each way.

        Args:
            method: the RPC's full name.
            request: the message.
            ray_context: takes the code and text of an error; see `RayServegRPCContext`.

        Returns:
            The answer; an empty one beside an error.
        """
        context = CallContext(ray_context)
        answer: Message | None = await self._run(context, method, partial(self._answer, method, request, context))
        return answer or Message()

    async def stream(self, method: str, requests: AsyncIterator[bytes], ray_context: Any) -> AsyncIterator[Message]:
        """Answer each message of a stream in its turn; an error of the stream itself ends it with an empty message."""
        context = CallContext(ray_context)
        async for request in requests:
            answers = await self._run(context, method, partial(self._each, method, request, context))
            for answer in answers or (Message(),):
                yield answer
            if answers is None:
                return

    async def _run(self, context: CallContext, method: str, work: Callable[[], Any]) -> Any:
        """Run it in a thread, for as long as somebody waits; it ends by itself soon after nobody does."""
        pool = self._aside if method in methods.ASIDE else self._pool
        running = asyncio.shield(asyncio.wrap_future(pool.submit(_guarded, context, work)))
        remaining_s = context.time_remaining()
        try:
            return await asyncio.wait_for(running, None if remaining_s is None else remaining_s + _GRACE_S)
        except TimeoutError:
            context.end(grpc.StatusCode.DEADLINE_EXCEEDED, "No answer within the call's deadline.")
            return None
        except asyncio.CancelledError:  # the client has left, or its deadline has passed at the proxy
            context.leave()
            raise

    def _answer(self, method: str, request: bytes, context: CallContext) -> Message:
        handler = self._find(method, request, context)
        return _write(handler, handler.unary_unary(_read(handler, request), context))

    def _each(self, method: str, request: bytes, context: CallContext) -> list[Message]:
        handler = self._find(method, request, context)
        # A stream of one message: no thread is held while the client is to send the next.
        return [_write(handler, each) for each in handler.stream_stream(iter((_read(handler, request),)), context)]

    def _find(self, method: str, request: bytes, context: CallContext) -> Any:
        if not context.is_active():
            raise Ended
        if len(request) > self._most_bytes:  # in gRPC's own words, by which gateways know it
            context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"Received message larger than max ({len(request)} vs. {self._most_bytes})",
            )
        handler = self._through(_Details(method, context.invocation_metadata()), self._interceptors)
        return handler or context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{method} is not offered here.")

    def _through(self, details: Any, interceptors: Sequence[Any]) -> Any:
        """The handler of a call as the interceptors leave it; None without one."""
        if interceptors:
            return interceptors[0].intercept_service(lambda each: self._through(each, interceptors[1:]), details)
        found = (handler.service(details) for handler in self._handlers)
        return next((handler for handler in found if handler is not None), None)


def _read(handler: Any, request: bytes) -> Any:
    return request if handler.request_deserializer is None else handler.request_deserializer(request)


def _write(handler: Any, response: Any) -> Message:
    return Message(response if handler.response_serializer is None else handler.response_serializer(response))


def _guarded(context: CallContext, work: Callable[[], Any]) -> Any:
    """The answer, or None where the call has ended with an error: none goes to Ray, which would show a traceback."""
    try:
        return work()
    except Ended:
        return None
    except Exception:
        log.exception("A call failed unexpectedly.")
        context.end(grpc.StatusCode.INTERNAL, _FAILED)
        return None
