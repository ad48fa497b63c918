"""The command `signpost evaluate`: a version of the store, as any server would run it, on labelled images."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from training.data import images, sign_mnist
from training.data.batches import plain_batches
from training.data.datasets import Data, Dataset, dataset
from training.data.request import Request
from training.errors import TrainingError
from training.judge_options import Options, report_folder
from training.loop import evaluate
from training.loop.knowing import THRESHOLD, Known, passing
from training.network import initial
from training.output import card, export, report
from training.whole_files import whole_files

if TYPE_CHECKING:
    import keras


def evaluate_version(version: Path, options: Options, say: Callable[[str], None]) -> evaluate.Metrics:
    """Evaluate a version and write its report.

    Args:
        version: its folder.
        options: what the user asks, checked.
        say: prints a line for the user.

    Raises:
        SignpostError: it is not an image classifier, the data do not fit it, or the report can't be written.
    """
    loaded = export.load_version(version)
    data = _load(options, loaded.shape, loaded.classes, say)
    batches = [pixels for pixels, _ in plain_batches(data.test, loaded.shape[:2])]
    scores = np.concatenate([loaded.run(pixels) for pixels in batches])
    known = None
    if loaded.tell is not None:
        known = Known(np.concatenate([loaded.tell(pixels) for pixels in batches]), np.zeros(0, np.float32), {})
    metrics = evaluate.measure(scores, data.test.targets())
    low, high = evaluate.interval(metrics.correct, metrics.images)
    name = f"{version.parent.name}/{version.name}"
    say(
        f"{name}: {metrics.correct} of {metrics.images} right, accuracy {metrics.accuracy:.4f} "
        f"(95 % interval {low:.4f} to {high:.4f}), calibration error {metrics.calibration_error:.4f}."
    )
    if known is not None:
        say(f"It rates {passing(known.test):.1%} of them as in domain.")
    about = {
        "name": name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "classes": list(loaded.classes),
        "metrics": {"test": metrics.as_dict(loaded.classes)},
        "in_domain": None if known is None else {"threshold": THRESHOLD, "test_passing": passing(known.test)},
        "timings": export.timings(loaded.run, loaded.shape),
        "data": {"test": card.about(data.test), **data.facts},
        "sources": [path.name for path in options.data],
    }
    folder = report_folder(options, version)
    page = report.write(
        folder,
        title=f"Evaluated on {', '.join(path.name for path in options.data)}",
        card=about,
        data=data,
        scores=scores,
        history=[],
        network=_network(version),
        known=known,
        commands=report.serving_commands(options.store, version.parent.name, int(version.name)),
    )
    with whole_files(folder, "report") as temporary:
        text = json.dumps(about, indent=1, ensure_ascii=False) + "\n"
        (temporary / "evaluation.json").write_text(text, "utf-8")
    say(f"Report: {page}")
    return metrics


def _load(options: Options, shape: tuple[int, int, int], classes: Sequence[str], say: Callable[[str], None]) -> Data:
    if sign_mnist.looks_like(options.data):
        data = sign_mnist.load(options.data)
        if data.test.shape != shape:
            raise TrainingError(
                f"The model takes images of shape {shape}; those of Sign Language MNIST are {data.test.shape}."
            )
        nobody = data.train.subset(np.arange(0))
        return Data(nobody, _renamed(data.test, classes), {}, data.facts)
    request = Request(options.data, 0, None, options.cache, say)
    return images.load_labelled(request, classes, shape)


def _renamed(data: Dataset, classes: Sequence[str]) -> Dataset:
    """The same images with labels that count in the model's order of classes."""
    places = {name: place for place, name in enumerate(classes)}
    unknown = sorted(set(data.classes) - set(places))
    if unknown:
        raise TrainingError(f"The data contains classes that the model does not have: {', '.join(unknown)}.")
    moved = np.array([places[name] for name in data.classes], dtype=np.int32)
    again = dataset(data.pixels, moved[data.labels], classes, data.names)
    return again.subset(data.rows)


def _network(version: Path) -> "keras.Model | None":
    """The Keras network of a version that Signpost trained, to look into; None for any other."""
    try:
        return initial.rebuild(version)
    except TrainingError:
        return None
