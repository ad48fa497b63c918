"""`signpost init`: what it makes can be served at once, and nothing is overwritten."""

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from service import store
from service.commands import init_command
from service.commands.cli import main
from service.config.config_edit import ConfigFile


def init(folder: Path, code: int = 0) -> Result:
    done = CliRunner().invoke(main, ["init", str(folder)])
    assert done.exit_code == code, done.output
    return done


@pytest.mark.parametrize("exists", [False, True])
def test_it_makes_a_store_a_configuration_an_image_and_a_compose_file(tmp_path: Path, exists: bool) -> None:
    folder = tmp_path / "my_service"
    if exists:
        folder.mkdir()
    done = init(folder)
    [config] = ConfigFile(folder / "model_store").read()
    assert config.name == "sign_language"
    assert list(store.versions(config.base_path)) == [2]
    assert (folder / "hand_y.png").read_bytes().startswith(b"\x89PNG")
    compose = yaml.safe_load((folder / "compose.yaml").read_text())
    assert compose["services"]["signpost"]["volumes"] == ["./model_store:/models:ro"]
    assert f"cd {folder}" in done.output
    assert "curl --data-binary @hand_y.png" in done.output


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    (tmp_path / "file").touch()
    for name in ("full", "file"):
        assert "already exists" in init(tmp_path / name, code=2).output
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]


def test_an_installation_without_the_model_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(init_command, "_CHECKOUT", tmp_path)
    assert "signpost train circles --store my_store" in init(tmp_path / "new", code=2).output
    assert not (tmp_path / "new").exists()


def test_half_a_service_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", fail)
    said = init(tmp_path / "new", code=2).output
    assert "can't be written: " in said
    assert "No space left on device.\n" in said
    assert not (tmp_path / "new").exists()
