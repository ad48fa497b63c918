"""Contexts of calls as Ray and gRPC have them, for tests without either."""

from typing import Any


class RayContext:
    """What a replica gets of a call; see `ray.serve.grpc_util.RayServegRPCContext`."""

    def __init__(self, *metadata: tuple[str, Any]) -> None:
        self._metadata = list(metadata)
        self.told_code: Any = None
        self.told_details = ""
        self.trailing: list[tuple[str, str]] = []

    def invocation_metadata(self) -> list[tuple[str, Any]]:
        return self._metadata

    def peer(self) -> str:
        return "ipv4:192.0.2.1:1234"

    def set_code(self, code: Any) -> None:
        self.told_code = code

    def set_details(self, details: str) -> None:
        self.told_details = details

    def set_trailing_metadata(self, metadata: list[tuple[str, str]]) -> None:
        self.trailing = metadata


class ServerContext(RayContext):
    """What a proxy gets of a call; see `grpc.aio.ServicerContext`."""

    def __init__(self, *metadata: tuple[str, Any], remaining_s: float | None = None) -> None:
        super().__init__(*metadata)
        self.remaining_s = remaining_s

    def time_remaining(self) -> float | None:
        return self.remaining_s

    def code(self) -> Any:
        return self.told_code

    def details(self) -> str:
        return self.told_details

    async def abort(self, code: Any, details: str) -> None:
        self.told_code, self.told_details = code, details
        raise RuntimeError("aborted")
