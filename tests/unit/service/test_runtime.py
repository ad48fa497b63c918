"""The private folder of a service."""

import tempfile
from pathlib import Path

import pytest

from service.errors import SettingsError
from service.runtime import private_folder


def test_the_private_folder_is_gone_in_the_end() -> None:
    with private_folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


def test_without_a_place_for_temporary_files_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", read_only)
    with pytest.raises(SettingsError, match="mount one at /tmp"), private_folder() as folder:
        pytest.fail(f"made {Path(folder)}")
