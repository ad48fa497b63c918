"""Which workers are ready, told by files."""

import fcntl
import os
import tempfile
from pathlib import Path

import pytest

from service.errors import SettingsError
from service.parts.runtime import Roster, Runtime, private_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "workers").mkdir()
    return tmp_path


def other(folder: Path, pid: int, content: str) -> None:
    (folder / "workers" / str(pid)).write_text(content)


def test_a_service_is_ready_when_all_its_workers_are(folder: Path) -> None:
    roster = Roster(folder, 2)
    assert not roster.ready()
    roster.note(ready=True)
    assert not roster.ready(), "the other one has not come yet"
    assert not roster.others_ready()
    other(folder, 1, "0")
    assert not roster.ready()
    other(folder, 1, "1")
    assert roster.ready()
    assert roster.others_ready()
    assert roster.pids() == sorted([1, os.getpid()])


def test_once_announced_a_worker_that_is_replaced_is_not_waited_for(folder: Path) -> None:
    roster = Roster(folder, 2)
    roster.note(ready=True)
    other(folder, 1, "1")
    assert roster.announce()
    assert not roster.announce(), "only once"
    roster.forget(1)
    roster.forget(1)
    assert roster.ready()
    other(folder, 2, "0")
    assert not roster.ready(), "one that takes requests and can't answer them"
    roster.forget(os.getpid())
    roster.forget(2)
    assert not roster.ready(), "nobody is there"


def test_the_private_folder_is_private_and_goes_with_its_maker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with private_folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert len(str(folder)) < 80, "a socket in it must have a path of at most 107 bytes"
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        assert folder.is_dir()
    assert not folder.exists()


def test_the_private_folder_is_locked_against_who_tidies_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd-tmpfiles leaves a folder alone that it can't lock."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with private_folder() as folder:
        tidier = os.open(folder, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(tidier, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(tidier)


def test_without_a_place_for_temporary_files_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", read_only)
    with pytest.raises(SettingsError, match="mount one at /tmp"), private_folder() as folder:
        pytest.fail(f"made {folder}")


def test_only_a_start_can_be_refused(folder: Path) -> None:
    runtime = Runtime(folder, 1, None, 8501)
    assert runtime.start_refused == ""
    runtime.refuse_start("It can't be run.")
    assert runtime.start_refused == "It can't be run."
    (folder / "refused").unlink()
    Roster(folder, 1).announce()
    runtime.refuse_start("It can't be run.")
    assert runtime.start_refused == ""
