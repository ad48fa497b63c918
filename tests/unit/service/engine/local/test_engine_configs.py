"""The local engine under a configuration: policies, labels, and configurations that change or are wrong."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.config.model_config import All, Latest, ModelConfig, Specific
from service.engine.local import folders
from service.engine.local.engine import LocalEngine
from service.errors import NotFound, SettingsError
from service.interface import ModelSpec, State
from tests.unit.service.engine.versions import POLL_S, Loader, publish, serving, settle, states, until

AVAILABLE = State.AVAILABLE


class Configs:
    """What the engine is told to serve; a test changes it."""

    def __init__(self, *configs: ModelConfig) -> None:
        self.now: tuple[ModelConfig, ...] | SettingsError = configs

    def __call__(self) -> tuple[ModelConfig, ...]:
        if isinstance(self.now, SettingsError):
            raise self.now
        return self.now


@pytest.fixture
def configs(folder: Path) -> Configs:
    return Configs(ModelConfig("m", folder / "m"))


@pytest.fixture
def engine(folder: Path, configs: Configs, loader: Loader, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalEngine]:
    monkeypatch.setattr(folders, "QUIET_S", 0.0)
    folder.mkdir()
    for _ in range(3):
        publish(folder)
    engine = LocalEngine(configs, loader, poll_s=POLL_S)
    engine.start()
    yield engine
    loader.may_load.set()
    engine.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.mark.parametrize(
    ("config", "loaded"),
    [
        ({"policy": Latest()}, {3}),
        ({"policy": Latest(2)}, {2, 3}),
        ({"policy": All()}, {1, 2, 3}),
        ({"policy": Specific(frozenset({1, 3}))}, {1, 3}),
        ({"labels": {"stable": 1}}, {1, 3}),
    ],
)
def test_the_versions_of_the_policy_and_those_with_a_label_are_loaded(
    engine: LocalEngine, configs: Configs, folder: Path, config: dict[str, object], loaded: set[int]
) -> None:
    configs.now = (ModelConfig("m", folder / "m", **config),)  # type: ignore[arg-type]
    until(lambda: states(engine) == dict.fromkeys(loaded, AVAILABLE))
    assert serving(engine) == 3


def test_a_label_leads_to_its_version_and_moves(engine: LocalEngine, configs: Configs, folder: Path) -> None:
    configs.now = (ModelConfig("m", folder / "m", labels={"stable": 1}),)
    until(lambda: states(engine) == {1: AVAILABLE, 3: AVAILABLE})
    assert serving(engine, ModelSpec("m", label="stable")) == 1
    configs.now = (ModelConfig("m", folder / "m", labels={"stable": 2}),)
    until(lambda: states(engine) == {2: AVAILABLE, 3: AVAILABLE})
    assert serving(engine, ModelSpec("m", label="stable")) == 2
    with pytest.raises(NotFound, match="Unrecognized servable version label: canary; the model's labels: stable = 2"):
        serving(engine, ModelSpec("m", label="canary"))


def test_after_a_roll_back_the_higher_version_answers_only_by_its_label(
    engine: LocalEngine, configs: Configs, folder: Path
) -> None:
    until(lambda: states(engine) == {3: AVAILABLE})
    configs.now = (ModelConfig("m", folder / "m", Specific(frozenset({1})), {"canary": 3}),)
    until(lambda: states(engine) == {1: AVAILABLE, 3: AVAILABLE})
    assert serving(engine) == 1
    assert serving(engine, ModelSpec("m", label="canary")) == 3


def test_while_a_roll_back_loads_the_version_it_replaces_still_answers(
    engine: LocalEngine, configs: Configs, loader: Loader, folder: Path
) -> None:
    until(lambda: states(engine) == {3: AVAILABLE})
    loader.may_load.clear()
    configs.now = (ModelConfig("m", folder / "m", Specific(frozenset({2}))),)
    until(lambda: states(engine) == {2: State.LOADING, 3: AVAILABLE})
    assert serving(engine) == 3
    loader.may_load.set()
    until(lambda: states(engine) == {2: AVAILABLE})
    assert serving(engine) == 2


def test_a_configuration_with_an_error_changes_nothing_and_says_what_is_wrong(
    engine: LocalEngine, configs: Configs, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    until(lambda: states(engine) == {3: AVAILABLE})
    configs.now = SettingsError("models.config: it is wrong.")
    until(lambda: "models.config: it is wrong." in caplog.text)
    assert serving(engine) == 3
    configs.now = (ModelConfig("m", folder / "m", Specific(frozenset({2}))),)
    until(lambda: states(engine) == {2: AVAILABLE})


def test_models_come_and_go_with_the_configuration(engine: LocalEngine, configs: Configs, folder: Path) -> None:
    publish(folder, "n")
    configs.now = (ModelConfig("other", folder / "n"),)
    until(lambda: states(engine, "other") == {1: AVAILABLE} and states(engine) == {})
    with pytest.raises(NotFound):
        serving(engine)
    assert serving(engine, ModelSpec("other")) == 1


def test_a_configured_model_without_a_version_makes_the_service_not_ready(
    engine: LocalEngine, configs: Configs, folder: Path
) -> None:
    configs.now = (ModelConfig("m", folder / "m"), ModelConfig("n", folder / "n"))
    until(lambda: "n" in engine.status().models)
    assert not engine.status().ready
    settle(engine)
    publish(folder, "n")
    until(lambda: engine.status().ready)
