"""The standard health service, of the service as a whole ("") and of each model by its name.

`List` tells them all at once; a remote engine in front learns from it which models there are.
"""

from typing import Any, Final

from grpc_health.v1 import health, health_pb2

from service.interface import State, Status
from service.rpc.exchange import is_own
from service.telemetry.carried import as_mapping

_STATES: Final = health_pb2.HealthCheckResponse


class HealthService(health.HealthServicer):  # type: ignore[misc]  # grpc_health has no types
    """grpcio's health service, with the `List` that it lacks.

    Args:
        link_secret: what this service's own gateways send as their key. They are told of each model as soon as it is
            loaded; everybody else, when the first models all are.
    """

    def __init__(self, link_secret: str = "") -> None:
        """Nothing is ready yet."""
        super().__init__()
        self._link_secret = link_secret
        self._inside: dict[str, int] = {}  # what is told to own gateways, and to others; replaced as a whole
        self._told: dict[str, int] = {}
        self._tell({"": _STATES.NOT_SERVING}, loading=True)

    def follow(self, status: Status, draining: bool = False, loading: bool = False) -> None:
        """Tell what an engine's status says.

        A service that drains does not serve as a whole; its models do, for those who have no other. A model whose
        folder is laid out wrongly is UNKNOWN: it is there, and nobody waits for it.
        """
        states = dict.fromkeys(self._inside, _STATES.SERVICE_UNKNOWN)  # of a model that is gone
        states[""] = _STATES.SERVING if status.ready and not draining else _STATES.NOT_SERVING
        states |= dict.fromkeys(status.reasons, _STATES.UNKNOWN)
        for model, versions in status.models.items():
            ready = any(each.state is State.AVAILABLE for each in versions)
            states[model] = _STATES.SERVING if ready else _STATES.NOT_SERVING
        self._tell(states, loading)

    def _tell(self, states: dict[str, int], loading: bool) -> None:
        self._inside = states
        hidden = {_STATES.SERVING: _STATES.NOT_SERVING} if loading else {}
        self._told = {name: hidden.get(state, state) for name, state in states.items()}
        for name, state in self._told.items():
            self.set(name, state)

    def List(self, _request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        """The status of the whole and of each model."""
        inside = is_own(as_mapping(context.invocation_metadata()), self._link_secret)
        states = self._inside if inside else self._told
        return health_pb2.HealthListResponse(statuses={name: _STATES(status=state) for name, state in states.items()})
