"""What the gateway relies on in any engine; a new engine joins by a line in `ENGINES`.

Each factory gives an engine that serves versions 1 and 2 of `sums`: `total` is `a` plus `b` plus the version.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from service import store
from service.config.model_config import All, ModelConfig
from service.engine.batching.parameters import BatchingParameters
from service.engine.inputs import check_call
from service.engine.local import folders
from service.engine.local.engine import LocalEngine
from service.engine.remote.engine import RemoteEngine
from service.engine.remote.link import Link
from service.errors import InvalidRequest, NotFound
from service.hop.server import HopServer
from service.interface import DEFAULT_SIGNATURE, Answer, Array, Call, Engine, ModelSpec, State
from service.parts.hop_calls import HopPrediction
from service.rpc.exchange import Watch
from service.rpc.server import GrpcServer
from tests.fakes import FakeEngine, FakeServable, signature, spec
from tests.unit.service.engine.versions import until

LONG_S = 20.0


class Sums(FakeServable):
    """Adds; and checks its inputs as every servable does."""

    def __init__(self, version: int) -> None:
        inputs = [spec("a", "DT_FLOAT", -1), spec("b", "DT_FLOAT", -1)]
        signatures = {DEFAULT_SIGNATURE: signature(inputs, [spec("total", "DT_FLOAT", -1)])}
        super().__init__(self._add, signatures, "sums", version)

    def _add(self, inputs: Mapping[str, Array], _: Call) -> Mapping[str, Array]:
        return {"total": inputs["a"] + inputs["b"] + self.version}

    def predict(self, inputs: Mapping[str, Array], call: Call) -> Answer:
        check_call(self, inputs, call)
        return super().predict(inputs, call)


@contextmanager
def fake_engine(_: Path) -> Iterator[Engine]:
    yield FakeEngine(Sums(1), Sums(2))


@contextmanager
def local_engine(folder: Path) -> Iterator[Engine]:
    for _ in range(2):
        store.publish(folder, "sums", lambda path: (path / store.SAVED_MODEL).write_bytes(b"x") and None)
    configs = [ModelConfig("sums", folder / "sums", All())]
    engine = LocalEngine(lambda: configs, lambda _folder, _name, version: Sums(version), poll_s=0.01)
    engine.start()
    try:
        until(lambda: [v.state for v in engine.status().models.get("sums", ())] == [State.AVAILABLE] * 2)
        yield engine
    finally:
        engine.close()


@contextmanager
def remote_engine(folder: Path, hop: bool = False) -> Iterator[Engine]:
    """Over gRPC, or as a gateway has it whose engine process is of the same service."""
    with fake_engine(folder) as peer:
        server = GrpcServer(peer, threads=4, default_deadline_s=LONG_S, max_message_bytes=2**20)
        address = f"127.0.0.1:{server.start('127.0.0.1:0')}"
        hop_server = HopServer(folder / "hop.sock", HopPrediction(peer, Watch()))
        hop_server.start()
        link = Link(hop=folder / "hop.sock" if hop else None)
        engine = RemoteEngine([address], BatchingParameters(), poll_s=0.05, link=link)
        engine.start()
        try:
            until(lambda: engine.status().ready)
            yield engine
        finally:
            engine.close()
            hop_server.close(0)
            server.close(0)


ENGINES: dict[str, Callable[[Path], AbstractContextManager[Engine]]] = {
    "fake": fake_engine,
    "local": local_engine,
    "remote": remote_engine,
    "remote by the hop": partial(remote_engine, hop=True),
}


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setattr(folders, "QUIET_S", 0.0)
    with ENGINES[request.param](tmp_path) as made:
        yield made


def add(engine: Engine, spec: ModelSpec, call: Call | None = None, **inputs: Array) -> list[float]:
    given = inputs or {"a": np.float32([1, 2]), "b": np.float32([10, 20])}
    with engine.lease(spec) as servable:
        answer = servable.predict(given, call or Call(time.monotonic() + LONG_S))
    total: list[float] = answer.outputs["total"].tolist()
    return total


def test_the_highest_version_answers_where_none_is_named(engine: Engine) -> None:
    assert add(engine, ModelSpec("sums")) == [13, 24]


@pytest.mark.parametrize("version", [1, 2])
def test_a_version_answers_by_its_number(engine: Engine, version: int) -> None:
    with engine.lease(ModelSpec("sums", version)) as servable:
        assert (servable.name, servable.version) == ("sums", version)
    assert add(engine, ModelSpec("sums", version)) == [11 + version, 22 + version]


@pytest.mark.parametrize("spec", [ModelSpec("x"), ModelSpec("sums", 9), ModelSpec("x", label="stable")], ids=str)
def test_what_is_not_there_is_not_found_in_tf_servings_words(engine: Engine, spec: ModelSpec) -> None:
    with pytest.raises(NotFound, match=r"Servable not found"):
        add(engine, spec)


def test_a_label_that_nobody_set_is_not_found(engine: Engine) -> None:
    with pytest.raises(NotFound):
        add(engine, ModelSpec("sums", label="stable"))


def test_the_status_tells_every_version_the_highest_first(engine: Engine) -> None:
    status = engine.status()
    assert [(v.version, v.state) for v in status.models["sums"]] == [(2, State.AVAILABLE), (1, State.AVAILABLE)]
    assert status.ready


def test_a_servable_tells_its_signatures(engine: Engine) -> None:
    with engine.lease(ModelSpec("sums")) as servable:
        found = servable.signatures[DEFAULT_SIGNATURE]
        assert servable.classes == ()
    assert {name: (each.dtype_name, each.shape) for name, each in found.inputs.items()} == {
        "a": ("DT_FLOAT", (-1,)),
        "b": ("DT_FLOAT", (-1,)),
    }
    assert set(found.outputs) == {"total"}
    assert found.batchable


@pytest.mark.parametrize(
    "inputs",
    [
        {"a": np.float32([1])},
        {"a": np.float32([1]), "b": np.float64([1])},
    ],
    ids=["missing", "type"],
)
def test_inputs_that_do_not_fit_are_refused(engine: Engine, inputs: dict[str, Array]) -> None:
    with pytest.raises(InvalidRequest):
        add(engine, ModelSpec("sums"), **inputs)


def test_shapes_that_the_signature_does_not_declare_are_the_models_to_judge(engine: Engine) -> None:
    wide, tall = np.array([[1, 2]], np.float32), np.array([[3], [4]], np.float32)
    assert np.array(add(engine, ModelSpec("sums", 1), a=wide, b=tall)).tolist() == [[5, 6], [6, 7]]
    assert add(engine, ModelSpec("sums", 1), a=np.zeros(0, np.float32), b=np.zeros(0, np.float32)) == []


def test_an_unknown_signature_is_not_found_and_an_unknown_output_refused(engine: Engine) -> None:
    with pytest.raises(NotFound):
        add(engine, ModelSpec("sums"), Call(time.monotonic() + LONG_S, "other"))
    with pytest.raises(InvalidRequest):
        add(engine, ModelSpec("sums"), Call(time.monotonic() + LONG_S, outputs=("other",)))
