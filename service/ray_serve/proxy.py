"""What Ray's gRPC proxy takes of Signpost: its RPCs, with deadlines that reach the replicas and errors for clients.

`grpc_servicer_functions` of `serve.yaml` names `add_services`. Messages pass as bytes, so a proxy neither imports nor
parses them. Ray puts its own function in the place of each handler; around that one

- what is left of gRPC's deadline is told to the replica as metadata;
- what Ray says of a call that failed (a traceback, the address of a machine) becomes a sentence.

Nothing here starts a thread; the calls run in the proxy's event loop.
"""

import logging
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc

from service import errors
from service.ray_serve import deadline, methods
from service.ray_serve.context import ANSWERED

log = logging.getLogger(__name__)

_NO_REPLICA: Final = "No replica is ready to answer."
_LOST: Final = "The replica that had this call is gone, or failed on it."
# What Ray means by its codes, where a replica has not answered.
_IN_OUR_WORDS: Final = {
    grpc.StatusCode.NOT_FOUND: (grpc.StatusCode.UNAVAILABLE, _NO_REPLICA),  # no application is deployed
    grpc.StatusCode.UNAVAILABLE: (grpc.StatusCode.UNAVAILABLE, _NO_REPLICA),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "The queue is full: all replicas have as many calls as they accept; try again later.",
    ),
    grpc.StatusCode.DEADLINE_EXCEEDED: (
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "No answer within the time that Ray Serve allows a call (request_timeout_s).",
    ),
    grpc.StatusCode.CANCELLED: (grpc.StatusCode.CANCELLED, "The client disconnected."),
}


def add_services(_servicer: Any, server: Any) -> None:
    """Have a server of Ray's take the RPCs of all services; `serve.yaml` names this function."""
    handlers = {method: grpc.unary_unary_rpc_method_handler(_nothing) for method in methods.unary()}
    handlers[methods.STREAM] = grpc.stream_stream_rpc_method_handler(_nothing)
    server.add_generic_rpc_handlers((Handlers(handlers),))


class Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """The handlers of a server, each with what stands around Ray's.

    Ray reads `_method_handlers`, as gRPC's own collection of handlers has it, and sets it to its own.
    """

    def __init__(self, handlers: dict[str, Any]) -> None:
        """Keep them until Ray's take their place."""
        self._method_handlers = handlers

    def service(self, handler_call_details: Any) -> Any:
        """The handler of a call; None for one of other services."""
        method: str = handler_call_details.method
        if method in methods.UNSUPPORTED:
            return grpc.unary_unary_rpc_method_handler(_refuse(methods.UNSUPPORTED[method]))
        handler = self._method_handlers.get(method)
        if handler is None:
            return None
        if method == methods.STREAM:
            return grpc.stream_stream_rpc_method_handler(_around_stream(handler.stream_stream))
        return grpc.unary_unary_rpc_method_handler(_around(handler.unary_unary))


class ProxyContext:
    """gRPC's context of a call as Ray is to see it; all else is gRPC's own.

    Attributes:
        is_answered: whether a replica has answered, so that code and text are Signpost's.
    """

    def __init__(self, context: Any) -> None:
        """Keep gRPC's."""
        self._context = context
        self.is_answered = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def invocation_metadata(self) -> tuple[Any, ...]:
        """What the client sent, and what is left of the call's time."""
        return deadline.with_left(self._context.invocation_metadata() or (), self._context.time_remaining())

    def set_trailing_metadata(self, metadata: Any) -> None:
        """Keep what goes back to the client, but for the replica's mark."""
        pairs = [tuple(pair) for pair in metadata]
        self.is_answered |= ANSWERED in pairs
        self._context.set_trailing_metadata(tuple(pair for pair in pairs if pair != ANSWERED))

    @property
    def has_failed(self) -> bool:
        """Whether the call has ended, or will, with an error."""
        return self._context.code() not in (None, 0, grpc.StatusCode.OK)

    def mend(self) -> None:
        """Put what Ray says of a call in words for clients."""
        if not self.is_answered:
            code, text = _IN_OUR_WORDS.get(self._context.code(), (grpc.StatusCode.UNAVAILABLE, _LOST))
            self._context.set_code(code)
            self._context.set_details(text)


def _around(call: Any) -> Any:
    async def answer(request: bytes, context: Any) -> bytes:
        seen = ProxyContext(context)
        response = b""
        try:
            response = await call(request, seen)
        except Exception as error:
            log.warning("A call failed in Ray's proxy: %s", errors.one_line(str(error)))
        seen.mend()
        return response

    return answer


def _around_stream(call: Any) -> Any:
    async def answer(requests: Any, context: Any) -> AsyncIterator[bytes]:
        seen = ProxyContext(context)
        try:
            async for response in call(requests, seen):
                if seen.has_failed:  # the replica has ended the stream; its last message is empty
                    return
                yield response
                seen.is_answered = False
        except Exception as error:
            log.warning("A stream failed in Ray's proxy: %s", errors.one_line(str(error)))
            seen.mend()
        if seen.has_failed:
            seen.mend()

    return answer


def _refuse(text: str) -> Any:
    async def refuse(_request: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, text)
        raise AssertionError  # abort raises

    return refuse


def _nothing(*_: Any) -> Any:
    raise NotImplementedError  # Ray's own function takes its place
