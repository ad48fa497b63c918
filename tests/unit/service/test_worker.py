"""The announcement of a worker: after everything is ready, and never half."""

import json
import threading
from pathlib import Path

from service import worker
from service.engine.interface import State, VersionStatus
from tests.fakes import FakeEngine, classifier

PORTS = {"port": 1, "rest_api_port": 2}


def test_the_ports_are_written_once_everything_is_ready(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    worker._announce(FakeEngine(classifier()), PORTS, ready, threading.Event())
    assert json.loads(ready.read_text()) == PORTS
    assert list(tmp_path.iterdir()) == [ready]


def test_nothing_is_written_before(tmp_path: Path) -> None:
    engine = FakeEngine(classifier())
    engine.states = {"fake": (VersionStatus(1, State.LOADING),)}
    stopping = threading.Event()
    thread = threading.Thread(target=worker._announce, args=(engine, PORTS, tmp_path / "ready.json", stopping))
    thread.start()
    stopping.set()
    thread.join(20)
    assert not thread.is_alive()
    assert list(tmp_path.iterdir()) == []
