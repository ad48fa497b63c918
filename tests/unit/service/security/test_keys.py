"""API keys: made, kept as digests, read again when their file changes."""

import logging
from pathlib import Path

import pytest
from click.testing import CliRunner

from service.commands.cli import main
from service.errors import SettingsError
from service.security import keys, renewed
from service.security.keys import Keys


@pytest.fixture(autouse=True)
def _look_at_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewed, "LOOK_S", 0.0)


def test_a_key_is_found_by_its_secret_only(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    secrets = {}
    for name, role in (("camera", "predict"), ("ops", "admin")):
        secrets[name], key = keys.make(name, role)  # type: ignore[arg-type]
        keys.append(path, key)
    known = Keys(path)
    for name, secret in secrets.items():
        found = known.find(secret)
        assert found is not None
        assert found.name == name
        assert secret not in path.read_text()
        assert secret not in repr(found)
        assert known.find(found.digest.hex()) is None  # who reads the file has no key
        assert known.find(secret + " ") is None
        assert known.find(secret[:-1]) is None
    assert known.find("") is None
    assert known.find("\udcff\x00ä") is None


def test_no_two_keys_are_the_same_and_each_has_256_bits() -> None:
    made = {keys.make("a", "predict")[0] for _ in range(100)}
    assert len(made) == 100
    assert all(len(secret.removeprefix("signpost_")) == 43 for secret in made)


def test_the_file_is_for_its_owner_and_need_not_end_with_a_new_line(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    keys.append(path, keys.make("a", "predict")[1])
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("# ours\n\n" + path.read_text().rstrip())
    keys.append(path, keys.make("b", "admin")[1])
    assert [(key.name, key.role) for key in keys.read(path)] == [("a", "predict"), ("b", "admin")]


@pytest.mark.parametrize(
    "line",
    [
        "signpost_a-secret-that-someone-pasted",
        "predict signpost_a-secret-that-someone-pasted camera",
        f"root {'0' * 64} camera",
        f"predict {'0' * 63} camera",
        f"predict {'0' * 64}",
        f"predict {'0' * 64} two names",
        f"predict {'0' * 64} na/me",
        f"predict {'0' * 64} twice\nadmin {'1' * 64} twice",
    ],
)
def test_a_wrong_line_is_told_by_its_number_and_never_shown(line: str) -> None:
    with pytest.raises(SettingsError) as caught:
        keys.parse(["# a comment", *line.splitlines()], "the file")
    assert "Entry " in str(caught.value)
    assert "pasted" not in str(caught.value)
    assert "000" not in str(caught.value)


def test_the_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    first, kept = keys.make("first", "predict")
    keys.append(path, kept)
    known = Keys(path)
    second, added = keys.make("second", "predict")
    assert known.find(second) is None
    keys.append(path, added)
    assert known.find(second) == added
    path.write_text(added.line)
    assert known.find(first) is None
    assert known.find(second) == added
    path.write_text("# nobody any more\n")
    assert known.find(second) is None


@pytest.mark.parametrize("broken", [b"admin", b"\xff\xfe", None])
def test_a_broken_edit_keeps_the_keys_before_it_and_is_logged_once(
    tmp_path: Path, broken: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys"
    secret, key = keys.make("ours", "predict")
    path.write_text(key.line)
    known = Keys(path)
    path.unlink()
    if broken is not None:
        path.write_bytes(broken)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert known.find(secret) == key
            assert known.find("something else") is None
    assert len(caplog.records) == 1
    assert "stays in force" in caplog.text
    other, added = keys.make("other", "predict")
    path.write_text(added.line)
    assert known.find(secret) is None
    assert known.find(other) == added


def test_who_starts_with_a_broken_file_knows_only_what_is_fixed(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("broken")
    secret, key = keys.make("fixed", "admin")
    known = Keys(tmp_path / "keys", [key])
    assert known.find(secret) == key
    assert known.find("") is None


def test_the_command_prints_a_key_that_works_and_keeps_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    for name, role, more in (
        ("predict-1", "predict", []),
        ("admin-1", "admin", ["--role=admin"]),
        ("predict-2", "predict", []),
        ("ops@example", "admin", ["--role=admin", "--name=ops@example"]),
    ):
        done = CliRunner().invoke(main, ["keys", "new", "--api-keys-file", str(path), *more])
        assert done.exit_code == 0, done.output
        found = Keys(path).find(done.stdout.strip())
        assert found is not None
        assert (found.name, found.role) == (name, role)
    again = CliRunner().invoke(main, ["keys", "new", "--api-keys-file", str(path), "--name=predict-1"])
    assert again.exit_code == 2
    assert "already has a key named predict-1" in again.stderr


@pytest.mark.parametrize("name", ["", "a b", "a\nadmin", "x" * 65, "ä"])
def test_a_name_that_would_break_the_file_is_refused(name: str) -> None:
    with pytest.raises(SettingsError):
        keys.make(name, "predict")


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="can't be written"):
        keys.append(tmp_path / "missing" / "keys", keys.make("a", "predict")[1])
