"""What clients are told of a version's folder."""

from pathlib import Path

import pytest

from service.engine.folders import without_folder


@pytest.mark.parametrize("inside", ["", "/saved_model.pb"])
def test_where_the_store_lies_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "store").symlink_to(tmp_path / "real")
    monkeypatch.chdir(tmp_path)
    for store in (tmp_path / "store", tmp_path / "real", Path("store")):
        folder = store / "m" / "3"
        told = without_folder(f"{folder}{inside} is broken; so says {folder.resolve()}.", folder, ("m", 3))
        assert told == f"m/3{inside} is broken; so says m/3."
