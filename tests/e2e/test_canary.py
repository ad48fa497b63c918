"""Labels, roll-back and the canary with real processes: the commands on one side, the service on the other."""

import shutil
from collections import Counter
from pathlib import Path

import grpc
import pytest
import requests

from service import protocol
from service.images import decode
from tests.e2e.processes import Server, run, serving, wait_until


@pytest.fixture
def store(circles_store: Path, tmp_path: Path) -> Path:
    """A store with two versions of the trained model."""
    store = Path(shutil.copytree(circles_store, tmp_path / "store"))
    shutil.copytree(store / "circles" / "1", store / "circles" / "2")
    return store


def served(server: Server, picture: bytes, at: str = "", request_id: str = "") -> tuple[int, str]:
    headers = {"X-Request-ID": request_id} if request_id else {}
    answer = requests.post(server.predict_url(at=at), data=picture, headers=headers, timeout=60)
    return answer.status_code, answer.headers.get("X-Model-Version", "")


def test_commands_move_labels_and_roll_back_while_serving(
    store: Path, tmp_path: Path, pictures: dict[int, bytes]
) -> None:
    with serving(store, tmp_path, "--file_system_poll_wait_seconds=0.1") as server:
        picture = pictures[3]
        assert served(server, picture) == (200, "2")
        assert served(server, picture, "/labels/stable")[0] == 404
        assert run("models", "--store", store, "label", "circles", "stable", "1").returncode == 0
        wait_until(lambda: served(server, picture, "/labels/stable") == (200, "1"), server.log.read_text)
        assert served(server, picture) == (200, "2")
        assert run("models", "--store", store, "rollback", "circles").returncode == 0
        wait_until(lambda: served(server, picture) == (200, "1"), server.log.read_text)
        (store / "models.config").write_text("model_config_list { config {")
        wait_until(
            lambda: "Error parsing text-format tensorflow.serving.ModelServerConfig" in server.log.read_text(),
            server.log.read_text,
        )
        assert served(server, picture) == (200, "1")


def test_a_share_of_the_requests_meets_the_canary_always_the_same(
    store: Path, tmp_path: Path, pictures: dict[int, bytes]
) -> None:
    for label, version in (("stable", "1"), ("canary", "2")):
        run("models", "--store", store, "label", "circles", label, version)
    with serving(store, tmp_path, "--canary-share=0.5") as server:
        wait_until(lambda: served(server, pictures[3], "/labels/stable") == (200, "1"), server.log.read_text)
        first = {f"id-{n}": served(server, pictures[3], request_id=f"id-{n}") for n in range(60)}
        again = {f"id-{n}": served(server, pictures[3], request_id=f"id-{n}") for n in range(60)}
        assert first == again
        counts = Counter(first.values())
        assert set(counts) == {(200, "1"), (200, "2")}
        assert min(counts.values()) > 10


def grpc_version(channel: grpc.Channel, picture: bytes, request_id: str) -> int:
    request = protocol.predict_pb2.PredictRequest()
    request.model_spec.name = "circles"
    request.inputs["image"].CopyFrom(protocol.to_tensor_proto(decode(picture, 32, 32, 1)[None]))
    stub = protocol.prediction_service_pb2_grpc.PredictionServiceStub(channel)
    answer = stub.Predict(request, timeout=60, metadata=[("x-request-id", request_id)])
    return int(answer.model_spec.version.value)


def test_a_client_replaces_the_configuration_and_the_canary_answers_grpc_too(
    store: Path, tmp_path: Path, pictures: dict[int, bytes]
) -> None:
    request = protocol.model_management_pb2.ReloadConfigRequest()
    model = request.config.model_config_list.config.add(name="circles", base_path="circles")
    model.version_labels["stable"], model.version_labels["canary"] = 1, 2
    with (
        serving(store, tmp_path, "--canary-share=0.5") as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        assert grpc_version(channel, pictures[3], "any") == 2
        stub = protocol.model_service_pb2_grpc.ModelServiceStub(channel)
        assert stub.HandleReloadConfigRequest(request, timeout=60).status.error_code == 0
        # In force when it is answered, over both protocols, and one ID meets one version.
        by_grpc = {f"id-{n}": grpc_version(channel, pictures[3], f"id-{n}") for n in range(40)}
        by_http = {key: int(served(server, pictures[3], request_id=key)[1]) for key in by_grpc}
        assert by_grpc == by_http
        assert set(by_grpc.values()) == {1, 2}
        model.base_path = "nowhere"
        with pytest.raises(grpc.RpcError) as refused:
            stub.HandleReloadConfigRequest(request, timeout=60)
        assert "nothing was changed" in refused.value.details()  # type: ignore[attr-defined]
        assert served(server, pictures[3], "/labels/stable") == (200, "1")


def test_in_shadow_the_canary_is_compared_and_never_answers(
    store: Path, tmp_path: Path, pictures: dict[int, bytes]
) -> None:
    run("models", "--store", store, "label", "circles", "canary", "1")
    with serving(store, tmp_path, "--canary-share=circles=1", "--canary-mode=shadow") as server:
        wait_until(lambda: served(server, pictures[3], "/labels/canary") == (200, "1"), server.log.read_text)
        assert {served(server, picture) for picture in pictures.values()} == {(200, "2")}
        agreed = 'signpost_canary_comparisons_total{model="circles",outcome="agree"} 5.0'
        wait_until(lambda: agreed in requests.get(f"{server.url}/metrics", timeout=60).text, server.log.read_text)
