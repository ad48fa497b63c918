"""A local engine of the test's `store`, which finds changes only when it is told of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.config.config_source import ConfigSource
from service.engine.local import folders
from service.engine.local.engine import LocalEngine
from tests.unit.service.engine.versions import Loader, until


@pytest.fixture
def loader() -> Loader:
    return Loader()


@pytest.fixture
def engine(store: Path, loader: Loader, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalEngine]:
    """It looks by itself only once an hour: what happens sooner happens because it was told."""
    monkeypatch.setattr(folders, "QUIET_S", 0.0)
    engine = LocalEngine(ConfigSource(store, override=store.with_name("override")).read, loader, poll_s=3600.0)
    engine.start()
    until(lambda: engine.status().ready)
    yield engine
    loader.may_load.set()
    engine.close()
