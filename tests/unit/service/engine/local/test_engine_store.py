"""The local engine over a store in trouble: what serves goes on serving, and the log says so once."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service import store
from service.config.config_source import ConfigSource
from service.config.model_config import ModelConfig, Specific
from service.engine.local import engine as local
from service.engine.local import folders
from service.engine.local.engine import LocalEngine
from service.errors import NotFound, Unavailable
from service.interface import ModelSpec, State
from tests.unit.service.engine.versions import POLL_S, Loader, publish, serving, settle, states, until


def test_a_half_copied_version_is_skipped_with_one_line_and_loaded_when_it_is_whole(
    engine: LocalEngine, loader: Loader, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish(folder)
    (folder / "m" / "2" / "variables").mkdir(parents=True)
    engine.start()
    until(lambda: engine.status().ready)
    settle(engine)
    settle(engine)
    assert serving(engine) == 1
    assert loader.tried == [("m", 1)]
    assert caplog.text.count(f"{folder / 'm' / '2'} has no saved_model.pb and is skipped") == 1
    (folder / "m" / "2" / store.SAVED_MODEL).write_bytes(b"fine")
    until(lambda: states(engine) == {2: State.AVAILABLE})


def test_a_version_in_which_files_still_change_is_left_alone(
    engine: LocalEngine,
    loader: Loader,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(folders, "QUIET_S", 3600.0)
    publish(folder)
    engine.start()
    settle(engine)
    assert loader.tried == []
    assert "holds no version" not in caplog.text  # it holds one, which is not ready yet
    assert not engine.status().ready
    assert engine.is_loading  # as it is about to be loaded
    monkeypatch.setattr(folders, "QUIET_S", 0.0)
    until(lambda: engine.status().ready)


def test_a_version_that_never_comes_to_rest_does_not_hold_up_the_others(
    engine: LocalEngine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "QUIET_S", 3600.0)
    monkeypatch.setattr(local, "_YOUNG_S", 0.0)
    publish(folder)
    engine.start()
    until(lambda: not engine.is_loading)
    assert not engine.status().ready


def test_a_clock_that_runs_behind_delays_a_version_and_no_more(
    engine: LocalEngine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a network disk the files may be from the future for ever; what counts then is that they stay the same."""
    monkeypatch.setattr(folders, "QUIET_S", 0.05)
    monkeypatch.setattr(local.time, "time", lambda: 0.0)
    publish(folder)
    engine.start()
    until(lambda: engine.status().ready)


