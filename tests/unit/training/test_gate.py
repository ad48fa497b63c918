"""The quality gate: when a new version counts as worse."""

import json
from pathlib import Path
from typing import Any

import pytest

from service import store
from training.evaluate import interval
from training.gate import compare, last_card


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
        (card(900), (3, {"name": "by hand"}), True, None, "no numbers"),
    ],
)
def test_the_verdict(
    new: dict[str, Any], old: tuple[int, dict[str, Any]] | None, passed: bool, compared_with: int | None, says: str
) -> None:
    verdict = compare(new, old)
    assert verdict.as_dict() == {"compared_with": compared_with, "passed": passed}
    assert says in verdict.text
    assert bool(verdict.text) == bool(says)


def test_the_card_before_is_that_of_the_latest_version(tmp_path: Path) -> None:
    assert last_card(tmp_path / "none") is None
    for number in (2, 10):
        (tmp_path / str(number) / store.EXTRA).mkdir(parents=True)
        (tmp_path / str(number) / store.SAVED_MODEL).write_bytes(b"")
        (tmp_path / str(number) / store.MODEL_CARD).write_text(json.dumps({"number": number}))
    assert last_card(tmp_path) == (10, {"number": 10})
    (tmp_path / "10" / store.MODEL_CARD).write_text("{")
    assert last_card(tmp_path) is None
