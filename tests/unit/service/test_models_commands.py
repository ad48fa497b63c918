"""`signpost models`: what each command changes, refuses and prints."""

import json
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service.cli import main
from service.config_edit import ConfigFile, with_label
from service.model_config import Latest, Specific


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with versions 1 to 3 of `m`, the second with a card, and version 1 of `n`."""
    for version in ("m/1", "m/2", "m/3", "n/1"):
        (tmp_path / version / "assets.extra").mkdir(parents=True)
        (tmp_path / version / "saved_model.pb").touch()
    card = {"created": "2026-01-02T03:04:05+00:00", "metrics": {"test": {"accuracy": 0.9876, "images": 2500}}}
    (tmp_path / "m/2/assets.extra/model_card.json").write_text(json.dumps(card))
    return tmp_path


def run(store: Path, *arguments: str, code: int = 0) -> Result:
    done = CliRunner().invoke(main, ["models", "--store", str(store), *arguments])
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done


def listed(store: Path) -> dict[tuple[str, int], tuple[str, list[str]]]:
    rows = json.loads(run(store, "list", "--json").output)
    return {(row["model"], row["version"]): (row["serves"], row["labels"]) for row in rows}


def test_list_shows_versions_labels_and_measured_accuracy(store: Path) -> None:
    run(store, "label", "m", "stable", "2")
    shown = run(store, "list").output
    assert "0.9876 of 2,500" in shown
    assert "2026-01-02" in shown
    assert listed(store) == {
        ("m", 3): ("default", []),
        ("m", 2): ("wanted", ["stable"]),
        ("m", 1): ("", []),
        ("n", 1): ("default", []),
    }


def test_the_first_change_writes_a_file_that_lists_every_model(store: Path) -> None:
    run(store, "label", "m", "canary", "3")
    assert [config.name for config in ConfigFile(store).read()] == ["m", "n"]
    run(store, "label", "m", "canary", "--delete")
    assert ConfigFile(store).model("m").labels == {}


def test_rollback_goes_one_version_down_each_time_and_takes_stable_along(store: Path) -> None:
    run(store, "label", "m", "stable", "3")
    run(store, "label", "m", "canary", "3")
    assert "serves version 2 instead of 3" in run(store, "rollback", "m").output
    config = ConfigFile(store).model("m")
    assert config.policy == Specific(frozenset({2}))
    assert config.labels == {"stable": 2, "canary": 3}
    run(store, "rollback", "m")
    assert "no version below 1" in run(store, "rollback", "m", code=2).output
    assert "now 3" in run(store, "latest", "m").output
    assert ConfigFile(store).model("m").policy == Latest()
    run(store, "rollback", "m", "--to", "1")
    assert listed(store)["m", 1] == ("default", ["stable"])


def test_remove_deletes_only_what_nobody_needs(store: Path) -> None:
    run(store, "label", "m", "stable", "2")
    assert "points at version 2" in run(store, "remove", "m", "2", code=2).output
    assert "is the one that serves" in run(store, "remove", "m", "3", code=2).output
    run(store, "remove", "m", "1")
    assert sorted(path.name for path in (store / "m").iterdir()) == ["2", "3"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["label", "x", "a", "1"], "There is no model x; there are m, n."),
        (["label", "m", "a", "9"], "no version 9"),
        (["label", "m", "a/b", "1"], "no name for a label"),
        (["label", "m", "a"], "either a version"),
        (["label", "m", "a", "1", "--delete"], "either a version"),
        (["label", "m", "a", "--delete"], "has no label a"),
        (["rollback", "n"], "no version below 1"),
        (["rollback", "m", "--to", "7"], "no version 7"),
        (["remove", "m", "7"], "no version 7"),
        (["verify", "m/x"], "'x' is no version"),
        (["verify", "m/7"], "is missing or has no saved_model.pb"),
    ],
)
def test_what_can_not_be_done_is_one_sentence_and_changes_nothing(store: Path, arguments: list[str], says: str) -> None:
    assert says in run(store, *arguments, code=2).output
    assert not (store / "models.config").exists()


def test_a_file_with_comments_is_kept_beside(store: Path) -> None:
    before = '# ours\nmodel_config_list { config { name: "m" base_path: "m" } }\n'
    (store / "models.config").write_text(before)
    run(store, "label", "m", "stable", "1")
    assert (store / "models.config.before").read_text() == before


def test_changes_at_the_same_time_all_take_effect(store: Path) -> None:
    def change(number: int) -> None:
        ConfigFile(store).change("m", lambda config: with_label(config, f"label-{number}", 1))

    threads = [threading.Thread(target=change, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(ConfigFile(store).model("m").labels) == 12
