"""Workers are replaced by others that are ready, or not at all."""

import signal
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer

from service.process.gunicorn_arbiter import ServiceArbiter


class Recorder:
    """Stands in for gunicorn's log."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __getattr__(self, _: str) -> Any:
        return lambda line, *_: self.lines.append(line)


class Fake(ServiceArbiter):
    """An arbiter whose workers are numbers: 1 and 2 serve, others come as they are started."""

    def __init__(self) -> None:
        self.log = Recorder()
        self.cfg = SimpleNamespace(nworkers_changed=lambda *_: None)
        self._num_workers = 2
        self.WORKERS = {1: SimpleNamespace(age=1), 2: SimpleNamespace(age=2)}
        self.told: list[int] = []
        self.ready: set[int] = {1, 2}
        self._roster = SimpleNamespace(is_ready=self.ready.__contains__)
        self._leaving = set()
        self._told = False
        self._stop_at_s = None
        self.app = SimpleNamespace(runtime=SimpleNamespace(start_refused=""))

    def spawn_worker(self) -> None:
        self.WORKERS[len(self.WORKERS) + 1] = SimpleNamespace(age=9)

    def kill_worker(self, pid: int, sig: int) -> None:
        assert sig == signal.SIGTERM
        self.told.append(pid)

    def die(self, *pids: int) -> None:
        for pid in pids:
            del self.WORKERS[pid]


def test_the_old_workers_are_told_once_all_new_ones_are_ready() -> None:
    arbiter = Fake()
    arbiter.reload()
    assert set(arbiter.WORKERS) == {1, 2, 3, 4}
    arbiter.ready.add(3)
    arbiter.manage_workers()
    assert arbiter.told == []
    arbiter.ready.add(4)
    arbiter.manage_workers()
    arbiter.manage_workers()
    assert sorted(arbiter.told) == [1, 2]
    arbiter.die(1, 2)
    assert set(arbiter.WORKERS) == {3, 4}


def test_a_second_request_meanwhile_is_ignored() -> None:
    arbiter = Fake()
    arbiter.reload()
    arbiter.reload()
    assert len(arbiter.WORKERS) == 4
    assert "ignored" in arbiter.log.lines[-1]


def test_where_a_new_worker_ends_the_old_ones_go_on() -> None:
    arbiter = Fake()
    arbiter.reload()
    arbiter.die(3)
    arbiter.manage_workers()
    assert arbiter.told == [4]
    assert "the old ones keep" in arbiter.log.lines[-1]
    arbiter.die(4)
    assert set(arbiter.WORKERS) == {1, 2}


def test_new_workers_that_take_too_long_are_given_up() -> None:
    arbiter = Fake()
    arbiter.reload()
    arbiter._replace_until_s = 0.0
    arbiter.manage_workers()
    assert sorted(arbiter.told) == [3, 4]


def test_an_old_worker_that_dies_meanwhile_changes_nothing() -> None:
    arbiter = Fake()
    arbiter.reload()
    arbiter.die(1)
    arbiter.ready |= {3, 4}
    arbiter.manage_workers()
    assert arbiter.told == [2]


def test_a_new_worker_that_can_not_start_ends_nothing_while_others_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    def halt(_: Arbiter) -> None:
        raise HaltServer("Worker failed to boot.", 3)

    monkeypatch.setattr(Arbiter, "reap_workers", halt)
    arbiter = Fake()
    with pytest.raises(HaltServer):
        arbiter.reap_workers()
    arbiter.reload()
    arbiter.reap_workers()
    assert "could not start" in arbiter.log.lines[-1]


def test_a_start_that_a_worker_refuses_ends_with_its_sentence_and_the_exit_code_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arbiter = Fake()
    arbiter.app.runtime.start_refused = "letters version 1 can't be run by --runtime=openvino: it can't read it."
    with pytest.raises(HaltServer) as ended:
        arbiter.manage_workers()
    assert ended.value.exit_status == 2
    assert capsys.readouterr().err == f"Error: {arbiter.app.runtime.start_refused}\n"