def test_a_store_that_is_gone_for_a_while_costs_nobody_an_answer(
    engine: LocalEngine, loader: Loader, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish(folder, "m")
    publish(folder, "n")
    engine.start()
    until(lambda: engine.status().ready)
    folder.rename(folder.with_name("away"))
    until(lambda: "There is no store" in caplog.text)
    settle(engine)
    assert serving(engine, ModelSpec("m")) == serving(engine, ModelSpec("n")) == 1
    assert engine.status().ready
    assert caplog.text.count("There is no store") == 1
    folder.with_name("away").rename(folder)
    publish(folder, "m")
    until(lambda: states(engine) == {2: State.AVAILABLE})
    assert not loader.loaded["n", 1].closed


def test_a_disk_that_is_unmounted_unloads_nothing(
    engine: LocalEngine, loader: Loader, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An unmounted disk leaves an empty folder behind."""
    publish(folder, "m")
    publish(folder, "n")
    engine.start()
    until(lambda: engine.status().ready)
    folder.rename(folder.with_name("away"))
    folder.mkdir()
    until(lambda: "no longer contains a model; the loaded versions keep serving" in caplog.text)
    settle(engine)
    assert states(engine, "m") == states(engine, "n") == {1: State.AVAILABLE}
    assert not any(each.closed for each in loader.loaded.values())
    folder.rmdir()
    folder.with_name("away").rename(folder)
    publish(folder, "m")
    until(lambda: states(engine) == {2: State.AVAILABLE})


def test_a_model_whose_folder_is_emptied_goes_on_serving(engine: LocalEngine, folder: Path) -> None:
    publish(folder, "m")
    publish(folder, "n")
    engine.start()
    until(lambda: engine.status().ready)
    shutil.rmtree(folder / "m" / "1")
    settle(engine)
    assert serving(engine) == 1
    assert publish(folder) == 1  # the number is free again, and what is loaded bears it
    settle(engine)
    assert serving(engine) == 1


def test_a_model_whose_folder_is_deleted_is_unloaded(engine: LocalEngine, loader: Loader, folder: Path) -> None:
    publish(folder, "m")
    publish(folder, "n")
    engine.start()
    until(lambda: engine.status().ready)
    shutil.rmtree(folder / "m")
    until(lambda: loader.loaded["m", 1].closed)
    until(lambda: "m" not in engine.status().models)
    with pytest.raises(NotFound):
        serving(engine)
    assert serving(engine, ModelSpec("n")) == 1


def test_a_model_that_can_not_be_read_keeps_no_other_from_being_served(
    engine: LocalEngine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(folder, "m")
    engine.start()
    until(lambda: engine.status().ready)
    iterdir = Path.iterdir

    def refuse(path: Path) -> Iterator[Path]:
        if path.name == "m":
            raise PermissionError(13, "Permission denied")
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    publish(folder, "n")
    until(lambda: states(engine, "n") == {1: State.AVAILABLE})
    assert serving(engine) == 1


def test_a_version_with_a_dangling_link_keeps_no_other_from_being_served(
    engine: LocalEngine, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish(folder, "m")
    version = publish(folder, "m")
    (folder / "m" / str(version) / "weights").symlink_to(folder / "gone")
    engine.start()
    until(lambda: engine.status().ready)
    settle(engine)
    assert states(engine) == {1: State.AVAILABLE}
    assert caplog.text.count(f"{folder / 'm' / '2'} can't be read") == 1
    (folder / "m" / "2" / "weights").unlink()
    until(lambda: states(engine) == {2: State.AVAILABLE})


def test_an_unforeseen_error_of_the_watcher_does_not_end_it(
    engine: LocalEngine, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    publish(folder)
    survey = store.survey
    failures = iter([RuntimeError("odd")])

    def odd(path: Path) -> dict[str, store.Contents]:
        if error := next(failures, None):
            raise error
        return survey(path)

    monkeypatch.setattr(store, "survey", odd)
    engine.start()
    until(lambda: engine.status().ready)
    assert "A step of the store watcher failed; it goes on." in caplog.text


def test_close_does_not_wait_for_the_next_look(tmp_path: Path, loader: Loader) -> None:
    engine = LocalEngine(ConfigSource(tmp_path).read, loader, poll_s=3600.0)
    engine.start()
    started_s = time.monotonic()
    engine.close()
    assert time.monotonic() - started_s < 60.0


def test_a_version_is_read_from_its_folder_whatever_zeros_its_name_has(engine: LocalEngine, folder: Path) -> None:
    publish(folder)
    (folder / "m" / "1").rename(folder / "m" / "00000123")
    engine.start()
    until(lambda: engine.status().ready)
    assert serving(engine) == serving(engine, ModelSpec("m", 123)) == 123
    assert publish(folder) == 124
    until(lambda: states(engine) == {124: State.AVAILABLE})
    publish(folder, content=b"broken")
    (folder / "m" / "125").rename(folder / "m" / "0125")
    until(lambda: states(engine) == {125: State.END, 124: State.AVAILABLE})
    assert engine.status().models["m"][0].error == "m/125 is broken."
    (folder / "m" / "0125").rename(folder / "m" / "125")
    (folder / "m" / "125" / store.SAVED_MODEL).write_bytes(b"fine")
    until(lambda: states(engine) == {125: State.AVAILABLE})


def test_a_model_laid_out_wrongly_says_so_to_whoever_asks_and_keeps_no_other_from_being_ready(
    engine: LocalEngine, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish(folder, "good")
    (folder / "flat").mkdir()
    (folder / "flat" / store.SAVED_MODEL).touch()
    engine.start()
    until(lambda: engine.status().ready)
    status = engine.status()
    assert list(status.models) == ["good"]
    wrong = "contains a SavedModel itself; move its content into a folder named by the version number: flat/1."
    assert status.reasons == {"flat": f"flat {wrong}"}
    for spec in (ModelSpec("flat"), ModelSpec("flat", 1), ModelSpec("flat", label="stable")):
        with pytest.raises(NotFound, match=r"Servable not found for request: .*; flat contains a SavedModel itself; "):
            serving(engine, spec)
    settle(engine)
    assert caplog.text.count(f"{folder / 'flat'} {wrong}") == 1
    assert publish(folder, "flat") == 1
    until(lambda: states(engine, "flat") == {1: State.AVAILABLE})
    assert engine.status().reasons == {}


def test_a_base_path_that_is_itself_a_saved_model_is_version_1_and_the_log_says_so(
    folder: Path, loader: Loader, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "QUIET_S", 0.0)
    caplog.set_level("INFO")
    folder.mkdir()
    (folder / store.SAVED_MODEL).touch()
    engine = LocalEngine(lambda: [ModelConfig("m", folder)], loader, poll_s=POLL_S)
    engine.start()
    try:
        until(lambda: engine.status().ready)
        settle(engine)
        assert states(engine) == {1: State.AVAILABLE}
        assert serving(engine) == serving(engine, ModelSpec("m", 1)) == 1
        assert engine.status().reasons == {}
        said = [each.getMessage() for each in caplog.records if "is itself a SavedModel" in each.getMessage()]
        assert said == [f"{folder} is itself a SavedModel; it is served as m, version 1."]
        (folder / "2").mkdir()
        (folder / "2" / store.SAVED_MODEL).touch()
        until(lambda: states(engine) == {2: State.AVAILABLE})
    finally:
        engine.close()


def test_a_model_of_the_configuration_that_is_laid_out_wrongly_is_waited_for_and_says_so(
    folder: Path, loader: Loader
) -> None:
    (folder / "v1").mkdir(parents=True)
    (folder / "v1" / store.SAVED_MODEL).touch()
    engine = LocalEngine(lambda: [ModelConfig("m", folder)], loader, poll_s=POLL_S)
    engine.start()
    try:
        until(lambda: engine.status().reasons != {})
        assert engine.status().models == {"m": ()}
        assert not engine.status().ready
        with pytest.raises(
            Unavailable, match=r"Model m is not ready \(m/v1 contains a SavedModel and is skipped: .*\)"
        ):
            serving(engine)
        with pytest.raises(NotFound, match=r"Specific\(m, 1\); m/v1 contains a SavedModel"):
            serving(engine, ModelSpec("m", 1))
    finally:
        engine.close()


def test_a_policy_that_wants_none_of_the_versions_says_so(folder: Path, loader: Loader) -> None:
    publish(folder)
    configs = [ModelConfig("m", folder / "m", Specific(frozenset({7})))]
    engine = LocalEngine(lambda: configs, loader, poll_s=POLL_S)
    engine.start()
    try:
        until(lambda: "no version that m should serve; it holds 1." in engine.status().reasons.get("m", ""))
    finally:
        engine.close()


def test_a_version_that_can_not_be_read_is_the_models_reason(engine: LocalEngine, folder: Path) -> None:
    publish(folder, "m")
    (folder / "m" / "1" / "weights").symlink_to(folder / "gone")
    engine.start()
    until(lambda: "m" in engine.status().reasons)
    assert engine.status().reasons["m"] == "The version m/1 can't be read: No such file or directory."
    assert not engine.status().ready
