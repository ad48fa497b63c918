"""Several workers over one store, each with its engine: what answers changes for all of them at one moment."""

import fcntl
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service import store
from service.config.config_source import ConfigSource
from service.config.model_config import ModelConfig, Specific
from service.engine.local import accord, folders, shared_view
from service.engine.local.engine import LocalEngine
from service.engine.local.shared_view import SharedView
from service.errors import NotFound, Unavailable
from service.interface import ModelSpec, State
from tests.unit.service.engine.versions import LONG_S, POLL_S, Loader, publish, serving, states, until

AVAILABLE = State.AVAILABLE


class Worker:
    """One of several: its engine, what it loads, and what it is told to serve."""

    def __init__(self, number: int, folder: Path, generation: "memoryview[int]") -> None:
        self.view = SharedView(folder.with_name("agreement"), generation, number)
        self.loader = Loader()
        self.config = ModelConfig("m", folder / "m")
        self.engine = LocalEngine(lambda: (self.config,), self.loader, poll_s=POLL_S, load_threads=2, view=self.view)

    def start(self, alone: bool = True) -> None:
        self.engine.start()
        if alone:
            assert self.engine.join(alone=True)

    def die(self) -> None:
        """End like a process that is killed: it says nothing to anybody."""
        self.engine._stop.set()
        self.loader.may_load.set()
        self.engine._thread.join(LONG_S)


class Workers(list[Worker]):
    """Those of a service."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        folder.with_name("agreement").mkdir()
        self.folder = folder
        self.generation = memoryview(bytearray(8)).cast("q")
        self.ended: list[Worker] = []

    def add(self, alone: bool = True) -> Worker:
        worker = Worker(len(self) + len(self.ended) + 1, self.folder, self.generation)
        self.append(worker)
        worker.start(alone)
        return worker

    def kill(self, worker: Worker) -> None:
        worker.die()
        self.remove(worker)
        self.ended.append(worker)
        SharedView(self.folder.with_name("agreement"), self.generation).forget(worker.view._worker)

    def answers(self, spec: ModelSpec = ModelSpec("m")) -> list[int]:  # noqa: B008 - it is frozen
        return [serving(worker.engine, spec) for worker in self]

    def are(self, version: int, spec: ModelSpec = ModelSpec("m")) -> bool:  # noqa: B008 - it is frozen
        """Whether that version answers, as agreed, and is all that is loaded."""
        try:
            return set(self.answers(spec)) == {version} == self[0].view.now.of("m").named and all(
                states(worker.engine) == {version: AVAILABLE} for worker in self
            )
        except (NotFound, Unavailable):
            return False

    def tell(self, config: ModelConfig) -> None:
        for worker in self:
            worker.config = config


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workers]:
    """Two, that have begun with version 1."""
    monkeypatch.setattr(folders, "QUIET_S", 0.0)
    monkeypatch.setattr(SharedView, "look_s", 0.005)
    workers = Workers(tmp_path / "store")
    publish(workers.folder)
    workers.add()
    workers.add()
    until(lambda: workers.are(1))
    yield workers
    for worker in workers:
        worker.loader.may_load.set()
        worker.engine.close()


def test_a_version_answers_once_every_worker_has_it(workers: Workers) -> None:
    first, second = workers
    second.loader.may_load.clear()
    publish(workers.folder)
    until(lambda: ("m", 2) in first.loader.loaded)
    until(lambda: states(second.engine) == {2: State.LOADING, 1: AVAILABLE})
    until(lambda: states(first.engine) == {2: State.LOADING, 1: AVAILABLE})  # it is for the service as a whole
    assert workers.answers() == [1, 1]
    second.loader.may_load.set()
    until(lambda: workers.are(2))
    assert all(worker.loader.loaded["m", 1].closed for worker in workers)


@pytest.mark.slow
def test_no_client_sees_a_version_go_back(workers: Workers) -> None:
    newest, stop = 1, threading.Event()
    lock = threading.Lock()
    went_back: list[tuple[int, int]] = []

    def ask(number: int) -> int:
        nonlocal newest
        count = 0
        while not stop.is_set():
            before = newest  # answered before this request begins
            version = serving(workers[(number + count) % 3].engine)
            with lock:
                newest = max(newest, version)
            if version < before:
                went_back.append((before, version))
            count += 1
        return count

    workers.add(alone=False)
    until(lambda: workers[2].engine.join(alone=False))
    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask, number) for number in range(4)]
        try:
            for version in range(2, 9):
                assert publish(workers.folder) == version
                until(lambda version=version: workers.are(version))  # type: ignore[misc]
        finally:
            stop.set()
        assert sum(each.result(LONG_S) for each in asking) > 0
    assert went_back == []


def test_a_worker_that_can_not_load_a_version_keeps_the_others_at_the_old_one(
    workers: Workers, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = workers
    second.loader.broken.add(("m", 2))
    publish(workers.folder)
    until(lambda: all(states(worker.engine) == {2: State.END, 1: AVAILABLE} for worker in workers))
    assert workers.answers() == [1, 1]
    assert first.loader.loaded["m", 2].closed  # nobody would ask it
    assert {worker.engine.status().models["m"][0].error for worker in workers} == {"m/2 is broken."}
    with pytest.raises(NotFound, match=r"m/2 is broken"):
        serving(first.engine, ModelSpec("m", 2))
    told = [each.message for each in caplog.records if "keeps serving" in each.message]
    assert told == ["m: version 2 is broken (worker 2 could not load it); version 1 keeps serving."]
    second.loader.broken.clear()
    (workers.folder / "m" / "2" / store.SAVED_MODEL).write_bytes(b"mended")
    until(lambda: workers.are(2))


def test_a_broken_version_that_is_followed_by_a_sound_one_holds_nothing_up(workers: Workers) -> None:
    workers[1].loader.broken.add(("m", 2))
    publish(workers.folder)
    until(lambda: all(states(worker.engine) == {2: State.END, 1: AVAILABLE} for worker in workers))
    publish(workers.folder)
    until(lambda: workers.are(3))


def test_a_worker_that_dies_while_it_loads_holds_up_nobody(workers: Workers) -> None:
    second = workers[1]
    second.loader.may_load.clear()
    publish(workers.folder)
    until(lambda: states(workers[0].engine) == {2: State.LOADING, 1: AVAILABLE})
    workers.kill(second)
    until(lambda: workers.are(2))


def test_a_worker_that_starts_in_the_middle_of_a_swap_takes_requests_once_it_has_what_the_others_answer_with(
    workers: Workers,
) -> None:
    workers[1].loader.may_load.clear()
    publish(workers.folder)
    until(lambda: states(workers[0].engine) == {2: State.LOADING, 1: AVAILABLE})
    third = Worker(9, workers.folder, workers.generation)
    third.loader.may_load.clear()
    third.start(alone=False)
    until(lambda: len(third.loader.tried) == 2)
    assert not third.engine.join(alone=False)
    third.loader.may_load.set()
    until(lambda: third.engine.join(alone=False))
    workers.append(third)
    assert workers.answers() == [1, 1, 1]
    workers[1].loader.may_load.set()
    until(lambda: workers.are(2))


def test_a_worker_that_can_never_have_what_the_others_answer_with_takes_no_requests(workers: Workers) -> None:
    third = Worker(9, workers.folder, workers.generation)
    third.loader.broken.add(("m", 1))
    third.start(alone=False)
    until(lambda: states(third.engine) == {1: State.END})
    assert not third.engine.join(alone=False)
    assert workers.answers() == [1, 1]
    publish(workers.folder)
    until(lambda: workers.are(2))
    until(lambda: third.engine.join(alone=False))
    workers.append(third)
    assert workers.answers() == [2, 2, 2]


def test_alone_a_worker_serves_what_it_can(workers: Workers) -> None:
    """All others have died, the version that answered can't be loaded any more, and an older one can."""
    publish(workers.folder)
    until(lambda: workers.are(2))
    for worker in [*workers]:
        workers.kill(worker)
    third = Worker(9, workers.folder, workers.generation)
    third.loader.broken.add(("m", 2))
    third.start()
    workers.append(third)
    until(lambda: third.engine.status().ready)
    assert workers.answers() == [1]


