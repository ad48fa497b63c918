"""A name that stands for several peers, whose addresses the tests change: real servers, and a resolver of our own."""

import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest

from service import errors
from service.engine.remote import fleet, names
from service.engine.remote.engine import RemoteEngine
from service.engine.remote.link import Link
from service.interface import Array, Call, ModelSpec, State
from service.rpc.server import GrpcServer
from tests import certificates
from tests.fakes import FakeEngine, FakeServable
from tests.unit.service.engine.remote.test_engine import Peers, ask, echo, peers  # noqa: F401 - a fixture
from tests.unit.service.engine.versions import until


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are looked up more often than every few seconds."""
    monkeypatch.setattr(names, "EVERY_S", 0.05)
    monkeypatch.setattr(names, "_LEAST_S", 0.01)
    monkeypatch.setattr(fleet, "_ASIDE_S", 0.1)


class Resolver:
    """Says what it is told to say, and hangs while it is told to."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.failure: Exception | None = None
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.asked = 0

    def __call__(self, name: str, port: int) -> tuple[str, ...]:
        assert (name, port) == ("engines.test", 8500)
        self.asked += 1
        self.goes_on.wait(60)
        if self.failure is not None:
            raise self.failure
        return self.addresses

    def is_asked_again(self) -> bool:
        """Wait until what it says now has been heard."""
        before = self.asked
        until(lambda: self.asked >= before + 2)
        return True


@pytest.fixture
def resolver() -> Iterator[Resolver]:
    made = Resolver()
    yield made
    made.goes_on.set()


@pytest.fixture
def named(peers: Peers, resolver: Resolver) -> RemoteEngine:  # noqa: F811 - the fixture
    return peers.engine("dns:engines.test:8500", resolve=resolver)


def addresses(engine: RemoteEngine) -> list[str]:
    return sorted(peer.address for peer in engine._fleet._peers if peer.alive)


def held() -> tuple[FakeServable, threading.Event]:
    """A servable whose answers wait for an event."""
    servable, may_run = echo(), threading.Event()
    quick = servable.run

    def slow(inputs: Mapping[str, Array], call: Call) -> Mapping[str, Array]:
        assert may_run.wait(20)
        return quick(inputs, call)

    servable.run = slow
    return servable, may_run


def test_every_address_is_a_peer_that_comes_and_goes(
    named: RemoteEngine,
    resolver: Resolver,
    peers: Peers,  # noqa: F811 - the fixture
) -> None:
    engines = [FakeEngine(echo()) for _ in range(3)]
    at = [peers.serve(each) for each in engines]
    resolver.addresses = (at[0], at[1], at[1])
    until(lambda: addresses(named) == sorted(at[:2]))
    for _ in range(100):
        assert ask(named, 3) == [3]
    assert [bool(each.servables[0].asked) for each in engines] == [True, True, False]
    resolver.addresses = (at[1], at[2])
    until(lambda: addresses(named) == sorted(at[1:]))
    before = len(engines[0].servables[0].asked)
    for _ in range(100):
        assert ask(named, 3) == [3]
    assert engines[2].servables[0].asked
    assert len(engines[0].servables[0].asked) == before
    until(lambda: not named._fleet._parted)


def test_a_peer_whose_address_is_gone_finishes_what_it_runs_and_may_come_back(
    named: RemoteEngine,
    resolver: Resolver,
    peers: Peers,  # noqa: F811
) -> None:
    servable, may_run = held()
    at = peers.serve(FakeEngine(servable))
    resolver.addresses = (at,)
    until(lambda: named.status().ready)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, named, 3)
        until(lambda: bool(servable.asked))
        resolver.addresses = (peers.serve(FakeEngine(echo())),)
        until(lambda: at not in addresses(named))
        [gone] = named._fleet._parted
        time.sleep(0.3)  # longer than its channel is kept for anything else
        assert gone in named._fleet._parted
        resolver.addresses = (at,)
        until(lambda: addresses(named) == [at])
        assert named._fleet._peers == [gone]
        resolver.addresses = ()
        may_run.set()
        assert asked.result(20) == [3]


