"""Keys over gRPC: which calls need one, and which need one of an admin."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service import protocol
from service.config.settings import Settings
from service.engine.batching.parameters import BatchingParameters
from service.engine.remote.engine import RemoteEngine
from service.engine.remote.link import Link
from service.errors import InvalidRequest, Unavailable
from service.interface import ModelSpec
from service.parts.reloading import forward
from service.rpc.server import GrpcServer
from service.security import access, keys
from tests.fakes import FakeEngine, classifier

PREDICT, PREDICT_KEY = keys.make("camera", "predict")
ADMIN, ADMIN_KEY = keys.make("ops", "admin")
KEYS = Settings(api_keys=f"{PREDICT_KEY.line},{ADMIN_KEY.line}")


@contextmanager
def serving(settings: Settings, link_secret: str = "") -> Iterator[tuple[str, list[Any]]]:
    """A server of a fake engine; its address, and the configurations that were put in place."""
    reloaded: list[Any] = []

    def reload(config: Any, _timeout_s: float) -> None:
        if config.model_config_list.config[0].name == "refused":
            raise InvalidRequest("No.")
        reloaded.append(config)

    decides = access.read(settings).access(link_secret)
    server = GrpcServer(
        FakeEngine(classifier("m")),
        threads=4,
        default_deadline_s=60.0,
        max_message_bytes=1 << 20,
        reload=reload,
        access=decides,
    )
    port = server.start("127.0.0.1:0")
    yield f"127.0.0.1:{port}", reloaded
    server.close(0)


def config(name: str = "m") -> Any:
    request = protocol.model_management_pb2.ReloadConfigRequest()
    request.config.model_config_list.config.add(name=name, base_path="m")
    return request


def outcomes(address: str, *metadata: tuple[str, str]) -> list[str]:
    """The codes of a health check, GetModelStatus, Predict (without inputs) and HandleReloadConfigRequest."""
    with grpc.insecure_channel(address) as channel:
        models = protocol.model_service_pb2_grpc.ModelServiceStub(channel)
        status = protocol.get_model_status_pb2.GetModelStatusRequest()
        status.model_spec.name = "m"
        calls = (
            (health_pb2_grpc.HealthStub(channel).Check, health_pb2.HealthCheckRequest()),
            (models.GetModelStatus, status),
            (
                protocol.prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict,
                protocol.predict_pb2.PredictRequest(),
            ),
            (models.HandleReloadConfigRequest, config()),
        )
        return [method.future(request, timeout=60, metadata=metadata).code().name for method, request in calls]


@pytest.mark.parametrize(
    ("metadata", "codes"),
    [
        ((), ["OK", "UNAUTHENTICATED", "UNAUTHENTICATED", "UNAUTHENTICATED"]),
        ((("x-api-key", "wrong"),), ["OK", "UNAUTHENTICATED", "UNAUTHENTICATED", "UNAUTHENTICATED"]),
        ((("authorization", f"Bearer {PREDICT}"),), ["OK", "OK", "INVALID_ARGUMENT", "PERMISSION_DENIED"]),
        ((("x-api-key", PREDICT),), ["OK", "OK", "INVALID_ARGUMENT", "PERMISSION_DENIED"]),
        ((("authorization", f"Bearer {ADMIN}"),), ["OK", "OK", "INVALID_ARGUMENT", "OK"]),
    ],
)
def test_each_call_needs_its_key(metadata: tuple[tuple[str, str], ...], codes: list[str]) -> None:
    with serving(KEYS) as (address, _):
        assert outcomes(address, *metadata) == codes


@pytest.mark.parametrize(("host", "code"), [("127.0.0.1", "OK"), ("0.0.0.0", "PERMISSION_DENIED")])
def test_without_keys_only_a_service_on_loopback_can_be_changed(host: str, code: str) -> None:
    with serving(Settings(host=host)) as (address, reloaded):
        assert outcomes(address) == ["OK", "OK", "INVALID_ARGUMENT", code]
        assert len(reloaded) == (code == "OK")


def test_a_method_that_there_is_not_is_refused_like_any_other() -> None:
    with serving(KEYS) as (address, _), grpc.insecure_channel(address) as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Steal").future(b"", timeout=60)
        assert call.code() is grpc.StatusCode.UNAUTHENTICATED
        assert "X-API-Key" in call.details()


@contextmanager
def remote(address: str, link: Link) -> Iterator[RemoteEngine]:
    engine = RemoteEngine([address], BatchingParameters(), models=["m"], poll_s=0.05, link=link)
    engine.start()
    yield engine
    engine.close()


def test_a_gateway_shows_its_key_with_every_call() -> None:
    with (
        serving(KEYS, "link") as (address, reloaded),
        remote(address, Link("link")) as engine,
        engine.lease(ModelSpec("m")) as servable,
    ):
        assert servable.classes == ("dark", "bright")
        reload = forward(address, Link("link"))
        reload(config().config, 60)
        assert len(reloaded) == 1
        with pytest.raises(InvalidRequest, match=r"No\."):
            reload(config("refused").config, 60)


@pytest.mark.parametrize("secret", ["", "wrong"])
def test_an_engine_that_refuses_the_gateways_key_is_not_ready_and_the_client_is_not_to_blame(secret: str) -> None:
    with serving(KEYS) as (address, _), remote(address, Link(secret)) as engine:
        for name in ("m", "unheard-of"):
            with pytest.raises(Unavailable), engine.lease(ModelSpec(name)):
                pass
        assert not engine.status().ready
        with pytest.raises(Unavailable, match="rejects this gateway's API key"):
            forward(address, Link(secret))(config().config, 60)


def test_a_key_is_not_shown_by_what_holds_it() -> None:
    assert "secret" not in repr(Link("secret"))
