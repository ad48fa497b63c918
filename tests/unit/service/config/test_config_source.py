"""Where the list of models comes from, and what changes it while serving."""

import os
from pathlib import Path

import pytest

from service.config.config_source import ConfigSource, check, from_settings, write_atomically
from service.config.model_config import ModelConfig
from service.config.settings import Settings
from service.errors import SettingsError, StoreError


def model(store: Path, name: str) -> ModelConfig:
    """A model with one version in the store."""
    (store / name / "1").mkdir(parents=True)
    (store / name / "1" / "saved_model.pb").touch()
    return ModelConfig(name, store / name)


def entry(name: str, folder: str = "m") -> str:
    return f'config {{ name: "{name}" base_path: "{folder}" }}'


def write(path: Path, *entries: str) -> None:
    """Write a configuration that is surely newer than whatever was written before."""
    path.write_text("model_config_list { " + " ".join(entries) + " }")
    write.clock += 1_000_000_000  # type: ignore[attr-defined]
    os.utime(path, ns=(write.clock, write.clock))  # type: ignore[attr-defined]


write.clock = 1_700_000_000_000_000_000  # type: ignore[attr-defined]


def names(source: ConfigSource) -> list[str]:
    return [config.name for config in source.read()]


def test_without_a_file_every_model_of_the_store_is_served(tmp_path: Path) -> None:
    expected = (model(tmp_path, "a"), model(tmp_path, "b"))
    (tmp_path / "notes").mkdir()
    assert ConfigSource(tmp_path).read() == expected


def test_the_stores_own_file_says_what_is_served_and_is_read_again_when_it_changes(tmp_path: Path) -> None:
    model(tmp_path, "m")
    source = ConfigSource(tmp_path)
    assert names(source) == ["m"]
    write(tmp_path / "models.config", entry("x"), entry("y"))
    assert names(source) == ["x", "y"]
    write(tmp_path / "models.config", entry("z"))
    assert names(source) == ["z"]
    (tmp_path / "models.config").unlink()
    assert names(source) == ["m"]


def test_a_file_given_by_a_flag_must_be_there(tmp_path: Path) -> None:
    model(tmp_path, "m")
    with pytest.raises(SettingsError, match=r"nowhere.config can't be read"):
        ConfigSource(tmp_path, tmp_path / "nowhere.config").read()


def test_a_file_that_is_not_polled_is_read_once(tmp_path: Path) -> None:
    file = tmp_path / "f.config"
    write(file, entry("x"))
    source = ConfigSource(tmp_path, file, rereads=False)
    assert names(source) == ["x"]
    write(file, entry("y"))
    assert names(source) == ["x"]


def test_an_error_is_told_each_time_until_it_is_mended(tmp_path: Path) -> None:
    file = tmp_path / "f.config"
    write(file, entry("x"))
    source = ConfigSource(tmp_path, file)
    source.read()
    write(file, "config {")
    for _ in range(2):
        with pytest.raises(SettingsError, match=r"f\.config"):
            source.read()
    write(file, entry("y"))
    assert names(source) == ["y"]


def test_what_a_client_put_in_place_holds_in_every_process_until_the_file_changes(tmp_path: Path) -> None:
    file, override = tmp_path / "f.config", tmp_path / "override"
    write(file, entry("x"))
    source, other = (ConfigSource(tmp_path, file, override=override) for _ in range(2))
    assert names(source) == ["x"]
    source.replace([ModelConfig("y", tmp_path / "m")])
    assert names(source) == names(other) == ["y"]
    assert other.read()[0].base_path == tmp_path / "m"
    later = override.stat().st_mtime_ns + 1_000_000  # clocks of file systems tick slowly
    os.utime(file, ns=(later, later))  # a rewrite, also of the same text
    assert names(source) == names(other) == ["x"]


def test_a_service_of_one_model_takes_no_notice_of_the_stores_file(tmp_path: Path) -> None:
    write(tmp_path / "models.config", entry("x"))
    assert names(ConfigSource(tmp_path, single=ModelConfig("one", tmp_path))) == ["one"]


def test_a_store_that_is_suddenly_empty_is_an_error_not_an_empty_list(tmp_path: Path) -> None:
    model(tmp_path, "m")
    source = ConfigSource(tmp_path)
    source.read()
    (tmp_path / "m").rename(tmp_path / ".hidden")
    with pytest.raises(StoreError, match="keep serving"):
        source.read()


def test_a_folder_laid_out_wrongly_is_listed_and_readiness_does_not_need_it(tmp_path: Path) -> None:
    whole = model(tmp_path, "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "saved_model.pb").touch()
    source = ConfigSource(tmp_path)
    assert source.read() == (whole, ModelConfig("b", tmp_path / "b", required=False))
    (tmp_path / "b" / "saved_model.pb").unlink()
    assert names(source) == ["a"]
    (tmp_path / "b").rmdir()
    model(tmp_path, "b")
    assert source.read() == (whole, ModelConfig("b", tmp_path / "b"))


def test_where_every_folder_is_laid_out_wrongly_the_start_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "saved_model.pb").touch()
    with pytest.raises(StoreError, match=r"no model to serve .*/b contains a SavedModel itself; .*: b/1\."):
        check(ConfigSource(tmp_path))


def test_flags_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="set only one"):
        from_settings(Settings(model_config_file=tmp_path / "f", model_base_path=tmp_path))


def test_before_the_start_a_missing_folder_is_told(tmp_path: Path) -> None:
    write(tmp_path / "models.config", entry("x", "nowhere"))
    with pytest.raises(StoreError, match="nowhere"):
        check(ConfigSource(tmp_path))
    check(ConfigSource(tmp_path, single=ModelConfig("one", tmp_path)))


def test_writing_keeps_the_files_mode_and_leaves_nothing_behind(tmp_path: Path) -> None:
    file = tmp_path / "f"
    write_atomically(file, "one")
    file.chmod(0o640)
    write_atomically(file, "two")
    assert file.read_text() == "two"
    assert file.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    with pytest.raises(StoreError, match="can't be written"):
        write_atomically(tmp_path / "missing" / "f", "three")


def test_a_folder_whose_name_no_request_can_say_is_left_out_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in (b"good", b"lat\xe9in"):
        version = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name, b"1")))  # noqa: PTH118 - bytes
        version.mkdir(parents=True)
        (version / "saved_model.pb").write_bytes(b"x")
    source = ConfigSource(tmp_path)
    for _ in range(2):
        assert [config.name for config in source.read()] == ["good"]
    assert len(caplog.records) == 1
    assert "its name is not UTF-8; rename it" in caplog.text
