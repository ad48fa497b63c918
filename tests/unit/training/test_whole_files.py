"""Files appear whole or not at all, and what stands in the way is told in a sentence."""

import errno
import os
import tempfile
from pathlib import Path

import pytest

from service.errors import StoreError
from training.errors import os_error
from training.whole_files import check_writable, whole_files


def test_files_appear_at_the_end_and_replace_those_before(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "a").write_text("before")
    with whole_files(tmp_path / "new", "report") as temporary:
        (temporary / "a").write_text("after")
        (temporary / "b").write_text("more")
        assert (tmp_path / "new" / "a").read_text() == "before"
    assert {path.name: path.read_text() for path in (tmp_path / "new").iterdir()} == {"a": "after", "b": "more"}


def half_written(folder: Path, error: Exception) -> None:
    with whole_files(folder, "report") as temporary:
        (temporary / "a").write_text("half")
        raise error


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, "No space left on device; free disk space or choose another with --report"),
        (errno.EDQUOT, "Disk quota exceeded; free disk space or choose another with --report"),
        (errno.EACCES, "Permission denied; choose another with --report"),
        (errno.EROFS, "Read-only file system; choose another with --report"),
    ],
)
def test_an_error_leaves_what_was_there(
    number: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("before")
    with pytest.raises(StoreError, match=told):
        half_written(tmp_path, OSError(number, os.strerror(number)))
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "before")]

    def refuse(*_: object, **__: object) -> str:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(StoreError, match=told):
        check_writable(tmp_path, "report")


def test_another_error_is_passed_on_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        half_written(tmp_path, ZeroDivisionError())
    assert list(tmp_path.iterdir()) == []


def test_trying_a_folder_leaves_nothing_behind(tmp_path: Path) -> None:
    check_writable(tmp_path / "not" / "yet", "store")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"file/model can't be written: Not a directory; choose another with --store"):
        check_writable(tmp_path / "file" / "model", "store")


@pytest.mark.parametrize(
    ("message", "number"),
    [
        ("{{node Save}} /s/m/.tmp-1/variables.data; No space left on device [Op:SaveV2]", errno.ENOSPC),
        ("/s/m/.tmp-1; Read-only file system", errno.EROFS),
        ("Something else\nin two lines", errno.EIO),
    ],
)
def test_the_reason_in_a_message_of_tensorflow_is_found(message: str, number: int) -> None:
    error = os_error(message)
    assert error.errno == number
    assert "\n" not in str(error)
