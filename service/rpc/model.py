"""TF Serving's gRPC ModelService over an engine."""

import time
from collections.abc import Callable
from typing import Any, Final

from service import errors, protocol
from service.interface import Engine, VersionStatus
from service.near_misses import what_there_is
from service.rpc.errors import Context
from service.rpc.exchange import Watch, exchange

# Seconds in which a configuration must be in force where the client sets no deadline; large models load for minutes.
_RELOAD_S: Final = 600.0
_ROUTE: Final = "/tensorflow.serving.ModelService/"
_NOBODY: Final = Watch()


class ModelService(protocol.model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]
    """Answers GetModelStatus and HandleReloadConfigRequest.

    Args:
        engine: whose versions it tells.
        reload: puts another configuration in place, see `service.parts.reloading`; None where that is not possible.
        watch: who is told of each call.
    """

    def __init__(
        self, engine: Engine, reload: Callable[[Any, float], None] | None = None, watch: Watch = _NOBODY
    ) -> None:
        """Keep what the calls need."""
        self._engine = engine
        self._reload = reload
        self._watch = watch

    def HandleReloadConfigRequest(self, request: Any, context: Context) -> Any:  # noqa: N802 - the protocol's name
        """Put another configuration in place; answers when it is in force."""
        response = protocol.model_management_pb2.ReloadConfigResponse()
        route = _ROUTE + "HandleReloadConfigRequest"
        with exchange(self._watch, context, route, request, response, while_loading=True) as current:
            if self._reload is None:
                raise errors.Unsupported("This process can't change which models are served.")
            deadline, _ = current.patience(_RELOAD_S)
            self._reload(request.config, deadline - time.monotonic())
            response.status.error_code = protocol.error_codes_pb2.Code.OK
            return response

    def GetModelStatus(self, request: Any, context: Context) -> Any:  # noqa: N802 - the protocol's name
        """The states of a model's versions, or of one of them."""
        response = protocol.get_model_status_pb2.GetModelStatusResponse()
        with exchange(self._watch, context, _ROUTE + "GetModelStatus", request, response):
            spec = protocol.read_spec(request.model_spec)
            version = spec.version
            if spec.label is not None:
                with self._engine.lease(spec) as servable:
                    version = servable.version
            known = self._engine.status()
            found = [v for v in known.models.get(spec.name, ()) if version in (None, v.version)]
            if not found and version is None and spec.name in known.reasons:
                raise errors.NotFound(protocol.no_versions(spec.name, known.reasons[spec.name]))
            if not found:
                asked = "any versions" if version is None else f"version {version}"
                raise errors.NotFound(
                    f"Could not find {asked} of model {spec.name}; {what_there_is(spec.name, known.models)}"
                )
            for status in found:
                _add_status(response, status)
            return response


def _add_status(response: Any, status: VersionStatus) -> None:
    added = response.model_version_status.add(version=status.version, state=int(status.state))
    added.status.error_message = status.error
    if status.error:
        added.status.error_code = protocol.error_codes_pb2.Code.UNKNOWN
