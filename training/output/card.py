"""The model card: what a version is, from what it came and how good it was, as the code measured it."""

import importlib.metadata
import json
import platform
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np

from service import store
from service.version import __version__
from training.data.datasets import Data, Dataset
from training.loop import evaluate
from training.loop.checkpoints import History
from training.loop.evaluate import Scores
from training.recipe import Recipe

_CURVES: Final = ("loss", "accuracy", "val_loss", "val_accuracy")
_LIBRARIES: Final = ("keras", "numpy", "pillow", "tensorflow")


def card(
    recipe: Recipe,
    *,
    name: str,
    recipe_name: str,
    seed: int,
    data: Data,
    train: Dataset,
    validation: Dataset,
    scores: Scores,
    history: History,
    temperature: float,
    parameters: int,
    began_with: str,
    teacher: Mapping[str, Any],
) -> dict[str, Any]:
    """Write down a finished training.

    Args:
        recipe: its choices.
        name: of the model.
        recipe_name: of the recipe.
        seed: of the run.
        data: all of it.
        train: the part learned from.
        validation: the part set aside for the curves.
        scores: for the test images, (N, K).
        history: the numbers of each epoch.
        temperature: by which the logits were divided.
        parameters: number of weights of the published network.
        began_with: which weights the training began with.
        teacher: from `about_teacher`, or nothing.
    """
    classes = data.test.classes
    labels = data.test.targets()
    height, width = recipe.size
    return {
        "name": name,
        "purpose": recipe.purpose,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "classes": list(classes),
        "input": {"height": height, "width": width, "channels": recipe.channels},
        "parameters": parameters,
        "metrics": {
            "test": evaluate.measure(scores, labels).as_dict(classes),
            "groups": {
                group: evaluate.measure(scores[at], labels[at]).as_dict(classes) for group, at in data.groups.items()
            },
        },
        "recipe": {"name": recipe_name, "seed": seed, **recipe.choices()},
        "training": {
            "epochs": len(history),
            "seconds": round(sum(row["seconds"] for row in history), 1),
            "began_with": began_with,
            **({"teacher": dict(teacher)} if teacher else {}),
            "machine": f"{platform.machine()}, {keras.backend.backend()} backend",
            "last_epoch": history[-1] if history else {},
            "history": [{name: round(row[name], 5) for name in _CURVES if name in row} for row in history],
            "temperature": round(temperature, 4),
        },
        "data": {
            "train": about(train),
            "validation": {"images": len(validation)},
            "test": about(data.test),
            **data.facts,
        },
        "libraries": {"signpost": __version__, "python": platform.python_version()}
        | {library: importlib.metadata.version(library) for library in _LIBRARIES},
    }


def about_teacher(version: Path) -> Mapping[str, Any]:
    """Which version taught another one, which weights that one had begun with, and the licences of what it saw."""
    card = json.loads((version / store.MODEL_CARD).read_text("utf-8"))
    name, began_with = f"{version.parent.name}/{version.name}", card["training"]["began_with"]
    return {"version": name, "began_with": began_with, "licences": card.get("licences", {})}


def as_trained(card: Mapping[str, Any], version: Path) -> dict[str, Any]:
    """The card of a version that is published once more: its choices and training are those of when it was trained."""
    before = json.loads((version / store.MODEL_CARD).read_text("utf-8"))
    again = {"published_again_from": f"{version.parent.name}/{version.name}"}
    return {**card, "recipe": before["recipe"], "training": {**before["training"], **again}}


def about(data: Dataset) -> Mapping[str, Any]:
    """Size and fingerprint of a data set."""
    return {
        "images": len(data),
        "classes": data.counts(),
        "shape": [int(side) for side in np.array(data.shape)],
        "fingerprint": data.fingerprint(),
    }


def facts_in_words(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What the reading of the data found, but for nothing: each fact's name and value, for people."""
    for name, value in facts.items():
        if isinstance(value, Mapping):  # counts by reason
            text = ", ".join(f"{count} ({reason})" for reason, count in value.items() if count)
        elif isinstance(value, list | tuple):
            text = ", ".join(map(str, value))
        else:
            text = str(value) if value else ""
        if text:
            yield name.replace("_", " "), text
