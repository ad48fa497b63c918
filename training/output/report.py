"""The report: one HTML page that needs no network, and its figures as PNG files beside it.

Photographs of the test set appear in it, so it is for the people who have the data; only the curves and the
confusion matrix go into the version.
"""

import base64
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jinja2
import numpy as np

from training.data.datasets import Data, Dataset
from training.loop import evaluate
from training.loop.checkpoints import History
from training.loop.evaluate import Scores
from training.loop.knowing import THRESHOLD, Known
from training.network import insight
from training.output import figures
from training.output.card import facts_in_words
from training.whole_files import whole_files

if TYPE_CHECKING:
    import keras

_SHOWN: Final = 18
_LOOKED_AT: Final = 12
_SPREAD: Final = 64
_OF_EACH: Final = 3
_LONGEST: Final = 14

FIGURES: Final = ("curves.png", "confusion_matrix.png")  # those that go into the version


@dataclass(frozen=True)
class _Entry:
    heading: str
    caption: str
    base64: str
    base64_dark: str  # empty for what looks well on any background


def write(
    folder: Path,
    *,
    title: str,
    card: Mapping[str, Any],
    data: Data,
    scores: Scores,
    history: History,
    network: "keras.Model | None",
    known: Known | None = None,
    commands: str = "",
) -> Path:
    """Write the page and its figures.

    Args:
        folder: where to; made if missing.
        title: one line about the occasion.
        card: the model card.
        data: with the test images.
        scores: for the test images, (N, K).
        history: the numbers of each epoch, or nothing.
        network: to look into, or None when only its answers are known.
        known: how well it knows the images, or None where it can't say.
        commands: how to serve the model, see `serving_commands`.

    Returns:
        The page.

    Raises:
        StoreError: the folder can't be written.
    """
    with whole_files(folder, "report") as temporary:
        return folder / _write(temporary, title, card, data, scores, history, network, known, commands).name


def serving_commands(store: Path, name: str, version: int | None = None) -> str:
    """What to type to serve a model and to ask it."""
    at = name if version is None else f"{name}/versions/{version}"
    return (
        f"signpost serve --store {shlex.quote(str(store))}\n"
        f"curl --data-binary @image.jpg 'http://127.0.0.1:8501/v1/models/{at}:predict'\n"
        f"signpost predict a_folder_of_images --model {name}" + (f" --version {version}" if version is not None else "")
    )


def _write(
    folder: Path,
    title: str,
    card: Mapping[str, Any],
    data: Data,
    scores: Scores,
    history: History,
    network: "keras.Model | None",
    known: Known | None,
    commands: str,
) -> Path:
    entries: list[_Entry] = []

    def add(name: str, heading: str, caption: str) -> None:
        light, dark = folder / name, (folder / name).with_suffix(".dark.png")
        entries.append(_Entry(heading, caption, _base64(light), _base64(dark) if dark.exists() else ""))

    test, labels = data.test, data.test.targets()
    metrics = evaluate.measure(scores, labels)
    if history:
        figures.for_both_themes(partial(figures.curves, history), folder / "curves.png")
        add("curves.png", "Curves", "Training images are augmented and harder than validation images.")
    matrix = f"{card['name']}: {metrics.correct} of {metrics.images} test images correct"
    figures.for_both_themes(
        partial(figures.confusion_matrix, metrics.confusion, test.classes, matrix), folder / "confusion_matrix.png"
    )
    add("confusion_matrix.png", "Confusion matrix", "Rows are true classes, columns predicted ones.")
    bins = evaluate.reliability(scores, labels)
    figures.for_both_themes(partial(figures.reliability, bins, metrics.calibration_error), folder / "reliability.png")
    add(
        "reliability.png",
        "Reliability",
        "How often answers are correct, by score; below, how many images have such a score. Below the "
        "diagonal the model is overconfident. A point based on few images is partly chance.",
    )
    if known is not None:
        draw = partial(figures.in_domain, known.test, known.outsiders, THRESHOLD)
        figures.for_both_themes(draw, folder / "in_domain.png")
        add("in_domain.png", "In domain", "Below the threshold the model reports an image as out of domain.")
    shown = _of_each_class(labels, _SHOWN)
    figures.gallery(test.images(shown), [test.classes[label] for label in labels[shown]], folder / "sample.png")
    add("sample.png", "A sample of the test images", "Each with its true class.")
    wrong = _most_confident(scores, labels, right=False)
    by_kin = _by_kin(test, scores, labels)
    if len(by_kin):
        figures.gallery(test.images(by_kin), _titles(test, scores, by_kin, kin=True), folder / "by_person.png")
        caption = "The most confident mistakes of each person or clip, those with the most mistakes first."
        add("by_person.png", "Mistakes by person or clip", caption)
    if len(wrong):
        figures.gallery(test.images(wrong), _titles(test, scores, wrong), folder / "mistakes.png")
        add("mistakes.png", "Most confident mistakes", "The predicted class with its score, and the true class.")
    correct = _spread(_most_confident(scores, labels, right=True), _SHOWN)
    if len(correct):
        figures.gallery(test.images(correct), _titles(test, scores, correct), folder / "correct.png")
        add("correct.png", "Correct answers", "With their scores, from the most to the least confident.")
    warnings = _look_inside(folder, add, network, test, scores, wrong, correct) if network is not None else []
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    page = folder / "report.html"
    page.write_text(
        environment.get_template("report.html").render(
            title=title,
            card={"timings": None, "parameters": None, "int8": None} | dict(card),
            test=metrics.as_dict(test.classes),
            groups={
                name: evaluate.measure(scores[at], labels[at]).as_dict(test.classes) for name, at in data.groups.items()
            },
            figures=entries,
            warnings=warnings,
            facts=_facts(data),
            summary=_summary(network) if network is not None else "",
            commands=commands,
            card_text=json.dumps(card, indent=1, ensure_ascii=False),
        ),
        "utf-8",
    )
    return page


