"""The remote engine over the hop: what goes that way, and that nobody can tell by the answer which way it went."""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from service import errors
from service.admission import too_many
from service.engine.batching.parameters import BatchingParameters
from service.engine.remote.engine import RemoteEngine
from service.engine.remote.link import Link
from service.hop.messages import Request
from service.hop.server import HopServer
from service.interface import DEFAULT_SIGNATURE, Array, Call, Engine, ModelSpec
from service.parts.hop_calls import HopPrediction
from service.rpc.exchange import Watch
from service.rpc.server import GrpcServer
from tests.fakes import FakeEngine, FakeServable, classifier, signature, spec
from tests.unit.service.engine.remote.test_engine import ask, echo, soon
from tests.unit.service.engine.versions import until


class Both:
    """A peer that answers over gRPC and the hop, and an engine for each way; notes what comes over the hop."""

    def __init__(self, folder: Path, *servables: FakeServable) -> None:
        self.peer = FakeEngine(*servables)
        self.hopped: list[Request] = []
        self.grpc = GrpcServer(self.peer, threads=16, default_deadline_s=20.0, max_message_bytes=2**26)
        address = f"127.0.0.1:{self.grpc.start('127.0.0.1:0')}"
        self.hop_socket = folder / "hop.sock"
        self.hop = self.serve()
        self.ways = {"gRPC": self._engine(address, Link()), "hop": self._engine(address, Link(hop=self.hop_socket))}

    def serve(self) -> HopServer:
        run = HopPrediction(self.peer, Watch())

        def note(request: Request, inputs: Mapping[str, Array], left: Callable[[], bool]) -> Mapping[str, Array]:
            self.hopped.append(request)
            return run(request, inputs, left)

        self.hop = HopServer(self.hop_socket, note)
        self.hop.start()
        return self.hop

    def _engine(self, address: str, link: Link) -> RemoteEngine:
        engine = RemoteEngine([address], BatchingParameters(num_batch_threads=2), poll_s=0.05, link=link)
        engine.start()
        until(lambda: engine.status().ready)
        return engine

    def close(self) -> None:
        for engine in self.ways.values():
            engine.close()
        self.hop.close(0.1)
        self.grpc.close(0.1)


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Callable[..., Both]]:
    made: list[Both] = []

    def make(*servables: FakeServable) -> Both:
        made.append(Both(tmp_path, *servables))
        return made[-1]

    yield make
    for each in made:
        each.close()


def failure(engine: Engine, raised: Exception, servable: FakeServable) -> errors.SignpostError:
    def fail(*_: object) -> Mapping[str, Array]:
        raise raised

    servable.run = fail
    with pytest.raises(errors.SignpostError) as seen, engine.lease(ModelSpec("echo")) as lent:
        lent.predict({"x": np.ones(1, np.float32)}, Call(soon()))
    return seen.value


def test_scores_go_over_the_hop_and_strings_over_grpc(both: Callable[..., Both]) -> None:
    text = signature([spec("text", "DT_STRING", -1)], [spec("number", "DT_FLOAT", -1)])
    named = signature([spec("x", "DT_FLOAT", -1)], [spec("name", "DT_STRING", -1), spec("y", "DT_FLOAT", -1)])

    def run(inputs: Mapping[str, Array], call: Call) -> Mapping[str, Array]:
        [rows] = {len(array) for array in inputs.values()}
        outputs = {"number": np.zeros(rows, np.float32), "name": np.array([b"a"] * rows, object), "y": np.ones(rows)}
        wanted = call.outputs or (["number"] if call.signature_name == DEFAULT_SIGNATURE else ["name", "y"])
        return {name: outputs[name].astype(np.float32) if name == "y" else outputs[name] for name in wanted}

    made = both(classifier("a"), FakeServable(run, {DEFAULT_SIGNATURE: text, "named": named}, "odd"))
    engine = made.ways["hop"]
    with engine.lease(ModelSpec("a")) as servable:
        answer = servable.predict({"image": np.full((2, 2, 3, 3), 255, np.uint8)}, Call(soon(), request_id="id-1"))
        assert answer.outputs["scores"].tolist() == [[0, 1], [0, 1]]
        assert answer.outputs["classes"].tolist() == [[b"dark", b"bright"]] * 2
    [request] = made.hopped
    assert (request.model, request.outputs, request.metadata) == ("a", ("scores",), [("x-request-id", "id-1")])
    with engine.lease(ModelSpec("odd")) as servable:
        servable.predict({"text": np.array([b"x"], object)}, Call(soon()))
        ones = {"x": np.ones(2, np.float32)}
        assert servable.predict(ones, Call(soon(), "named")).outputs["name"].tolist() == [b"a", b"a"]
        assert len(made.hopped) == 1
        assert servable.predict(ones, Call(soon(), "named", ("y",))).outputs["y"].tolist() == [1, 1]
    assert [each.signature_name for each in made.hopped] == [DEFAULT_SIGNATURE, "named"]


