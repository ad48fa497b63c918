"""The remote engine against real gRPC servers in this process, over fake engines: no TensorFlow anywhere."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from service import errors
from service.admission import too_many
from service.engine.batching.parameters import BatchingParameters
from service.engine.remote.engine import RemoteEngine
from service.engine.remote.link import Link
from service.hop.server import HopServer
from service.interface import DEFAULT_SIGNATURE, Array, Call, ModelSpec, State, VersionStatus
from service.parts.hop_calls import HopPrediction
from service.rpc.exchange import Watch
from service.rpc.server import GrpcServer
from tests.fakes import FakeEngine, FakeServable, classifier, signature, spec
from tests.unit.service.engine.versions import until

BLANK = np.zeros((1, 2, 3, 3), dtype=np.uint8)


def soon(seconds: float = 20.0) -> float:
    return time.monotonic() + seconds


class Peers:
    """Starts peers over fake engines and engines over peers, and closes them all.

    Args:
        hop: a socket for the hop, by which the engine of `over` then asks its peer.
    """

    def __init__(self, hop: Path | None = None) -> None:
        self.servers: list[GrpcServer] = []
        self.engines: list[RemoteEngine] = []
        self.hops: list[HopServer] = []
        self.hop = hop

    def serve(self, engine: FakeEngine, address: str = "127.0.0.1:0") -> str:
        server = GrpcServer(engine, threads=16, default_deadline_s=20.0, max_message_bytes=2**26)
        self.servers.append(server)
        port = server.start(address)
        return address if address.startswith("unix:") else f"127.0.0.1:{port}"

    def engine(self, *addresses: str, **more: object) -> RemoteEngine:
        parameters = more.pop("parameters", BatchingParameters(num_batch_threads=2))
        engine = RemoteEngine(addresses, parameters, poll_s=0.05, **more)  # type: ignore[arg-type]
        self.engines.append(engine)
        engine.start()
        return engine

    def over(self, *servables: FakeServable, **labels: int) -> tuple[RemoteEngine, FakeEngine]:
        """A remote engine over one peer that is ready."""
        peer = FakeEngine(*servables, labels=labels)
        if self.hop is not None:
            self.hops.append(HopServer(self.hop, HopPrediction(peer, Watch())))
            self.hops[-1].start()
        engine = self.engine(self.serve(peer), link=Link(hop=self.hop))
        until(lambda: engine.status().ready)
        return engine, peer


@pytest.fixture(params=["gRPC", "hop"])
def peers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Peers]:
    made = Peers(tmp_path / "hop.sock" if request.param == "hop" else None)
    yield made
    for engine in made.engines:
        engine.close()
    for server in (*made.servers, *made.hops):
        server.close(0.1)


def echo(version: int = 1, name: str = "echo") -> FakeServable:
    """Answers x * version; a row that is negative is refused."""

    def run(inputs: Mapping[str, Array], _call: Call) -> Mapping[str, Array]:
        if inputs["x"].min() < 0:
            raise errors.InvalidRequest("x must not be negative")
        return {"y": inputs["x"] * version}

    signatures = {DEFAULT_SIGNATURE: signature([spec("x", "DT_FLOAT", -1)], [spec("y", "DT_FLOAT", -1)])}
    return FakeServable(run, signatures, name, version)


def ask(engine: RemoteEngine, *values: float, of: ModelSpec = ModelSpec("echo")) -> list[float]:  # noqa: B008
    with engine.lease(of) as servable:
        answer = servable.predict({"x": np.array(values, dtype=np.float32)}, Call(soon()))
        return [float(each) for each in answer.outputs["y"]]


def test_it_lists_the_models_of_a_peer_and_learns_the_classes(peers: Peers) -> None:
    engine, peer = peers.over(classifier("a", 3), echo())
    assert engine.status() == peer.status()
    with engine.lease(ModelSpec("a")) as servable:
        assert (servable.name, servable.version, servable.classes) == ("a", 3, ("dark", "bright"))
        assert servable.signatures == peer.servables[0].signatures
        bright = np.full((2, 2, 3, 3), 255, dtype=np.uint8)
        answer = servable.predict({"image": bright}, Call(soon()))
    assert answer.outputs["scores"].tolist() == [[0, 1], [0, 1]]
    assert answer.outputs["classes"].tolist() == [[b"dark", b"bright"]] * 2
    inputs, call = peer.servables[0].asked[-1]
    assert inputs["image"].dtype == np.uint8
    assert call.outputs == ("scores",), "the classes are known; their strings are not sent again"


def test_a_version_and_a_label_are_pinned(peers: Peers) -> None:
    engine, _ = peers.over(echo(1), echo(2), stable=1)
    assert ask(engine, 1, 2) == [2, 4]
    assert ask(engine, 1, 2, of=ModelSpec("echo", version=1)) == [1, 2]
    assert ask(engine, 1, 2, of=ModelSpec("echo", label="stable")) == [1, 2]
    for wrong in (ModelSpec("nosuch"), ModelSpec("echo", version=9), ModelSpec("echo", label="nosuch")):
        with pytest.raises(errors.NotFound, match="Servable not found for request"):
            ask(engine, 1, of=wrong)
    with pytest.raises(errors.NotFound, match=r"Latest\(ecko\); did you mean echo\? GET"):
        ask(engine, 1, of=ModelSpec("ecko"))


def test_what_the_engine_process_tells_all_gateways_is_gone_by_at_once(peers: Peers) -> None:
    """Whatever this gateway has last heard: another one answers so already."""
    peer = FakeEngine(echo(1), echo(2))
    pinned = {None: 1, "stable": 2}
    engine = peers.engine(peers.serve(peer), pinned=lambda spec: pinned.get(spec.label))
    until(lambda: engine.status().ready)
    assert ask(engine, 1) == [1]
    assert ask(engine, 1, of=ModelSpec("echo", label="stable")) == [2]
    peer.servables.append(echo(3))
    pinned[None] = 3
    assert ask(engine, 1) == [3]
    pinned[None] = 9  # one that is not there: the engine was started anew, say
    assert ask(engine, 1) == [3]
    assert ask(engine, 1, of=ModelSpec("echo", version=1)) == [1]


def test_concurrent_requests_share_calls_and_one_bad_one_fails_alone(peers: Peers) -> None:
    hold = threading.Event()
    servable = echo()
    quick = servable.run

    def slow(inputs: Mapping[str, Array], call: Call) -> Mapping[str, Array]:
        assert hold.wait(20)
        return quick(inputs, call)

    servable.run = slow
    engine, _ = peers.over(servable)
    with ThreadPoolExecutor(32) as pool:
        asking = [pool.submit(ask, engine, value) for value in (*range(31), -1)]
        until(lambda: len(servable.asked) == 2 and engine._servables["echo", 1].queue.rows == 30)
        hold.set()
        done = [each.exception() or each.result() for each in asking]
    assert done[:31] == [[value] for value in range(31)]
    assert isinstance(done[31], errors.InvalidRequest)
    assert len(servable.asked) <= 2 + 1 + 30, "one batch of all that waited, and each of it once more as one was bad"
    with engine.lease(ModelSpec("echo")) as lent, pytest.raises(errors.InvalidRequest, match="'x' is DT_DOUBLE"):
        lent.predict({"x": np.array([1.0])}, Call(soon()))


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (errors.InvalidRequest("bad"), errors.InvalidRequest),
        (errors.Unavailable("going"), errors.Unavailable),
        (errors.Overloaded("The queue is full: 9 wait.", 1.0), errors.Overloaded),
        (errors.Overloaded("The queue is too long for the call's deadline.", 1.0), errors.Overloaded),
        (errors.Overloaded(too_many(0.4), 0.4), errors.Overloaded),
        (errors.DeadlineExceeded("late"), errors.DeadlineExceeded),
        (errors.ModelFailed("oops"), errors.ModelFailed),
        (RuntimeError("oops"), errors.ModelFailed),
    ],
)
def test_errors_map_back(peers: Peers, raised: Exception, expected: type[Exception]) -> None:
    servable = echo()
    engine, _ = peers.over(servable)

    def fail(*_: object) -> Mapping[str, Array]:
        raise raised

    servable.run = fail
    with pytest.raises(expected):
        ask(engine, 1)
    assert len(servable.asked) == 1


def test_a_deadline_ends_the_wait(peers: Peers) -> None:
    hold = threading.Event()
    servable = echo()

    def slow(*_: object) -> Mapping[str, Array]:
        hold.wait(20)
        return {"y": np.zeros(1, dtype=np.float32)}

    servable.run = slow
    engine, _ = peers.over(servable)
    started = time.monotonic()
    with engine.lease(ModelSpec("echo")) as lent, pytest.raises(errors.DeadlineExceeded):
        lent.predict({"x": np.zeros(1, dtype=np.float32)}, Call(soon(0.2)))
    assert time.monotonic() - started < 5
    hold.set()


def test_a_lease_moves_on_when_its_version_was_swapped_out(peers: Peers) -> None:
    engine, peer = peers.over(echo(1))
    with engine.lease(ModelSpec("echo")) as lent:
        peer.servables[:] = [echo(2)]
        answer = lent.predict({"x": np.ones(1, dtype=np.float32)}, Call(soon()))
        assert (lent.version, answer.outputs["y"].tolist()) == (2, [2])
    with engine.lease(ModelSpec("echo", version=2)) as pinned:
        peer.servables[:] = [echo(3)]
        with pytest.raises(errors.NotFound):
            pinned.predict({"x": np.ones(1, dtype=np.float32)}, Call(soon()))
    with engine.lease(ModelSpec("echo")) as lent:
        peer.servables[:] = [classifier("echo", 4)]
        with pytest.raises(errors.Unavailable, match="just replaced"):
            lent.predict({"x": np.ones(1, dtype=np.float32)}, Call(soon()))


def test_a_dead_peer_is_left_out_and_comes_back_by_itself(peers: Peers) -> None:
    one, two = FakeEngine(echo()), FakeEngine(echo())
    first, second = peers.serve(one), peers.serve(two)
    engine = peers.engine(first, second)
    until(lambda: all(peer.serves("echo", 1) for peer in engine._fleet._peers))
    for _ in range(40):
        assert ask(engine, 3) == [3]
    assert one.servables[0].asked
    assert two.servables[0].asked
    peers.servers[0].close(0)
    for _ in range(40):  # refused connections are retried at the other
        assert ask(engine, 3) == [3]
    peers.servers[1].close(0)
    until(lambda: not engine._fleet.alive)
    with pytest.raises(errors.Unavailable, match="No engine answers"):
        ask(engine, 3)
    assert not engine.status().ready
    assert engine.status().models["echo"][0].state is State.UNKNOWN
    peers.serve(one, first)
    until(lambda: engine.status().ready)
    assert ask(engine, 3) == [3]


def test_the_peer_with_fewest_calls_outstanding_is_asked(peers: Peers) -> None:
    hold = threading.Event()
    slow, quick = echo(), echo()

    def wait(inputs: Mapping[str, Array], _call: Call) -> Mapping[str, Array]:
        hold.wait(20)
        return {"y": inputs["x"]}

    slow.run = wait
    engine = peers.engine(peers.serve(FakeEngine(slow)), peers.serve(FakeEngine(quick)))
    until(lambda: all(peer.serves("echo", 1) for peer in engine._fleet._peers))
    with ThreadPoolExecutor(1) as pool:
        while not slow.asked:  # which of the two equals is asked first is chance
            first = pool.submit(ask, engine, 1)
            until(lambda: bool(slow.asked) or first.done())  # noqa: B023 - called at once
        before = len(quick.asked)
        for _ in range(10):
            ask(engine, 1)
        assert (len(slow.asked), len(quick.asked)) == (1, before + 10)
        hold.set()
        first.result()


def test_a_full_queue_is_tried_at_another_peer_but_a_call_that_may_have_run_is_not(peers: Peers) -> None:
    servables = [echo(), echo()]
    engine = peers.engine(*(peers.serve(FakeEngine(each)) for each in servables))
    until(lambda: all(peer.serves("echo", 1) for peer in engine._fleet._peers))

    def full(*_: object) -> Mapping[str, Array]:
        raise errors.Overloaded("The queue is full: 5 instances wait.", 1.0)

    def going(*_: object) -> Mapping[str, Array]:
        raise errors.Unavailable("The model is being unloaded.")

    for each in servables:
        each.run = full
    with pytest.raises(errors.Overloaded):
        ask(engine, 1)
    assert [len(each.asked) for each in servables] == [1, 1]
    for each in servables:
        each.run = going
    with pytest.raises(errors.Unavailable):
        ask(engine, 1)
    assert sum(len(each.asked) for each in servables) == 3


def test_versions_of_several_peers_are_merged_and_asked_where_they_are(peers: Peers) -> None:
    engine = peers.engine(peers.serve(FakeEngine(echo(1), echo(2))), peers.serve(FakeEngine(echo(1))))
    until(lambda: all(peer.serves("echo", 1) for peer in engine._fleet._peers) and engine.status().ready)
    assert [each.version for each in engine.status().models["echo"]] == [2, 1]
    for _ in range(20):
        assert ask(engine, 1) == [2]


def test_a_peer_that_loads_is_known_and_not_ready(peers: Peers) -> None:
    peer = FakeEngine(echo())
    peer.states = {"echo": (VersionStatus(1, State.LOADING),), "other": ()}
    engine = peers.engine(peers.serve(peer))
    until(lambda: engine.status().models == peer.states)
    assert not engine.status().ready
    with pytest.raises(errors.Unavailable, match="version 1: LOADING"):
        ask(engine, 1)
    peer.states = {}
    until(lambda: not engine.status().models)
    peer.states = None
    until(lambda: engine.status().ready)
    assert ask(engine, 1) == [1]


def test_a_model_laid_out_wrongly_at_the_peer_is_told_with_the_reason_and_not_waited_for(peers: Peers) -> None:
    peer = FakeEngine(echo())
    peer.reasons = {"flat": "flat contains a SavedModel itself."}
    engine = peers.engine(peers.serve(peer))
    until(lambda: engine.status().ready)
    assert list(engine.status().models) == ["echo"]
    assert engine.status().reasons == peer.reasons
    with pytest.raises(errors.NotFound, match=r"Latest\(flat\); flat contains a SavedModel itself\.$"):
        ask(engine, 1, of=ModelSpec("flat"))
    peer.states = {"echo": (VersionStatus(1, State.AVAILABLE),), "flat": ()}  # as if its configuration named it
    until(lambda: not engine.status().ready)
    with pytest.raises(errors.Unavailable, match=r"Model flat is not ready \(flat contains a SavedModel itself\)"):
        ask(engine, 1, of=ModelSpec("flat"))
    peer.reasons, peer.states = {}, None
    until(lambda: engine.status().ready and engine.status().reasons == {})


def test_models_told_count_for_readiness(peers: Peers) -> None:
    engine = peers.engine(peers.serve(FakeEngine(echo())), models=["echo", "later"])
    until(lambda: bool(engine.status().models["echo"]))
    assert not engine.status().ready


def test_nothing_at_the_address_is_unavailable_and_close_is_quick(peers: Peers, tmp_path: object) -> None:
    engine = peers.engine(f"unix:{tmp_path}/nothing")
    with pytest.raises(errors.Unavailable, match="No engine answers at a socket of this machine;"):
        ask(engine, 1)
    started = time.monotonic()
    engine.close()
    assert time.monotonic() - started < 5
    with pytest.raises(errors.Unavailable):
        ask(engine, 1)


def test_over_a_unix_socket(peers: Peers, tmp_path: object) -> None:
    engine = peers.engine(peers.serve(FakeEngine(echo(2)), f"unix:{tmp_path}/s"))
    until(lambda: engine.status().ready)
    assert ask(engine, 1) == [2]


@pytest.mark.slow
def test_it_never_imports_tensorflow() -> None:
    program = (
        "import sys, service.engine.remote.engine, service.gateway\n"
        "assert not [name for name in sys.modules if name == 'tensorflow' or name.startswith('tensorflow.python')]\n"
        "assert '_pywrap_tensorflow' not in open('/proc/self/maps').read()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
