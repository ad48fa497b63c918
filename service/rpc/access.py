"""Who may do what over gRPC: an interceptor that lets each call in, or not. Health is open to all."""

import logging
from collections.abc import Callable
from typing import Any, Final

import grpc

from service.errors import SignpostError
from service.oip.messages import SERVICE
from service.rpc.errors import code_of
from service.security.access import Access, secret_of

log = logging.getLogger(__name__)

_OPEN: Final = ("/grpc.health.v1.Health/", f"/{SERVICE}/ServerLive", f"/{SERVICE}/ServerReady")
_ADMIN: Final = (
    "/tensorflow.serving.ModelService/HandleReloadConfigRequest",
    f"/{SERVICE}/RepositoryModelLoad",
    f"/{SERVICE}/RepositoryModelUnload",
)


class AccessInterceptor(grpc.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Asks `access` about every call; see there."""

    def __init__(self, access: Access) -> None:
        """Keep what decides."""
        self._access = access

    def intercept_service(self, continuation: Callable[[Any], Any], handler_call_details: Any) -> Any:
        """The handler of a call, or one that refuses it."""
        method: str = handler_call_details.method
        is_admin = method in _ADMIN
        if method.startswith(_OPEN) or not (is_admin or self._access.needs_key):
            return continuation(handler_call_details)
        try:
            secret = _secret(handler_call_details.invocation_metadata)
            name = self._access.admit(secret, "admin" if is_admin else "predict")
        except SignpostError as error:
            return _refusal(code_of(error), str(error), continuation(handler_call_details))
        if is_admin:
            log.info("A call (%s) changes what is served: %s.", name or "without a key", method)
        return continuation(handler_call_details)


def _secret(metadata: Any) -> str | None:
    found = {key: value for key, value in metadata or () if isinstance(value, str)}
    return secret_of(found.get("authorization", ""), found.get("x-api-key", ""))


def _refusal(code: grpc.StatusCode, text: str, handler: Any) -> Any:
    """A handler of the same kind that refuses."""

    def refuse(_request: Any, context: Any) -> None:
        context.abort(code, text)

    if handler is not None and handler.stream_stream is not None:
        return grpc.stream_stream_rpc_method_handler(refuse)
    return grpc.unary_unary_rpc_method_handler(refuse)
