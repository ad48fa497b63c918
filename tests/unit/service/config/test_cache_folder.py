"""Where things are kept that may be lost."""

import os
import tempfile
from pathlib import Path

import pytest

from service.config import cache_folder


def test_it_is_in_the_users_cache_or_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder.default({}, "runtimes") == tmp_path / ".cache" / "signpost" / "runtimes"
    told = {"XDG_CACHE_HOME": str(tmp_path / "mine")}
    assert cache_folder.default(told, "stores") == tmp_path / "mine" / "signpost" / "stores"


def test_where_that_can_not_be_written_it_is_one_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert cache_folder.default({}, "runtimes") == Path(tempfile.gettempdir()) / f"signpost-runtimes-{os.getuid()}"
