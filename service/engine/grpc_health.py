"""The standard health service, of the service as a whole ("") and of each model by its name.

`List` tells them all at once; a remote engine in front learns from it which models there are.
"""

from typing import Any

from grpc_health.v1 import health, health_pb2

from service.engine.interface import State, Status


class HealthService(health.HealthServicer):  # type: ignore[misc]  # grpc_health has no types
    """grpcio's health service, with the `List` that it lacks."""

    def __init__(self) -> None:
        """Nothing is ready yet."""
        super().__init__()
        self._told: dict[str, int] = {}  # replaced as a whole
        self.set("", health_pb2.HealthCheckResponse.NOT_SERVING)

    def set(self, service: str, status: int) -> None:
        """Set the status of the whole ("") or of a model."""
        super().set(service, status)
        self._told = {**self._told, service: status}

    def follow(self, status: Status, draining: bool = False) -> None:
        """Tell what an engine's status says.

        A service that drains does not serve as a whole; its models do, for those who have no other.
        """
        answers = health_pb2.HealthCheckResponse
        self.set("", answers.SERVING if status.ready and not draining else answers.NOT_SERVING)
        for model in self._told.keys() - status.models.keys() - {""}:
            self.set(model, answers.SERVICE_UNKNOWN)
        for model, versions in status.models.items():
            ready = any(each.state is State.AVAILABLE for each in versions)
            self.set(model, answers.SERVING if ready else answers.NOT_SERVING)

    def List(self, _request: Any, _context: Any) -> Any:  # noqa: N802 - the protocol's name
        """The status of the whole and of each model."""
        statuses = {name: health_pb2.HealthCheckResponse(status=status) for name, status in self._told.items()}
        return health_pb2.HealthListResponse(statuses=statuses)
