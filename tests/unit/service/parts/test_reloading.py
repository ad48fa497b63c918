"""Another configuration by a client's request: in force when it is answered, or nothing has changed."""

from pathlib import Path

import pytest
from google.protobuf import text_format

from service import protocol
from service.config.config_source import ConfigSource
from service.engine.local.engine import LocalEngine
from service.errors import DeadlineExceeded, NotFound, SettingsError, Unavailable
from service.interface import ModelSpec
from service.parts.reloading import Reload, make_reload
from tests.unit.service.engine.versions import LONG_S, Loader, publish, serving


def message(text: str) -> object:
    return text_format.Parse(text, protocol.model_server_config_pb2.ModelServerConfig())


def listing(*names: str, folder: str | None = None) -> object:
    entries = " ".join(f'config {{ name: "{name}" base_path: "{folder or name}" }}' for name in names)
    return message(f"model_config_list {{ {entries} }}")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    store = tmp_path / "store"
    for model in ("a", "b"):
        store.mkdir(exist_ok=True)
        publish(store, model)
    return store


@pytest.fixture
def reload(engine: LocalEngine, store: Path) -> Reload:
    return make_reload(ConfigSource(store, override=store.with_name("override")), engine, store)


def test_it_is_in_force_when_it_returns(engine: LocalEngine, reload: Reload) -> None:
    reload(listing("c", folder="a"), LONG_S)
    assert list(engine.status().models) == ["c"]
    assert serving(engine, ModelSpec("c")) == 1
    reload(listing("a", "b"), LONG_S)
    assert list(engine.status().models) == ["a", "b"]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (listing("a", "a"), SettingsError),
        (listing("nowhere"), NotFound),
        (listing("a", folder="x" * 5000), NotFound),
        (listing("a", folder="\\000"), NotFound),
        (message("custom_model_config { }"), SettingsError),
    ],
)
def test_what_is_wrong_changes_nothing(
    engine: LocalEngine, reload: Reload, wrong: object, error: type[Exception]
) -> None:
    with pytest.raises(error):
        reload(wrong, LONG_S)
    assert engine.settle(LONG_S)
    assert list(engine.status().models) == ["a", "b"]


def test_a_model_that_does_not_load_is_told_and_the_others_serve(
    engine: LocalEngine, reload: Reload, store: Path
) -> None:
    publish(store, "bad", b"broken")
    with pytest.raises(Unavailable, match=r"bad could not be loaded: .*is broken"):
        reload(listing("a", "bad"), LONG_S)
    assert serving(engine, ModelSpec("a")) == 1


def test_a_label_that_can_not_move_is_told(engine: LocalEngine, reload: Reload, store: Path) -> None:
    def labelled(version: int) -> object:
        policy = "model_version_policy { specific { versions: 1 } }"
        label = f'version_labels {{ key: "stable" value: {version} }}'
        return message(f'model_config_list {{ config {{ name: "a" base_path: "a" {policy} {label} }} }}')

    stable = ModelSpec("a", label="stable")
    reload(labelled(1), LONG_S)
    assert publish(store, "a", b"broken") == 2
    for version, why in ((2, "a/2 is broken"), (9, "it is not in the store")):
        with pytest.raises(Unavailable, match=rf"stable of a stays at version 1; version {version} .*: {why}"):
            reload(labelled(version), LONG_S)
        assert serving(engine, stable) == 1
    publish(store, "a")
    reload(labelled(3), LONG_S)
    assert serving(engine, stable) == 3


def test_the_wait_has_an_end(engine: LocalEngine, reload: Reload, loader: Loader, store: Path) -> None:
    publish(store, "slow")
    loader.may_load.clear()
    with pytest.raises(DeadlineExceeded, match="not everything was loaded"):
        reload(listing("a", "slow"), 0.05)
    loader.may_load.set()
    assert engine.settle(LONG_S)
    assert serving(engine, ModelSpec("slow")) == 1
