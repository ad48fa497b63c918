"""The quality gate: is a new version worse than the one before, beyond chance?"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service import store


@dataclass(frozen=True)
class Verdict:
    """What a comparison of two versions says.

    Attributes:
        compared_with: number of the version before, or None when there was none to compare with.
        passed: whether the new one is at least as good, within the confidence interval.
        text: for people; empty when there is nothing to say.
    """

    compared_with: int | None
    passed: bool
    text: str

    def as_dict(self) -> Mapping[str, Any]:
        """As plain data, for the model card."""
        return {"compared_with": self.compared_with, "passed": self.passed}


def last_card(model: Path) -> tuple[int, Mapping[str, Any]] | None:
    """Number and card of the latest version of a model, if it has a readable one."""
    numbers = store.versions(model) if model.is_dir() else []
    if not numbers:
        return None
    try:
        return numbers[-1], json.loads((model / str(numbers[-1]) / store.MODEL_CARD).read_text("utf-8"))
    except (OSError, ValueError):
        return None


def compare(card: Mapping[str, Any], before: tuple[int, Mapping[str, Any]] | None) -> Verdict:
    """Compare the test accuracies of two versions.

    Only numbers on the same test images are compared. The new version fails when even the upper end of its 95 %
    interval is below the accuracy of the one before.
    """
    if before is None:
        return Verdict(None, True, "")
    number, old = before
    try:
        same = old["data"]["test"]["fingerprint"] == card["data"]["test"]["fingerprint"]
        accuracy = float(old["metrics"]["test"]["accuracy"])
    except (KeyError, TypeError, ValueError):
        return Verdict(None, True, f"Version {number} has no numbers to compare with.")
    if not same:
        return Verdict(None, True, f"Version {number} was tested on other images; the two were not compared.")
    test = card["metrics"]["test"]
    if test["accuracy_interval_95"][1] >= accuracy:
        return Verdict(number, True, f"Version {number} reached {accuracy:.4f} on the same test images.")
    return Verdict(
        number,
        False,
        f"Worse than version {number}, which reached {accuracy:.4f} on the same test images: "
        "it is published, but leave the label stable where it is.",
    )
