"""Several replicas over one store, each with its engine, that agree on versions through one `Agreement`."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from service.config.model_config import ModelConfig
from service.engine.local import folders
from service.engine.local.agreement import ModelOffer, Offer
from service.engine.local.engine import LocalEngine
from service.errors import NotFound, SignpostError
from service.interface import ModelSpec, State
from service.ray_serve import agreement
from service.ray_serve.agreement import GATHER_S, KEPT_S, SILENCE_S, Agreement, Known
from service.ray_serve.view import ReplicaView
from tests.unit.service.engine.versions import LONG_S, POLL_S, Loader, publish, serving, states, until


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def having(*versions: int, wants: int | None = None) -> Offer:
    """The offer of a replica that has these versions and wants one, the highest by default."""
    wants = max(versions) if wants is None else wants
    coming = frozenset() if wants in versions else frozenset({wants})
    return Offer({"m": ModelOffer(frozenset(versions), coming, preferred=frozenset({wants}))}, serves=True)


class Told:
    """An agreement, and what each of two replicas knows of it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.agreement = Agreement(self.clock)
        self.known = {1: Known(), 2: Known()}
        for replica in (1, 2):
            assert self.join(replica, having(1))

    def join(self, replica: int, offer: Offer, ready: bool = True) -> bool:
        self.known[replica], joined = self.agreement.join(replica, self.known.get(replica, Known()), offer, ready)
        return joined

    def offer(self, replica: int, offer: Offer, without: int | None = None) -> bool:
        gone = None if without is None else ("m", without)
        self.known[replica], taken = self.agreement.offer(replica, self.known[replica], offer, gone)
        return taken

    def sync(self, *replicas: int) -> None:
        for replica in replicas or (1, 2):
            self.known[replica], _ = self.agreement.sync(replica, self.known[replica])

    def default(self, replica: int = 1) -> int | None:
        self.sync(replica)
        return self.known[replica].view.of("m").default


def test_a_version_answers_once_every_replica_has_it() -> None:
    told = Told()
    told.offer(1, having(1, 2))
    assert told.default() == 1
    told.offer(2, having(1, wants=2))
    assert told.default() == 1
    told.offer(2, having(1, 2))
    assert told.default() == told.default(2) == 2


def test_what_answered_is_kept_until_all_know_and_gateways_have_looked() -> None:
    told = Told()
    for replica in (1, 2):
        told.offer(replica, having(1, 2))
    told.sync(1)
    told.clock.now_s += KEPT_S + 0.1
    assert not told.offer(1, having(2), without=1)  # the first does not know yet that the second does
    told.sync(1, 2)  # the second learns of it
    told.sync(2)  # and has said so
    assert told.offer(1, having(2), without=1)
    assert not told.offer(1, having(2), without=2)  # it answers


def test_it_is_kept_for_a_while_though_all_know() -> None:
    told = Told()
    for replica in (1, 2):
        told.offer(replica, having(1, 2))
    told.sync()
    told.sync()
    assert not told.offer(1, having(2), without=1)
    told.clock.now_s += KEPT_S + 0.1
    assert told.offer(1, having(2), without=1)
    assert told.offer(2, having(2), without=1)  # no longer than the first


def test_a_replica_that_says_nothing_is_not_waited_for() -> None:
    told = Told()
    told.offer(1, having(1, 2))
    told.clock.now_s += SILENCE_S / 2
    assert told.default() == 1
    told.clock.now_s += SILENCE_S / 2 + 0.1
    assert told.default() == 2
    _, is_known = told.agreement.sync(2, told.known[2])
    assert not is_known


def test_one_that_leaves_is_not_waited_for() -> None:
    told = Told()
    told.offer(1, having(1, 2))
    told.agreement.leave(2)
    assert told.default() == 2


def test_a_replica_joins_with_what_the_others_answer_with() -> None:
    told = Told()
    assert not told.join(3, having(2))
    assert told.join(3, having(1, wants=2))


def test_the_first_replica_joins_once_it_is_ready() -> None:
    told = Told()
    told.agreement = Agreement(told.clock)
    told.known = {}
    assert not told.join(4, having(1), ready=False)
    assert told.join(4, having(1))


