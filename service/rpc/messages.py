"""Messages over gRPC that are none of the protocol's: the client's error, told as such.

gRPC itself would call it an internal one and write a traceback to the log for each.
"""

from collections.abc import Callable
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError

_UNREADABLE: Final = object()


class MessageInterceptor(grpc.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Answers a message that can't be read with INVALID_ARGUMENT."""

    def intercept_service(self, continuation: Callable[[Any], Any], handler_call_details: Any) -> Any:
        """The handler of a call, which reads its message first."""
        handler = continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        read, run, method = handler.request_deserializer, handler.unary_unary, handler_call_details.method

        def deserialize(message: bytes) -> Any:
            try:
                return read(message)
            except DecodeError:
                return _UNREADABLE

        def answer(request: Any, context: Any) -> Any:
            if request is _UNREADABLE:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"The message is not one that {method} accepts.")
            return run(request, context)

        return grpc.unary_unary_rpc_method_handler(answer, deserialize, handler.response_serializer)
