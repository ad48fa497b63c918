"""What is made of files, made again when one of them changes."""

from pathlib import Path

import pytest

from service.errors import SettingsError
from service.security import renewed
from service.security.renewed import Renewed


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.write_text("1")
    return paths


def joined(files: list[Path]) -> str:
    try:
        return "+".join(path.read_text() for path in files)
    except OSError as error:
        raise SettingsError("It can't be read.") from error


def test_a_change_of_any_file_makes_it_again(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewed, "LOOK_S", 0.0)
    made: list[str] = []
    value = Renewed(files, lambda: made.append(joined(files)) or made[-1], "nothing")
    for path, text, expected in ((files[0], "1", "1+1"), (files[0], "22", "22+1"), (files[1], "333", "22+333")):
        path.write_text(text)
        assert value.now() == expected
        assert value.now() == expected
    assert made == ["1+1", "22+1", "22+333"]  # not once for each time that it is asked for
    files[0].unlink()
    assert value.now() == "22+333"
    (replaced := files[0].with_name("new")).write_text("4")
    replaced.replace(files[0])  # as Kubernetes and editors do
    assert value.now() == "4+333"


def test_it_does_not_look_more_often_than_it_should(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr(renewed.time, "monotonic", lambda: now_s)
    value = Renewed(files, lambda: joined(files), "nothing")
    assert value.now() == "1+1"
    files[0].write_text("22")
    assert value.now() == "1+1"
    now_s += renewed.LOOK_S
    assert value.now() == "22+1"


def test_what_cannot_be_made_at_first_is_what_it_was_given(files: list[Path]) -> None:
    files[0].unlink()
    assert Renewed(files, lambda: joined(files), "given").now() == "given"


def test_without_files_nothing_is_made() -> None:
    assert Renewed((), lambda: pytest.fail("made"), "given").now() == "given"
