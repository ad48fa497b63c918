"""The announcement of a worker: never half."""

import json
from pathlib import Path

from service import worker
from service.runtime import Runtime
from tests.fakes import FakeEngine, classifier

RUNTIME = Runtime(Path("nowhere"), workers=1, port=1, rest_api_port=2)


def test_the_ports_are_written_by_one_rename(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    worker._announce(FakeEngine(classifier()), RUNTIME, ready)
    assert json.loads(ready.read_text()) == {"port": 1, "rest_api_port": 2}
    assert list(tmp_path.iterdir()) == [ready]