@pytest.mark.parametrize(
    "raised",
    [
        errors.InvalidRequest("bad “input”"),
        errors.UnfitSignature("no such form"),
        errors.NotFound("Servable not found for request: Specific(echo, 1)"),
        errors.Unavailable("The model is being unloaded; try again."),
        errors.DeviceOutOfMemory("no memory"),
        errors.Overloaded("The queue is full: 9 wait.", 1.0),
        errors.Overloaded(too_many(0.4), 1.0),
        errors.DeadlineExceeded("late"),
        errors.Abandoned("left"),
        errors.ModelFailed("The model failed: x\ny " + "z" * 2000),
        errors.Forbidden("no"),
        errors.Unsupported("no"),
        RuntimeError("oops"),
    ],
    ids=lambda raised: type(raised).__name__,
)
def test_an_error_is_the_same_either_way(both: Callable[..., Both], raised: Exception) -> None:
    servable = echo()
    made = both(servable)
    over_grpc, over_hop = (failure(engine, raised, servable) for engine in made.ways.values())
    assert made.hopped
    assert (type(over_hop), str(over_hop)) == (type(over_grpc), str(over_grpc))


def test_a_deadline_and_an_engine_that_dies_read_the_same_either_way(both: Callable[..., Both]) -> None:
    servable = echo()
    may_end = threading.Event()

    def hang(inputs: Mapping[str, Array], _call: Call) -> Mapping[str, Array]:
        may_end.wait(20)
        return inputs

    made = both(servable)
    servable.run = hang
    texts = set()
    for engine in made.ways.values():
        with pytest.raises(errors.DeadlineExceeded) as raised, engine.lease(ModelSpec("echo", 1)) as lent:
            lent.predict({"x": np.ones(1, np.float32)}, Call(soon(0.1)))
        texts.add(str(raised.value))
    assert len(texts) == 1
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask, made.ways["hop"], 1)
        until(lambda: len(servable.asked) == 3)
        made.hop.close(0.05)
        with pytest.raises(errors.Unavailable, match=r"^The engine at .* can't answer \(Socket closed\); try again\.$"):
            asking.result(20)
    may_end.set()


def test_it_is_told_when_a_full_queue_should_have_room(both: Callable[..., Both]) -> None:
    servable = echo()
    found = failure(both(servable).ways["hop"], errors.Overloaded("The queue is full: 9 wait.", 0.25), servable)
    assert isinstance(found, errors.Overloaded)
    assert found.retry_after_s == 0.25


def test_without_the_hop_calls_go_over_grpc_and_come_back_to_it(
    both: Callable[..., Both], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.hop.client._AGAIN_S", 0.01)
    made = both(echo(2))
    assert ask(made.ways["hop"], 1) == [2]
    assert len(made.hopped) == 1
    made.hop.close(1)
    assert ask(made.ways["hop"], 2) == [4]
    assert len(made.hopped) == 1
    made.serve()
    until(lambda: ask(made.ways["hop"], 3) == [6] and len(made.hopped) == 2)


def test_a_trace_and_what_was_joined_go_along(both: Callable[..., Both]) -> None:
    servable = echo()
    began, may_end = threading.Event(), threading.Event()
    quick = servable.run

    def slow(inputs: Mapping[str, Array], call: Call) -> Mapping[str, Array]:
        began.set()
        assert may_end.wait(20)
        return quick(inputs, call)

    servable.run = slow
    made = both(servable)
    engine = made.ways["hop"]

    def ask_as(name: str) -> None:
        with engine.lease(ModelSpec("echo")) as lent:
            call = Call(soon(), request_id=name, trace=(("traceparent", f"trace-{name}"),))
            lent.predict({"x": np.ones(1, np.float32)}, call)

    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(ask_as, f"id-{number}") for number in range(8)]
        until(lambda: len(servable.asked) == 2 and engine._servables["echo", 1].queue.rows == 6)
        may_end.set()
        for each in asking:
            each.result(20)
    alone, _, joined = made.hopped
    (_, request_id), (_, trace) = alone.metadata
    assert trace == f"trace-{request_id}"
    request_ids = dict(joined.metadata)["x-request-id"]
    assert len(request_ids.split(",")) == 6
    assert servable.asked[-1][1].joined
    assert servable.asked[-1][1].request_id == request_ids
