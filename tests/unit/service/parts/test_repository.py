"""Models loaded and unloaded by name: in force when it returns, and nothing changed by what is wrong."""

import threading
from pathlib import Path

import pytest

from service.config.config_source import ConfigSource
from service.engine.local.engine import LocalEngine
from service.errors import DeadlineExceeded, InvalidRequest, NotFound, StoreError, Unavailable, Unsupported
from service.interface import ModelSpec
from service.oip import repository as rules
from service.parts.repository import LocalRepository
from tests.unit.service.engine.versions import LONG_S, Loader, publish, serving, until


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Named as people name it: relative to where they are."""
    monkeypatch.chdir(tmp_path)
    for model in ("a", "b"):
        Path("store").mkdir(exist_ok=True)
        publish(Path("store"), model)
    return Path("store")


@pytest.fixture
def repository(engine: LocalEngine, store: Path) -> LocalRepository:
    return LocalRepository(ConfigSource(store, override=store.with_name("override")), ConfigSource(store), engine)


def test_it_is_in_force_when_it_returns(engine: LocalEngine, repository: LocalRepository) -> None:
    repository.unload("a", LONG_S)
    assert list(engine.status().models) == ["b"]
    assert list(repository.unloaded()) == ["a"]
    repository.unload("a", LONG_S)  # it is as it should be
    repository.load("a", LONG_S)
    assert serving(engine, ModelSpec("a")) == 1
    assert list(repository.unloaded()) == []


def test_all_may_go_and_come_back(engine: LocalEngine, repository: LocalRepository) -> None:
    for name in ("a", "b"):
        repository.unload(name, LONG_S)
    assert engine.status().models == {}
    repository.load("b", LONG_S)
    assert list(engine.status().models) == ["b"]


def test_a_load_looks_for_new_versions(engine: LocalEngine, repository: LocalRepository, store: Path) -> None:
    publish(store, "a")
    repository.load("a", LONG_S)
    assert serving(engine, ModelSpec("a")) == 2


def test_what_there_is_not_changes_nothing(engine: LocalEngine, repository: LocalRepository) -> None:
    with pytest.raises(NotFound, match="failed to load 'c', "):
        repository.load("c", LONG_S)
    with pytest.raises(NotFound, match="failed to unload 'c', "):
        repository.unload("c", LONG_S)
    assert list(engine.status().models) == ["a", "b"]


def test_what_can_t_be_loaded_in_time_is_told(engine: LocalEngine, repository: LocalRepository, loader: Loader) -> None:
    repository.unload("a", LONG_S)
    loader.may_load.clear()
    with pytest.raises(DeadlineExceeded, match="failed to load 'a'"):
        repository.load("a", 0.05)
    loader.may_load.set()
    until(lambda: "a" in engine.status().models)


def test_changes_at_the_same_time_are_all_kept(engine: LocalEngine, repository: LocalRepository, store: Path) -> None:
    for number in range(6):
        publish(store, f"m{number}")
    repository.load("m0", LONG_S)
    threads = [
        threading.Thread(target=repository.unload, args=(f"m{number}", LONG_S), name=f"unload {number}")
        for number in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_S)
    assert list(engine.status().models) == ["a", "b"]


def test_what_can_t_be_kept_is_told_without_a_path(
    repository: LocalRepository, engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StoreError("/secret/place is full")

    monkeypatch.setattr(ConfigSource, "replace", fail)
    with pytest.raises(Unavailable) as caught:
        repository.unload("a", LONG_S)
    assert "/secret" not in str(caught.value)
    assert list(engine.status().models) == ["a", "b"]


def test_what_a_client_may_not_bring() -> None:
    for parameters, name in (
        ({"config": "{}"}, ""),
        ({"file:1/model.pb": b"x"}, ""),
        ({"unload_dependents": True}, ""),
        ({}, "elsewhere"),
    ):
        with pytest.raises(InvalidRequest):
            rules.check(parameters, name)
    rules.check({"unload_dependents": False, "other": 1})
    with pytest.raises(Unsupported):
        rules.of_this_service(None)
