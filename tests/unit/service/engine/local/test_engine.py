"""The local engine over real folders and a fake loader: versions come and go, and answers keep coming."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service import store
from service.config.config_source import ConfigSource
from service.engine.local import engine as local
from service.engine.local.engine import LocalEngine
from service.errors import NotFound, StoreError, Unavailable
from service.interface import ModelSpec, State
from tests.unit.service.engine.versions import LONG_S, POLL_S, Loader, publish, serving, settle, states, until


def test_the_latest_version_of_every_model_is_loaded(engine: LocalEngine, loader: Loader, folder: Path) -> None:
    for model in ("m", "m", "n"):
        publish(folder, model)
    engine.start()
    until(lambda: engine.status().ready)
    assert serving(engine) == 2
    assert serving(engine, ModelSpec("n")) == 1
    assert loader.tried == [("m", 2), ("n", 1)]


def test_it_is_not_ready_before_every_model_is_loaded(engine: LocalEngine, loader: Loader, folder: Path) -> None:
    publish(folder)
    assert not engine.status().ready
    loader.may_load.clear()
    engine.start()
    until(lambda: states(engine) == {1: State.LOADING})
    assert not engine.status().ready
    for spec in (ModelSpec("m"), ModelSpec("m", 1)):
        with pytest.raises(Unavailable, match=r"m is not ready \(version 1: LOADING\); try again"):
            serving(engine, spec)
    loader.may_load.set()
    until(lambda: engine.status().ready)
    assert serving(engine, ModelSpec("m", 1)) == 1


@pytest.mark.parametrize("threads", [1, 2, 9])
def test_what_is_there_at_the_start_is_loaded_side_by_side(folder: Path, loader: Loader, threads: int) -> None:
    for model in ("a", "b", "c"):
        publish(folder, model, b"broken" if model == "b" else b"fine")
    together = min(threads, 3)
    loader.may_load.clear()
    engine = LocalEngine(ConfigSource(folder).read, loader, poll_s=POLL_S, load_threads=threads)
    try:
        engine.start()
        until(lambda: len(loader.tried) == together)
        loading = [model for model in "abc" if states(engine, model) == {1: State.LOADING}]
        assert len(loading) == together
        loader.may_load.set()
        until(
            lambda: [states(engine, model).get(1) for model in "abc"] == [State.AVAILABLE, State.END, State.AVAILABLE]
        )
        publish(folder, "b")
        until(lambda: states(engine, "b").get(2) is State.AVAILABLE)
    finally:
        loader.may_load.set()
        engine.close()


def test_the_first_loading_ends_when_everything_has_been_tried(
    engine: LocalEngine, loader: Loader, folder: Path
) -> None:
    publish(folder, "a", b"broken")
    publish(folder, "b")
    loader.may_load.clear()
    assert engine.is_loading
    engine.start()
    until(lambda: loader.tried != [])
    assert engine.is_loading
    loader.may_load.set()
    until(lambda: not engine.is_loading)
    assert states(engine, "a") == {1: State.END}
    assert states(engine, "b") == {1: State.AVAILABLE}
    loader.may_load.clear()
    publish(folder, "b")
    until(lambda: states(engine, "b").get(2) is State.LOADING)
    assert not engine.is_loading  # there is a first time only


def test_an_empty_store_is_not_ready_and_a_model_that_comes_later_is_served(engine: LocalEngine, folder: Path) -> None:
    with pytest.raises(Unavailable, match="The service is starting; try again"):
        serving(engine)
    engine.start()
    settle(engine)
    with pytest.raises(NotFound):
        serving(engine)
    assert not engine.status().ready
    publish(folder)
    until(lambda: engine.status().ready)
    assert serving(engine) == 1


def test_a_new_version_takes_over_and_no_answer_is_lost(engine: LocalEngine, loader: Loader, folder: Path) -> None:
    publish(folder)
    engine.start()
    until(lambda: engine.status().ready)
    stop = threading.Event()

    def ask() -> list[int]:
        answered = []
        while not stop.is_set():
            answered.append(serving(engine))
        return answered

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        for version in range(2, 6):
            assert publish(folder) == version
            until(lambda version=version: states(engine) == {version: State.AVAILABLE})  # type: ignore[misc]
        stop.set()
        answered = [future.result(LONG_S) for future in asking]
    assert all(each == sorted(each) and each[-1] == 5 for each in answered)
    assert [each.closed for each in loader.loaded.values()] == [True, True, True, True, False]


def test_a_version_that_is_still_in_use_is_closed_only_afterwards(
    engine: LocalEngine, loader: Loader, folder: Path
) -> None:
    publish(folder)
    engine.start()
    until(lambda: engine.status().ready)
    with engine.lease(ModelSpec("m")) as old:
        publish(folder)
        until(lambda: states(engine) == {1: State.UNLOADING, 2: State.AVAILABLE})
        assert serving(engine) == 2
        with pytest.raises(NotFound, match="available: 2"):
            serving(engine, ModelSpec("m", 1))
        assert old.version == 1
        assert not loader.loaded["m", 1].closed
    until(lambda: loader.loaded["m", 1].closed)
    until(lambda: states(engine) == {2: State.AVAILABLE})


def test_a_use_that_never_ends_does_not_hold_up_the_versions_for_ever(
    engine: LocalEngine, loader: Loader, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(local, "DRAIN_S", 0.01)
    publish(folder)
    engine.start()
    until(lambda: engine.status().ready)
    with engine.lease(ModelSpec("m")):
        publish(folder)
        until(lambda: states(engine) == {2: State.AVAILABLE})
    assert loader.loaded["m", 1].closed
    assert "m version 1 is unloaded although 1 requests still use it" in caplog.text


@pytest.mark.parametrize(("content", "error"), [(b"broken", "is broken."), (b"odd", "can't be loaded: something odd")])
def test_a_version_that_fails_leaves_the_old_one_serving(
    engine: LocalEngine, loader: Loader, folder: Path, content: bytes, error: str
) -> None:
    publish(folder)
    engine.start()
    until(lambda: engine.status().ready)
    publish(folder, content=content)
    until(lambda: states(engine) == {2: State.END, 1: State.AVAILABLE})
    settle(engine)
    newest, old = engine.status().models["m"]
    assert newest.error == f"m/2 {error}"  # where the store lies is for the log
    assert old.error == ""
    assert engine.status().ready
    assert serving(engine) == 1
    assert loader.tried.count(("m", 2)) == 1
    with pytest.raises(NotFound, match=r"Specific\(m, 2\) \(.*\); available: 1"):
        serving(engine, ModelSpec("m", 2))


def test_a_failed_version_is_tried_again_when_its_files_change(
    engine: LocalEngine, loader: Loader, folder: Path
) -> None:
    publish(folder)
    publish(folder, content=b"broken")
    engine.start()
    until(lambda: states(engine) == {2: State.END, 1: State.AVAILABLE})
    (folder / "m" / "2" / store.SAVED_MODEL).write_bytes(b"mended")
    until(lambda: states(engine) == {2: State.AVAILABLE})
    assert serving(engine) == 2
    assert loader.loaded["m", 1].closed


def test_at_start_the_version_before_a_broken_one_is_served(engine: LocalEngine, loader: Loader, folder: Path) -> None:
    for content in (b"fine", b"fine", b"broken", b"broken"):
        publish(folder, content=content)
    engine.start()
    until(lambda: engine.status().ready)
    settle(engine)
    assert serving(engine) == 2
    assert loader.tried == [("m", 4), ("m", 3), ("m", 2)]
    assert states(engine) == {4: State.END, 3: State.END, 2: State.AVAILABLE}


def test_a_model_all_of_whose_versions_fail_is_not_ready_and_says_why(engine: LocalEngine, folder: Path) -> None:
    publish(folder, content=b"broken")
    engine.start()
    until(lambda: states(engine) == {1: State.END})
    assert not engine.status().ready
    with pytest.raises(Unavailable, match=r"version 1: .* is broken"):
        serving(engine)


def test_a_failed_version_that_is_deleted_is_forgotten(engine: LocalEngine, folder: Path) -> None:
    publish(folder)
    publish(folder, content=b"broken")
    engine.start()
    until(lambda: states(engine) == {2: State.END, 1: State.AVAILABLE})
    shutil.rmtree(folder / "m" / "2")
    until(lambda: states(engine) == {1: State.AVAILABLE})


def test_deleting_the_latest_version_rolls_back(engine: LocalEngine, folder: Path) -> None:
    publish(folder)
    publish(folder)
    engine.start()
    until(lambda: states(engine) == {2: State.AVAILABLE})
    shutil.rmtree(folder / "m" / "2")
    until(lambda: states(engine) == {1: State.AVAILABLE})
    assert serving(engine) == 1


def test_what_is_asked_for_and_is_not_there_is_not_found(engine: LocalEngine, folder: Path) -> None:
    publish(folder)
    engine.start()
    until(lambda: engine.status().ready)
    with pytest.raises(NotFound, match=r"Servable not found for request: Latest\(x\)"):
        serving(engine, ModelSpec("x"))
    with pytest.raises(NotFound, match=r"Latest\(M\); did you mean m\? GET"):
        serving(engine, ModelSpec("M"))
    with pytest.raises(NotFound, match=r"Specific\(m, 9\); available: 1"):
        serving(engine, ModelSpec("m", 9))
    with pytest.raises(NotFound, match=r"label: stable"):
        serving(engine, ModelSpec("m", label="stable"))


def test_close_unloads_everything_and_refuses_what_comes_after(
    engine: LocalEngine, loader: Loader, folder: Path
) -> None:
    publish(folder, "m")
    publish(folder, "n")
    engine.start()
    until(lambda: engine.status().ready)
    closer = threading.Thread(target=engine.close)
    with engine.lease(ModelSpec("m")):
        closer.start()
        until(lambda: states(engine) == {1: State.UNLOADING})
        assert not loader.loaded["m", 1].closed
    closer.join(LONG_S)
    assert all(each.closed for each in loader.loaded.values())
    with pytest.raises(Unavailable):
        serving(engine)
    engine.close()  # once more does no harm


def test_an_engine_that_was_never_started_can_be_closed(engine: LocalEngine) -> None:
    engine.close()
    with pytest.raises(Unavailable):
        serving(engine)


def test_a_store_that_can_not_be_read_at_first_is_read_later(
    engine: LocalEngine, folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(folder)
    broken = threading.Event()
    broken.set()
    check = store.check

    def refuse(path: Path) -> None:
        if broken.is_set():
            raise StoreError("The disk hiccups.")
        check(path)

    monkeypatch.setattr(store, "check", refuse)
    engine.start()
    until(lambda: "The disk hiccups." in caplog.text)
    broken.clear()
    until(lambda: engine.status().ready)
    assert caplog.text.count("The disk hiccups.") == 1
