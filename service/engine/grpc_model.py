"""TF Serving's gRPC ModelService over an engine."""

from typing import Any

from service import errors, protocol
from service.engine.grpc_errors import Context, errors_to
from service.engine.interface import Engine, VersionStatus


class ModelService(protocol.model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]
    """Answers GetModelStatus; HandleReloadConfigRequest is UNIMPLEMENTED."""

    def __init__(self, engine: Engine) -> None:
        """Serve what `engine` holds."""
        self._engine = engine

    def GetModelStatus(self, request: Any, context: Context) -> Any:  # noqa: N802 - the protocol's name
        """The states of a model's versions, or of one of them."""
        with errors_to(context):
            spec = protocol.read_spec(request.model_spec)
            version = spec.version
            if spec.label is not None:
                with self._engine.lease(spec) as servable:
                    version = servable.version
            found = [v for v in self._engine.status().models.get(spec.name, ()) if version in (None, v.version)]
            if not found:
                asked = "any versions" if version is None else f"version {version}"
                raise errors.NotFound(f"Could not find {asked} of model {spec.name}")
            response = protocol.get_model_status_pb2.GetModelStatusResponse()
            for status in found:
                _add_status(response, status)
            return response


def _add_status(response: Any, status: VersionStatus) -> None:
    added = response.model_version_status.add(version=status.version, state=int(status.state))
    added.status.error_message = status.error
    if status.error:
        added.status.error_code = protocol.error_codes_pb2.Code.UNKNOWN