def test_a_look_up_that_fails_changes_nothing(
    named: RemoteEngine,
    resolver: Resolver,
    peers: Peers,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    at = peers.serve(FakeEngine(echo()))
    resolver.addresses = (at,)
    until(lambda: named.status().ready)
    caplog.clear()  # it may have asked before there was an address
    failures = (
        OSError(-3, "Temporary failure in name resolution"),
        OSError(-2, "Name or service not known"),
        UnicodeError("label empty or too long"),
        RuntimeError("a fault of ours"),
        None,
    )
    for failure in failures:
        resolver.failure = failure
        if failure is None:
            resolver.addresses = ()
        assert resolver.is_asked_again()
        assert ask(named, 3) == [3]
        assert addresses(named) == [at]
    told = [record.getMessage() for record in caplog.records if "can't be looked up" in record.getMessage()]
    assert told[0] == (
        "engines.test can't be looked up (Temporary failure in name resolution); those it had stay in use."
    )
    assert len(told) == len(failures), "each reason once, not at every look-up"


def test_a_name_without_an_address_is_unavailable_with_the_reason_and_then_ready_by_itself(
    named: RemoteEngine,
    resolver: Resolver,
    peers: Peers,  # noqa: F811
) -> None:
    resolver.failure = OSError(-2, "Name or service not known")
    until(lambda: "not known" in named.status().waiting)
    assert not named.status().ready
    why = r"^engines\.test has no address \(Name or service not known\); try again\.$"
    with pytest.raises(errors.Unavailable, match=why):
        ask(named, 3)
    resolver.failure, resolver.addresses = None, (peers.serve(FakeEngine(echo())),)
    until(lambda: named.status().ready)
    assert named.status().waiting == ""
    assert ask(named, 3) == [3]
    peers.servers[0].close(0)
    until(lambda: not named._fleet.alive)
    assert named.status().models["echo"][0].state is State.UNKNOWN
    with pytest.raises(errors.Unavailable, match=r"^No engine answers at 127\.0\.0\.1:\d+; try again\.$"):
        ask(named, 3)


def test_a_resolver_that_hangs_keeps_nobody_waiting(
    resolver: Resolver,
    peers: Peers,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(names, "_SLOW_S", 0.2)
    monkeypatch.setattr(fleet, "_NAMES_S", 0.2)
    resolver.goes_on.clear()
    first, second = (peers.serve(FakeEngine(echo(name=name))) for name in ("echo", "other"))
    engine = peers.engine(first, "dns:engines.test:8500", resolve=resolver)
    until(lambda: engine.status().ready)  # by the peer that has an address
    assert ask(engine, 3) == [3]
    until(lambda: "which addresses engines.test has; it has none so far" in caplog.text)
    lonely = peers.engine("dns:engines.test:8500", resolve=resolver)
    with pytest.raises(errors.Unavailable, match=r"engines\.test has been looked up for \d+ s; try again"):
        ask(lonely, 3)
    resolver.addresses = (second,)
    resolver.goes_on.set()
    until(lambda: "other" in engine.status().models and lonely.status().ready)
    resolver.goes_on.clear()
    assert ask(engine, 3, of=ModelSpec("other")) == [3]
    for each in (engine, lonely):
        started_s = time.monotonic()
        each.close()
        assert time.monotonic() - started_s < 5


def test_a_peer_that_dies_has_the_name_looked_up_at_once(
    resolver: Resolver,
    peers: Peers,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(names, "EVERY_S", 60.0)
    resolver.addresses = (peers.serve(FakeEngine(echo())),)
    engine = peers.engine("dns:engines.test:8500", resolve=resolver)
    until(lambda: engine.status().ready)
    resolver.addresses = (peers.serve(FakeEngine(echo())),)
    peers.servers[0].close(0)
    until(lambda: addresses(engine) == list(resolver.addresses))
    assert ask(engine, 3) == [3]


@pytest.mark.skipif(bool(certificates.MISSING), reason=certificates.MISSING)
def test_over_tls_the_certificate_must_be_the_names(
    resolver: Resolver,
    peers: Peers,  # noqa: F811
    tmp_path: Path,
) -> None:
    """Not the address's: one that a name had once may be a stranger's today."""
    at = {}
    for host in ("engines.test", "strangers.test"):
        pair = certificates.make(tmp_path, host, f"DNS:{host}")
        files = [(pair.key.read_bytes(), pair.certificate.read_bytes())]
        credentials = grpc.ssl_server_credentials(files)
        server = GrpcServer(
            FakeEngine(echo()), threads=4, default_deadline_s=20.0, max_message_bytes=2**26, credentials=credentials
        )
        peers.servers.append(server)
        at[host] = f"127.0.0.1:{server.start('127.0.0.1:0')}"
    authorities = b"".join(path.read_bytes() for path in tmp_path.glob("*.pem"))
    resolver.addresses = tuple(at.values())
    engine = peers.engine("dns:engines.test:8500", resolve=resolver, link=Link(authorities=authorities))
    until(lambda: engine.status().ready)
    for _ in range(10):
        assert ask(engine, 3) == [3]
    assert addresses(engine) == [at["engines.test"]]


def test_the_systems_resolver_is_asked() -> None:
    assert "127.0.0.1:8500" in names.by_system("localhost", 8500)
    assert names.by_system("::1", 8500) == ["[::1]:8500"]
    with pytest.raises(OSError, match=r"."):
        names.by_system("nosuch.invalid", 8500)


def test_engines_of_one_name_get_like_shares(named: RemoteEngine, resolver: Resolver, peers: Peers) -> None:  # noqa: F811
    engines = [FakeEngine(echo()) for _ in range(3)]
    resolver.addresses = tuple(peers.serve(each) for each in engines)
    until(lambda: len(addresses(named)) == 3 and named.status().ready)

    def many(_: int) -> None:
        for _ in range(100):
            with named.lease(ModelSpec("echo")) as servable:
                servable.predict({"x": np.ones(1, np.float32)}, Call(time.monotonic() + 20))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(many, range(8)))
    rows = [sum(len(inputs["x"]) for inputs, _ in each.servables[0].asked) for each in engines]  # calls may be joined
    assert sum(rows) == 800
    assert all(0.2 < each / sum(rows) < 0.5 for each in rows), rows