@pytest.mark.parametrize("way", ["folder", "policy"])
def test_a_roll_back_too_is_seen_at_one_moment(workers: Workers, way: str) -> None:
    publish(workers.folder)
    until(lambda: workers.are(2))
    workers[1].loader.may_load.clear()
    if way == "folder":
        shutil.rmtree(workers.folder / "m" / "2")
    else:
        workers.tell(ModelConfig("m", workers.folder / "m", Specific(frozenset({1}))))
    until(lambda: states(workers[0].engine) == {2: AVAILABLE, 1: State.LOADING})
    until(lambda: workers[0].loader.tried.count(("m", 1)) == 2)
    until(lambda: states(workers[1].engine) == {2: AVAILABLE, 1: State.LOADING})
    assert workers.answers() == [2, 2]
    workers[1].loader.may_load.set()
    until(lambda: workers.are(1))


def test_a_configuration_that_one_worker_has_read_first_changes_nothing_yet(workers: Workers) -> None:
    publish(workers.folder)
    until(lambda: workers.are(2))
    back = ModelConfig("m", workers.folder / "m", Specific(frozenset({1})))
    workers[0].config = back
    until(lambda: workers[0].loader.tried.count(("m", 1)) == 2)
    until(lambda: states(workers[0].engine) == {2: AVAILABLE, 1: State.LOADING})
    assert workers.answers() == [2, 2]
    workers.tell(back)
    until(lambda: workers.are(1))


