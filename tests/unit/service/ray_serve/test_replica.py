"""A replica over a store whose versions load without TensorFlow."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from service import protocol
from service.config.settings import Settings
from service.engine.local import folders
from service.engine.local.shared_view import OwnView
from service.errors import StoreError, Unavailable
from service.parts import loading
from service.ray_serve import replica
from service.ray_serve.replica import Replica
from tests.unit.service.engine.versions import Loader, publish, until
from tests.unit.service.ray_serve.contexts import RayContext

ROOT = Path(__file__).parents[4]
LIST = "/grpc.health.v1.Health/List"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
PREDICT = "/tensorflow.serving.PredictionService/Predict"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Replica]]:
    """Makes a replica of the store in the test's folder."""
    monkeypatch.setattr(folders, "QUIET_S", 0.0)
    loader = Loader()
    monkeypatch.setattr(loading, "make_loader", lambda *_: loader)
    made: list[Replica] = []

    def make(view: Any = None) -> Replica:
        settings = Settings(store=tmp_path, threads=2, file_system_poll_wait_seconds=0.05)
        made.append(Replica(settings, view or OwnView()))
        return made[-1]

    yield make
    for each in made:
        each.close()


def ask(replica: Replica, method: str, request: Any, context: RayContext | None = None) -> bytes:
    answer = asyncio.run(replica.calls.unary(method, request.SerializeToString(), context or RayContext()))
    return answer.SerializeToString()


def health(replica: Replica) -> dict[str, int]:
    answer = health_pb2.HealthListResponse.FromString(ask(replica, LIST, health_pb2.HealthListRequest()))
    return {name: each.status for name, each in answer.statuses.items()}


def test_it_tells_its_models_once_it_has_started(make: Callable[..., Replica], tmp_path: Path) -> None:
    publish(tmp_path)
    replica = make()
    replica.start()
    assert health(replica) == {"": SERVING, "m": SERVING}
    request = protocol.get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "m"
    answer = protocol.get_model_status_pb2.GetModelStatusResponse.FromString(ask(replica, STATUS, request))
    assert [(each.version, each.state) for each in answer.model_version_status] == [(1, 30)]
    replica.check()


def test_an_unknown_model_is_not_found(make: Callable[..., Replica], tmp_path: Path) -> None:
    publish(tmp_path)
    replica = make()
    replica.start()
    request, context = protocol.predict_pb2.PredictRequest(), RayContext()
    request.model_spec.name = "other"
    assert ask(replica, PREDICT, request, context) == b""
    assert context.told_code is grpc.StatusCode.NOT_FOUND
    assert context.told_details.startswith("Servable not found for request: Latest(other)")


def test_a_broken_model_keeps_no_other_from_serving(make: Callable[..., Replica], tmp_path: Path) -> None:
    publish(tmp_path)
    publish(tmp_path, "worse", b"broken")
    replica = make()
    replica.start()
    assert health(replica) == {"": NOT_SERVING, "m": SERVING, "worse": NOT_SERVING}
    replica.check()  # to start it again would mend nothing
    publish(tmp_path, "worse")
    until(lambda: health(replica) == {"": SERVING, "m": SERVING, "worse": SERVING})


def test_a_replica_without_any_model_does_not_start(make: Callable[..., Replica], tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="There is no model to serve"):
        make()
    publish(tmp_path, content=b"broken")
    with pytest.raises(Unavailable, match=r"This replica can't serve: m version 1: .* is broken\."):
        make().start()


class OthersView(OwnView):
    """Says that others answer with what this replica lacks."""

    def join(self, offer: Any, ready: bool, alone: bool) -> bool:  # noqa: ARG002 - as the interface has it
        self.offer(offer)
        return False


def test_a_replica_that_lacks_what_others_answer_with_gives_up_in_the_end(
    make: Callable[..., Replica], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica, "_LACKING_S", 0.2)
    publish(tmp_path)
    with pytest.raises(Unavailable, match="it lacks a version that the other replicas serve"):
        make(OthersView()).start()


def _run(program: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.slow
def test_without_ray_one_sentence_says_what_is_missing() -> None:
    done = _run(
        "import sys; sys.modules['ray'] = None\n"
        "from service.errors import SettingsError\n"
        "try: import service.ray_serve.app\n"
        "except SettingsError as error: print(error)"
    )
    assert done.stdout == "Ray Serve is not installed; pip install 'signpost-serving[ray]'.\n", done.stderr


@pytest.mark.slow
def test_ray_is_imported_by_the_application_alone() -> None:
    """Neither a gateway nor what Ray's proxy takes of Signpost loads it; the proxy needs no TensorFlow either."""
    done = _run(
        "import sys\n"
        "import service.commands.cli, service.process.launcher, service.process.worker, service.ray_serve.replica\n"
        "assert 'ray' not in sys.modules\n"
    )
    assert done.returncode == 0, done.stderr
    done = _run(
        "import sys\n"
        "import service.ray_serve.proxy\n"
        "heavy = {'ray', 'numpy', 'google.protobuf', 'service.protocol', 'tensorflow'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    assert done.returncode == 0, done.stderr
