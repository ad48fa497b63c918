"""The quality gate: is a new version worse than the one that serves, beyond chance? If not, it becomes `stable`."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# `service.config.config_edit` is imported where it is used: its messages come with TensorFlow, which may be missing
# where one only trains.
from service import store
from service.errors import SignpostError
from service.objects import urls


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


def stable_version(path: Path, name: str) -> int | None:
    """Number of the version of a model that bears the label `stable`, if one does.

    Args:
        path: the store.
        name: of the model.
    """
    from service.config.config_edit import STABLE
    from service.objects.editing.config_file import opened

    try:
        with opened(path) as configs:
            return configs.model(name).labels.get(STABLE)
    except SignpostError:  # not configured, or by a file that is wrong: whoever serves it will say so
        return None


def card_before(path: Path, name: str) -> tuple[int, Mapping[str, Any]] | None:
    """Number and card of the version to compare with: the one labelled `stable`, else the latest.

    Args:
        path: the store.
        name: of the model.

    Returns:
        None where there is no such version, or no readable card in it.
    """
    if not urls.is_url(path):
        return _card_before(path, name, stable_version(path, name))
    from service.objects.editing.config_file import opened

    with opened(path) as configs:
        return _card_before(configs.store, name, stable_version(path, name))


def _card_before(path: Path, name: str, stable: int | None) -> tuple[int, Mapping[str, Any]] | None:
    model = path / name
    folders = store.versions(model) if model.is_dir() else {}
    number = stable or next(reversed(folders), None)
    if number is None:
        return None
    try:
        return number, json.loads((folders[number] / store.MODEL_CARD).read_text("utf-8"))
    except (KeyError, OSError, ValueError):
        return None


def move_stable(path: Path, name: str, version: int) -> str:
    """Point the label `stable` at a version that has passed; a model without that label gets none.

    Returns:
        What was done, for people; empty for nothing.

    Raises:
        SignpostError: the configuration can't be written.
    """
    from service.config.config_edit import STABLE, with_label
    from service.objects.editing.config_file import opened

    before = stable_version(path, name)
    if before is None:
        return ""
    with opened(path) as configs:
        configs.change(name, lambda config: with_label(config, STABLE, version))
    return f"The label {STABLE} moved from version {before} to {version}."


def compare(card: Mapping[str, Any], before: tuple[int, Mapping[str, Any]] | None) -> Verdict:
    """Compare the test accuracies of two versions.

    Only numbers on the same test images are compared. The new version fails when even the upper end of its 95 %
    interval is below the accuracy of the one before; of one that has an int8 form the less accurate form counts.
    """
    if before is None:
        return Verdict(None, True, "")
    number, old = before
    try:
        same = old["data"]["test"]["fingerprint"] == card["data"]["test"]["fingerprint"]
        accuracy = float(old["metrics"]["test"]["accuracy"])
    except (KeyError, TypeError, ValueError):
        return Verdict(None, True, f"Version {number} has no test accuracy to compare with.")
    if not same:
        return Verdict(None, True, f"Version {number} was tested on other images; the two were not compared.")
    test = min(
        (form["metrics"]["test"] for form in (card, card.get("int8")) if form), key=lambda found: found["accuracy"]
    )
    if test["accuracy_interval_95"][1] >= accuracy:
        return Verdict(number, True, f"Version {number} reached {accuracy:.4f} on the same test images.")
    return Verdict(
        number,
        False,
        f"Worse than version {number}, which reached {accuracy:.4f} on the same test images: "
        "it is published, but the label stable stays where it is.",
    )


def how_to_serve(path: Path, name: str) -> str:
    """What to do with a version that has just been published, for people."""
    from service.config.config_edit import ConfigFile

    command = f"signpost serve --store {shlex.quote(urls.written(path))}"
    if urls.is_url(path):
        return f"Serve it with: {command}"
    file = path / "models.config"
    try:
        configured = {config.name for config in ConfigFile(path).read()}
    except SignpostError as error:
        return f"Serve it with: {command}, once this is fixed: {error}"
    if name in configured:
        return f"Serve it with: {command} (a service running on this store loads it now)."
    return f'{file} does not list it. Add config {{ name: "{name}" base_path: "{name}" }}, then: {command}'