def _look_inside(
    folder: Path,
    add: Any,
    network: "keras.Model",
    test: Dataset,
    scores: Scores,
    wrong: evaluate.Rows,
    correct: evaluate.Rows,
) -> list[str]:
    """Figures of what happens in the network; returns warnings about the scale of its layers."""
    shown = np.concatenate([wrong[: _LOOKED_AT // 2], correct])[:_LOOKED_AT]
    maps = insight.looked_at(network, test.images(shown))
    if maps.shape[1]:
        figures.gallery(test.images(shown), _titles(test, scores, shown), folder / "looked_at.png", overlays=maps)
        add("looked_at.png", "What the model looks at", "Grad-CAM: bright areas count towards the predicted class.")
    kernels = insight.first_filters(network)
    if len(kernels):
        figures.filters(kernels, folder / "filters.png")
        add("filters.png", "First filters", "The kernels of the first convolution, each scaled separately.")
        seen = insight.feature_maps(network, test.images(shown[-1:]))
        figures.feature_maps(seen, folder / "feature_maps.png")
        add("feature_maps.png", "Feature maps", f"Activations of some layers for {test.name(int(shown[-1]))}.")
    spread = insight.activations(network, test.images(np.arange(min(_SPREAD, len(test)))))
    figures.for_both_themes(partial(figures.activations, spread), folder / "activations.png")
    add("activations.png", "Activations", "Distribution of each layer's outputs; orange ones are out of scale.")
    return [f"{layer.layer}: {layer.warning}" for layer in spread if layer.warning]


def _most_confident(scores: Scores, labels: evaluate.Labels, *, right: bool) -> evaluate.Rows:
    """Positions of right or wrong answers, the most confident first; only the first few of the wrong ones."""
    found = np.flatnonzero((scores.argmax(axis=1) == labels) == right)
    ordered: evaluate.Rows = found[np.argsort(-scores[found].max(axis=1), kind="stable")]
    return ordered if right else ordered[:_SHOWN]


def _by_kin(test: Dataset, scores: Scores, labels: evaluate.Labels) -> evaluate.Rows:
    """Positions of the most confident mistakes of each kin that has several images, the worst kin first."""
    wrong: dict[str, list[int]] = {}
    images: dict[str, int] = {}
    for at, row in enumerate(test.rows):
        if test.kin:
            kin = test.kin[row]
            images[kin] = images.get(kin, 0) + 1
            if scores[at].argmax() != labels[at]:
                wrong.setdefault(kin, []).append(at)
    several = sorted((each for kin, each in wrong.items() if images[kin] > 1), key=len, reverse=True)
    chosen = [sorted(each, key=lambda at: -float(scores[at].max()))[:_OF_EACH] for each in several]
    return np.array([at for each in chosen for at in each][:_SHOWN], dtype=np.int64)


def _of_each_class(labels: evaluate.Labels, count: int) -> evaluate.Rows:
    """Positions of some images, as many of each class as there is room for."""
    of_class = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    each = max(1, count // max(1, len(of_class)))
    chosen: evaluate.Rows = np.concatenate([_spread(found, each) for found in of_class])[: max(count, len(of_class))]
    return chosen


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")


def _spread(positions: evaluate.Rows, count: int) -> evaluate.Rows:
    """Some of the positions, evenly from first to last."""
    if len(positions) <= count:
        return positions
    chosen: evaluate.Rows = positions[np.linspace(0, len(positions) - 1, count).astype(int)]
    return chosen


def _titles(test: Dataset, scores: Scores, positions: evaluate.Rows, *, kin: bool = False) -> Sequence[str]:
    titles = []
    for at, label in zip(positions, test.targets(positions), strict=True):
        found = int(scores[at].argmax())
        said = f"{test.classes[found]} ({scores[at, found]:.0%})"
        of = f"\n{test.kin[int(test.rows[at])][-_LONGEST:]}" if kin else ""
        titles.append((said if found == label else f"said {said}\ntrue: {test.classes[label]}") + of)
    return titles


def _facts(data: Data) -> Sequence[tuple[str, str]]:
    def counts(part: Dataset) -> str:
        return f"{len(part)} images ({', '.join(f'{name} {count}' for name, count in part.counts().items())})"

    rows = [("test", counts(data.test)), ("size of a test image", "x".join(map(str, data.test.shape)))]
    if len(data.train):
        rows.insert(0, ("training and validation", counts(data.train)))
    return [*rows, *facts_in_words(data.facts)]


def _summary(network: "keras.Model") -> str:
    lines: list[str] = []
    network.summary(print_fn=lambda line, **_: lines.append(str(line)), line_length=100)
    return "\n".join(lines)
