"""The command `signpost evaluate`: a version of the store, as any server would run it, on labelled images."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from service import store as model_store
from service.errors import StoreError
from training import card, evaluate, export, images, initial, report, sign_mnist
from training.batches import plain_batches
from training.datasets import Data, Dataset, dataset
from training.errors import TrainingError
from training.recipe import Request

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Options:
    """What to evaluate, on what.

    Attributes:
        model: a model's name, or `name/version`.
        data: sources of labelled images; what they call their test part is used, or else all of them.
        store: where the model is.
        report: folder for the report; None for one below `reports/`.
        cache: folder for decoded pixels.
    """

    model: str
    data: tuple[Path, ...]
    store: Path
    report: Path | None
    cache: Path


def evaluate_version(options: Options, say: Callable[[str], None]) -> evaluate.Metrics:
    """Evaluate a version and write its report.

    Raises:
        SignpostError: there is no such version, it is no image classifier, or the data do not fit it.
    """
    if not options.data:
        raise TrainingError("evaluate needs --data: labelled images, in the same forms as for training.")
    version = _find(options.store, options.model)
    loaded = export.load_version(version)
    data = _load(options, loaded.shape, loaded.classes, say)
    scores = np.concatenate([loaded.run(pixels) for pixels, _ in plain_batches(data.test, loaded.shape[:2])])
    metrics = evaluate.measure(scores, data.test.targets())
    low, high = evaluate.interval(metrics.correct, metrics.images)
    name = f"{version.parent.name}/{version.name}"
    say(
        f"{name}: {metrics.correct} of {metrics.images} right, accuracy {metrics.accuracy:.4f} "
        f"(95 % interval {low:.4f} to {high:.4f}), calibration error {metrics.calibration_error:.4f}."
    )
    about = {
        "name": name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "classes": list(loaded.classes),
        "metrics": {"test": metrics.as_dict(loaded.classes)},
        "timings": export.timings(loaded.run, loaded.shape),
        "data": {"test": card.about(data.test), **data.facts},
        "sources": [path.name for path in options.data],
    }
    folder = options.report or Path("reports") / name.replace("/", "-")
    page = report.write(
        folder,
        title=f"Evaluated on {', '.join(path.name for path in options.data)}",
        card=about,
        data=data,
        scores=scores,
        history=[],
        network=_network(version),
    )
    (folder / "evaluation.json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", "utf-8")
    say(f"Report: {page}")
    return metrics


def _find(store: Path, model: str) -> Path:
    model_store.check(store)
    name, _, number = model.partition("/")
    found = model_store.versions(store / name) if (store / name).is_dir() else {}
    if not found:
        known = ", ".join(model_store.models(store)) or "none"
        raise StoreError(f"There is no model {name!r} in {store}; there are: {known}.")
    chosen = found.get(int(number)) if number.isdecimal() else None
    if number and chosen is None:
        raise StoreError(f"{name} has no version {number!r} in {store}; it has {', '.join(map(str, found))}.")
    return chosen or [*found.values()][-1]


def _load(options: Options, shape: tuple[int, int, int], classes: Sequence[str], say: Callable[[str], None]) -> Data:
    if sign_mnist.looks_like(options.data):
        data = sign_mnist.load(options.data)
        if data.test.shape != shape:
            raise TrainingError(f"The model takes images of shape {shape}; those of Sign MNIST are {data.test.shape}.")
        nobody = data.train.subset(np.arange(0))
        return Data(nobody, _renamed(data.test, classes), {}, data.facts)
    request = Request(options.data, 0, None, options.cache, say)
    return images.load_labelled(request, classes, shape)


def _renamed(data: Dataset, classes: Sequence[str]) -> Dataset:
    """The same images with labels that count in the model's order of classes."""
    places = {name: place for place, name in enumerate(classes)}
    unknown = sorted(set(data.classes) - set(places))
    if unknown:
        raise TrainingError(f"The data have classes that the model does not know: {', '.join(unknown)}.")
    moved = np.array([places[name] for name in data.classes], dtype=np.int32)
    again = dataset(data.pixels, moved[data.labels], classes, data.names)
    return again.subset(data.rows)


def _network(version: Path) -> "keras.Model | None":
    """The Keras network of a version that Signpost trained, to look into; None for any other."""
    try:
        return initial.rebuild(version)
    except TrainingError:
        return None
