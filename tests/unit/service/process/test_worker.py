"""The announcement of a worker: never half, and of what really answers."""

import json
import logging
from pathlib import Path

import pytest

from service.interface import State, VersionStatus
from service.parts.runtime import Runtime
from service.process import worker
from tests.fakes import FakeEngine, classifier

RUNTIME = Runtime(Path("nowhere"), workers=1, port=1, rest_api_port=2)


def test_the_ports_are_written_by_one_rename(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    worker._announce(FakeEngine(classifier()), RUNTIME, ready)
    assert json.loads(ready.read_text()) == {"port": 1, "rest_api_port": 2}
    assert list(tmp_path.iterdir()) == [ready]


def test_the_version_that_answers_is_announced(caplog: pytest.LogCaptureFixture) -> None:
    """A later one that failed is in the status too."""
    engine = FakeEngine(classifier(version=1))
    engine.states = {"fake": (VersionStatus(2, State.END, "broken"), VersionStatus(1, State.AVAILABLE))}
    with caplog.at_level(logging.INFO):
        worker._announce(engine, RUNTIME, None)
    assert "Ready: fake version 1." in caplog.text