def test_a_label_moves_at_one_moment(workers: Workers) -> None:
    path = workers.folder / "m"
    stable = ModelSpec("m", label="stable")
    publish(workers.folder)
    workers.tell(ModelConfig("m", path, labels={"stable": 1}))
    until(lambda: all(states(worker.engine) == {2: AVAILABLE, 1: AVAILABLE} for worker in workers))
    until(lambda: workers[0].view.now.of("m").labels == {"stable": 1})
    assert workers.answers(stable) == [1, 1]
    publish(workers.folder)
    until(lambda: all(states(worker.engine) == {3: AVAILABLE, 1: AVAILABLE} for worker in workers))
    moved = ModelConfig("m", path, labels={"stable": 3})
    workers[0].config = moved
    assert workers[0].engine.settle(0.05) is False or workers.answers(stable) == [1, 1]
    assert workers.answers(stable) == [1, 1]
    workers.tell(moved)
    until(lambda: workers.are(3, stable))


def test_at_the_start_it_is_ready_once_the_newest_serves_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versions are loaded side by side, so an older one may be up first."""
    monkeypatch.setattr(folders, "QUIET_S", 0.0)
    workers = Workers(tmp_path / "store")
    for _ in range(2):
        publish(workers.folder)
    config = ModelConfig("m", workers.folder / "m", labels={"old": 1})
    try:
        for number in (1, 2):
            worker = Worker(number, workers.folder, workers.generation)
            worker.config = config
            worker.loader.slow = {("m", 2): threading.Event()}
            worker.start()
            workers.append(worker)
        first, second = workers
        until(lambda: all(("m", 1) in worker.loader.loaded for worker in workers))
        assert not any(worker.engine.status().ready for worker in workers)
        with pytest.raises(Unavailable):
            workers.answers()
        first.loader.slow["m", 2].set()
        until(lambda: ("m", 2) in first.loader.loaded)
        assert not second.engine.status().ready
        second.loader.slow["m", 2].set()
        until(lambda: all(worker.engine.status().ready for worker in workers))
        assert workers.answers() == [2, 2]
    finally:
        for worker in workers:
            for event in worker.loader.slow.values():
                event.set()
            worker.engine.close()


def test_a_change_is_in_force_when_every_worker_has_made_it(workers: Workers) -> None:
    first, second = workers
    publish(workers.folder)
    until(lambda: workers.are(2))
    workers.tell(ModelConfig("m", workers.folder / "m", Specific(frozenset({1}))))
    assert first.engine.settle(LONG_S)
    assert workers.are(1)
    second.loader.may_load.clear()
    workers.tell(ModelConfig("m", workers.folder / "m"))
    assert not first.engine.settle(0.05)
    assert workers.answers() == [1, 1]
    second.loader.may_load.set()
    assert first.engine.settle(LONG_S)
    assert workers.are(2)


def test_a_worker_that_is_told_to_look_does_not_wait_for_its_next_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "QUIET_S", 0.0)
    workers = Workers(tmp_path / "store")
    publish(workers.folder)
    monkeypatch.setattr("tests.unit.service.engine.local.test_workers.POLL_S", 3600.0)
    for _ in range(2):
        workers.add()
    until(lambda: workers.are(1))
    publish(workers.folder)
    assert workers[0].engine.settle(LONG_S)
    assert workers.are(2)
    for worker in workers:
        worker.engine.close()


def test_a_process_that_keeps_the_lock_delays_versions_and_no_more(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shared_view, "_LOCK_S", 0.01)
    with (workers.folder.with_name("agreement") / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        publish(workers.folder)
        until(lambda: all(("m", 2) in worker.loader.loaded for worker in workers))
        until(lambda: "can't agree on versions: another process of the service keeps the lock" in caplog.text)
        assert workers.answers() == [1, 1]
        assert not workers[0].engine.settle(0.05)
    until(lambda: workers.are(2))


def test_a_version_that_waits_for_long_is_told_of(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(accord, "_HELD_UP_S", 0.0)
    workers[1].loader.may_load.clear()
    publish(workers.folder)
    until(lambda: "m version 2 is loaded, but not in every worker of this service" in caplog.text)
    assert "until it is, version 1 answers." in caplog.text
    workers[1].loader.may_load.set()
    until(lambda: workers.are(2))


def test_a_lease_reads_no_file_while_nothing_changes(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> str:
        pytest.fail(f"read {path}")

    for worker in workers:  # what looks at the store may read
        worker.die()
    workers.answers()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_text", refuse)
        for _ in range(10):
            assert workers.answers() == [1, 1]


def test_one_worker_behaves_as_it_would_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "QUIET_S", 0.0)
    alone = tmp_path / "alone"
    publish(alone)
    engine = LocalEngine(ConfigSource(alone).read, Loader(), poll_s=POLL_S)
    assert engine.join(alone=False) is False  # nothing is loaded yet
    engine.start()
    until(lambda: engine.join(alone=False))
    assert serving(engine) == 1
    engine.close()