def test_the_next_process_goes_on_from_what_the_replicas_know() -> None:
    told = Told()
    told.offer(1, having(1, 2))
    told.sync()
    generation = told.known[1].generation
    told.agreement = Agreement(told.clock)
    # Heard alone, the first would have its version answer, which the second lacks.
    told.sync(1)
    assert told.offer(1, having(1, 2))
    assert told.default() == 1
    told.sync(2)
    assert told.offer(2, having(1, wants=2))
    told.clock.now_s += GATHER_S + 0.1
    assert told.default() == 1
    told.offer(2, having(1, 2))
    assert told.default() == 2
    assert told.known[1].generation > generation


class Actor:
    """An `Agreement` as Ray has one: it answers one call after the other, and may be gone."""

    def __init__(self) -> None:
        self.agreement = Agreement()
        self.lock = threading.Lock()
        self.is_gone = False

    def ask(self, method: str, /, *arguments: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        with self.lock:
            if self.is_gone:
                future.set_exception(RuntimeError("gone"))
            else:
                future.set_result(getattr(self.agreement, method)(*arguments))
        return future


class Replica:
    def __init__(self, number: int, folder: Path, actor: Actor) -> None:
        self.view = ReplicaView(number, actor.ask, look_s=0.01)
        self.view.start()
        self.loader = Loader()
        self.engine = LocalEngine(
            lambda: (ModelConfig("m", folder / "m"),), self.loader, poll_s=POLL_S, load_threads=2, view=self.view
        )
        self.engine.start()
        until(lambda: self.engine.join(alone=False))


@pytest.fixture
def actor() -> Actor:
    return Actor()


@pytest.fixture
def replicas(tmp_path: Path, actor: Actor, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Replica]]:
    """Two, that have begun with version 1."""
    monkeypatch.setattr(folders, "QUIET_S", 0.0)
    monkeypatch.setattr(agreement, "KEPT_S", 0.2)
    monkeypatch.setattr(agreement, "GATHER_S", 0.1)
    publish(tmp_path)
    replicas = [Replica(number, tmp_path, actor) for number in (1, 2)]
    yield replicas
    for each in replicas:
        each.loader.may_load.set()
        each.engine.close()


def are(replicas: list[Replica], version: int) -> bool:
    return all(states(each.engine) == {version: State.AVAILABLE} for each in replicas)


def test_replicas_that_load_at_different_moments_change_together(replicas: list[Replica], tmp_path: Path) -> None:
    first, second = replicas
    second.loader.may_load.clear()
    publish(tmp_path)
    until(lambda: ("m", 2) in first.loader.loaded)
    until(lambda: states(second.engine) == {2: State.LOADING, 1: State.AVAILABLE})
    until(lambda: states(first.engine) == {2: State.LOADING, 1: State.AVAILABLE})  # it is for all replicas as a whole
    assert [serving(each.engine) for each in replicas] == [1, 1]
    second.loader.may_load.set()
    until(lambda: are(replicas, 2))


def test_whichever_replica_is_asked_it_has_what_any_of_them_offers(replicas: list[Replica], tmp_path: Path) -> None:
    """What a gateway does: it takes a version from the status of one replica, and asks another for it by its number.

    Where that is gone, it looks once more.
    """
    stop = threading.Event()
    failed: list[str] = []

    def offered(count: int) -> int:
        known = states(replicas[count % 2].engine)
        return max(version for version, state in known.items() if state is State.AVAILABLE)

    def ask(count: int) -> int:
        while not stop.is_set():
            count += 1
            version = offered(count)
            for attempt in range(2):
                try:
                    serving(replicas[(count // 2) % 2].engine, ModelSpec("m", version))
                    break
                except NotFound as error:
                    if attempt:
                        failed.append(str(error))
                    version = offered(count // 3)
                except SignpostError as error:
                    failed.append(str(error))
        return count

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask, number) for number in range(4)]
        try:
            for version in range(2, 7):
                assert publish(tmp_path) == version
                until(lambda version=version: are(replicas, version))  # type: ignore[misc]
        finally:
            stop.set()
        assert sum(each.result(LONG_S) for each in asking) > 100
    assert failed == []


def test_without_anybody_to_ask_what_was_known_holds(
    replicas: list[Replica], actor: Actor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    actor.is_gone = True
    publish(tmp_path)
    until(lambda: all(("m", 2) in each.loader.loaded for each in replicas))
    until(lambda: "retrying" in caplog.text)
    assert [serving(each.engine) for each in replicas] == [1, 1]
    with actor.lock:  # another one begins, which knows nothing
        actor.agreement, actor.is_gone = Agreement(), False
    until(lambda: are(replicas, 2))
