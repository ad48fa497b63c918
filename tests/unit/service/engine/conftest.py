"""A local engine for each test that asks for one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.config.config_source import ConfigSource
from service.engine.local import folders
from service.engine.local.engine import LocalEngine
from tests.unit.service.engine.versions import POLL_S, Loader


@pytest.fixture
def loader() -> Loader:
    return Loader()


@pytest.fixture
def engine(tmp_path: Path, loader: Loader, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalEngine]:
    """An engine that is not started, over an empty store; a folder is complete as soon as it is there."""
    monkeypatch.setattr(folders, "QUIET_S", 0.0)
    (tmp_path / "store").mkdir()
    engine = LocalEngine(ConfigSource(tmp_path / "store").read, loader, poll_s=POLL_S)
    yield engine
    loader.may_load.set()
    engine.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"
