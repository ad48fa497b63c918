"""The quality gate: when a new version counts as worse."""

import json
from pathlib import Path
from typing import Any

import pytest

from service import store
from service.config.config_edit import ConfigFile, with_label
from training.loop.evaluate import interval
from training.output.card import facts_in_words
from training.output.gate import card_before, compare, how_to_serve, move_stable, stable_version

pytestmark = pytest.mark.slow  # TensorFlow


def card(correct: int, fingerprint: str = "same") -> dict[str, Any]:
    test = {"accuracy": correct / 1000, "accuracy_interval_95": list(interval(correct, 1000))}
    return {"metrics": {"test": test}, "data": {"test": {"fingerprint": fingerprint}}}


@pytest.mark.parametrize(
    ("new", "old", "passed", "compared_with", "says"),
    [
        (card(950), None, True, None, ""),
        (card(950), (3, card(940)), True, 3, "reached 0.9400"),
        (card(950), (3, card(955)), True, 3, "reached 0.9550"),
        (card(900), (3, card(955)), False, 3, "Worse than version 3"),
        (card(900), (3, card(955, "other")), True, None, "other images"),
        (card(900), (3, {"name": "by hand"}), True, None, "no test accuracy"),
        (card(950) | {"int8": card(900)}, (3, card(955)), False, 3, "Worse than version 3"),
        (card(900) | {"int8": card(950)}, (3, card(955)), False, 3, "Worse than version 3"),
        (card(950) | {"int8": card(948)}, (3, card(955)), True, 3, "reached 0.9550"),
    ],
)
def test_the_verdict(
    new: dict[str, Any], old: tuple[int, dict[str, Any]] | None, passed: bool, compared_with: int | None, says: str
) -> None:
    verdict = compare(new, old)
    assert verdict.as_dict() == {"compared_with": compared_with, "passed": passed}
    assert says in verdict.text
    assert bool(verdict.text) == bool(says)


@pytest.fixture
def two_versions(tmp_path: Path) -> Path:
    """A store with versions 2 and 10 of the model m, whose cards hold their numbers."""
    for number in (2, 10):
        folder = tmp_path / "m" / str(number)
        (folder / store.EXTRA).mkdir(parents=True)
        (folder / store.SAVED_MODEL).write_bytes(b"")
        (folder / store.MODEL_CARD).write_text(json.dumps({"number": number}))
    return tmp_path


def test_the_card_before_is_that_of_the_latest_version(two_versions: Path) -> None:
    assert card_before(two_versions, "none") is None
    assert card_before(two_versions, "m") == (10, {"number": 10})
    (two_versions / "m" / "10" / store.MODEL_CARD).write_text("{")
    assert card_before(two_versions, "m") is None


def test_what_is_labelled_stable_is_compared_with_and_the_label_moves(two_versions: Path) -> None:
    assert move_stable(two_versions, "m", 10) == ""  # nobody asked for labels
    assert not (two_versions / "models.config").exists()
    ConfigFile(two_versions).change("m", lambda config: with_label(config, "stable", 2))
    assert card_before(two_versions, "m") == (2, {"number": 2})
    assert move_stable(two_versions, "m", 10) == "The label stable moved from version 2 to 10."
    assert stable_version(two_versions, "m") == 10


def test_a_configuration_that_can_not_be_read_stops_no_training(two_versions: Path) -> None:
    (two_versions / "models.config").write_text("model_config_list {")
    assert stable_version(two_versions, "m") is None
    assert card_before(two_versions, "m") == (10, {"number": 10})


def test_what_was_published_is_told_how_to_be_served(two_versions: Path) -> None:
    assert how_to_serve(two_versions, "m").startswith(f"Serve it with: signpost serve --store {two_versions} (")
    (two_versions / "models.config").write_text('model_config_list { config { name: "n" base_path: "n" } }')
    told = how_to_serve(two_versions, "m")
    assert told.startswith(f"{two_versions / 'models.config'} does not list it. Add config {{ name: ")
    (two_versions / "models.config").write_text("model_config_list {")
    assert "once this is fixed: Error parsing" in how_to_serve(two_versions, "m")


def test_facts_are_told_in_words() -> None:
    facts = {
        "skipped": {"no image": 2, "empty": 0},
        "images_in_no_class_folder": 0,
        "classes": ["a", "b"],
        "copies": 3,
    }
    assert list(facts_in_words(facts)) == [("skipped", "2 (no image)"), ("classes", "a, b"), ("copies", "3")]
