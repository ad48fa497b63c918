"""What clients are told of a version's folder."""

from pathlib import Path

import pytest

from service import store
from service.engine.local.folders import Folders, without_folder


@pytest.mark.parametrize("inside", ["", "/saved_model.pb"])
def test_where_the_store_lies_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "store").symlink_to(tmp_path / "real")
    monkeypatch.chdir(tmp_path)
    for root in (tmp_path / "store", tmp_path / "real", Path("store")):
        folder = root / "m" / "3"
        told = without_folder(f"{folder}{inside} is broken; so says {folder.resolve()}.", folder, ("m", 3))
        assert told == f"m/3{inside} is broken; so says m/3."


def test_files_that_are_replaced_under_a_version_that_serves_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    version = tmp_path / "m" / "2"
    version.mkdir(parents=True)
    (version / store.SAVED_MODEL).write_bytes(b"loaded")
    folders, loaded = Folders(), store.fingerprint(version)
    folders.report_replaced(version, loaded)
    assert caplog.records == []
    (version / store.SAVED_MODEL).write_bytes(b"another one")
    folders.report_replaced(version, loaded)
    folders.report_replaced(version, loaded)
    assert len(caplog.records) == 1
    assert "m/2/saved_model.pb has changed since it was loaded" in caplog.text
    (version / store.SAVED_MODEL).unlink()
    folders.report_replaced(version, loaded)
    assert len(caplog.records) == 1
