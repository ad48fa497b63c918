"""The application that `serve.yaml` names: `import_path: service.ray_serve.app:build`.

Each replica is a process of Ray's with one `Replica` in it; `proxy.py` is what Ray's proxies take of Signpost. This and
nothing else imports Ray.
"""

import hashlib
import json
import os
import secrets
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

from service.errors import SettingsError
from service.ray_serve import methods, options
from service.ray_serve.agreement import Agreement
from service.ray_serve.replica import Replica
from service.ray_serve.view import ReplicaView, asker
from service.telemetry import logs

try:
    import ray
    from ray import serve
except ModuleNotFoundError as error:
    raise SettingsError("Ray Serve is not installed; pip install 'signpost-serving[ray]'.") from error

NAME: Final = "SignpostEngine"


class SignpostEngine:
    """A replica's methods: one for each RPC, called as it is; see `methods`.

    Args:
        args: of the application; the settings of the replica.
    """

    def __init__(self, args: Mapping[str, Any]) -> None:
        """Load the models; requests come once this has ended."""
        settings = options.read(args)
        logs.configure(settings.log_level, settings.log_format == "json")
        # Without a GPU TensorFlow logs the lack of one as an error; with one its errors are worth reading.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2" if Path("/dev/nvidiactl").exists() else "3")
        context = ray.get_runtime_context()
        settings = options.for_replica(settings, context.get_assigned_resources().get("CPU", 1))
        self._view = ReplicaView(secrets.randbits(31), asker(_agreement(args)))
        self._view.start()
        self._replica = Replica(settings, self._view)
        self._replica.start()

    async def check_health(self) -> None:
        """Asked by Ray; raises where the replica can't go on."""
        self._replica.check()

    async def __call__(self, _request: Any) -> str:
        """What Ray's HTTP port answers."""
        return "Signpost answers HTTP at its gateway: signpost serve --engine HOST:9000, with the port of Ray's gRPC.\n"

    def __del__(self) -> None:
        """Called by Ray once no request is running, and by Python in the end."""
        if (replica := self.__dict__.pop("_replica", None)) is not None:
            replica.close()


def _agreement(args: Mapping[str, Any]) -> Any:
    """Finds the process where the replicas of the same `args` agree, or starts it; it ends with who started it."""
    digest = hashlib.sha256(json.dumps(args, sort_keys=True).encode()).hexdigest()[:16]
    name = f"signpost-{serve.get_replica_context().app_name}-{digest}"
    return lambda: ray.remote(Agreement).options(name=name, get_if_exists=True, num_cpus=0).remote()


def _unary(method: str) -> Any:
    async def call(self: SignpostEngine, request: bytes, grpc_context: Any) -> Any:
        return await self._replica.calls.unary(method, request, grpc_context)

    return call


async def _stream(self: SignpostEngine, request: Any, grpc_context: Any) -> AsyncIterator[Any]:
    async for answer in self._replica.calls.stream(methods.STREAM, request, grpc_context):
        yield answer


for _method in methods.unary():
    setattr(SignpostEngine, methods.name_of(_method), _unary(_method))
setattr(SignpostEngine, methods.name_of(methods.STREAM), _stream)


def build(args: dict[str, Any]) -> serve.Application:
    """Make the application of the `args` in `serve.yaml`; how many replicas, and where, stands beside them there.

    Raises:
        SettingsError: `args` are wrong.
    """
    options.read(args)
    deployment = serve.deployment(
        SignpostEngine,
        name=NAME,
        # Where calls wait is the replica's own business: it refuses what would wait for too long.
        max_ongoing_requests=1000,
        health_check_period_s=5,
        graceful_shutdown_timeout_s=70,
    )
    return deployment.bind(args)
