"""Data sets from image files: listed by `sources`, decoded by `cache`, divided into training and test here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from training import sources
from training.cache import decoded
from training.datasets import Data, Dataset, dataset, without_copies
from training.errors import TrainingError
from training.recipe import Request
from training.sources import File

_HELD_OUT: Final = 0.15  # of images that come without a test part
_FEWEST: Final = 2  # images of a class


@dataclass(frozen=True)
class Layout:
    """How a recipe wants its images.

    Attributes:
        size: height and width that the published model takes; test images are decoded to it.
        stored: height and width of the training images in the cache, from which crops are taken.
        channels: 3 (RGB) or 1 (L).
        label: turns a folder's name into a class's.
        groups: beginnings of file names that are reported apart, by the name of the group.
        kin: from a file's name, what it belongs with (the clip that it is a frame of, say); those stay on one side
            of the validation split.
    """

    size: tuple[int, int]
    stored: tuple[int, int]
    channels: int = 3
    label: Callable[[str], str] = str
    groups: tuple[tuple[str, str | tuple[str, ...]], ...] = ()
    kin: Callable[[str], str] | None = None


def load(request: Request, layout: Layout) -> Data:
    """Read the sources of a request.

    What a source calls its test or validation part, and what a list `<archive>.test.txt` beside it names, is for
    the test; without either, a part of each class is held out. Copies of test images are left out of the training.

    Raises:
        TrainingError: a source can't be read, there are fewer than two classes, or a class has too few images.
    """
    found = sources.files(request.paths, layout.label)
    listed = sources.named(request.paths)
    classes = tuple(sorted({file.label for file in found}))
    if len(classes) < 2:
        raise TrainingError(f"All images are of one class, {classes[0]!r}; a classifier needs at least two folders.")
    tests = [file for file in found if file.name in listed or (not listed and file.part == "test")]
    if listed:
        tests += [file for file in found if file.part == "test" and file.name not in listed]
    chosen = {id(file) for file in tests}
    trains = [file for file in found if id(file) not in chosen]
    if not tests:
        trains, tests = _hold_out(trains, request.seed)
    train, skipped, examples = _decode(trains, classes, layout.stored, layout, request)
    test, test_skipped, _ = _decode(tests, classes, layout.size, layout, request)
    like_train, _, _ = _decode(tests, classes, layout.stored, layout, request)
    train, copies = without_copies(train, like_train)
    for name, count in train.counts().items():
        if count < _FEWEST:
            raise TrainingError(f"The class {name!r} has {count} training images; give at least {_FEWEST}, better 100.")
    facts = {
        "skipped": {reason: skipped.get(reason, 0) + test_skipped.get(reason, 0) for reason in skipped | test_skipped},
        "skipped_examples": examples,
        "training_copies_of_test_images_left_out": copies,
    }
    positions = {
        group: np.array([at for at in range(len(test)) if test.name(at).rsplit("/", 1)[-1].startswith(beginning)])
        for group, beginning in layout.groups
    }
    return Data(train, test, {group: at for group, at in positions.items() if len(at)}, facts)


def load_labelled(request: Request, classes: Sequence[str], shape: tuple[int, int, int]) -> Data:
    """Read images to evaluate a model with: the test part of the sources, or all of them where they name none.

    Args:
        request: with the sources.
        classes: the model's; folders are matched to them without regard to upper and lower case.
        shape: (H, W, C) that the model takes.

    Raises:
        TrainingError: a source can't be read, or a folder is called like no class of the model.
    """
    known = {name.lower(): name for name in classes}
    found = sources.files(request.paths, lambda label: known.get(label.lower(), label))
    unknown = sorted({file.label for file in found} - set(classes))
    if unknown:
        raise TrainingError(
            f"There are folders called {', '.join(unknown[:5])}; the classes of the model are {', '.join(classes)}."
        )
    listed = sources.named(request.paths)
    chosen = [file for file in found if file.name in listed or file.part == "test"] or found
    height, width, channels = shape
    layout = Layout(size=(height, width), stored=(height, width), channels=channels)
    test, skipped, examples = _decode(chosen, tuple(classes), layout.size, layout, request)
    if not len(test):
        raise TrainingError(f"None of the {len(chosen)} files is an image.")
    return Data(test.subset(np.arange(0)), test, {}, {"skipped": skipped, "skipped_examples": examples})


def _decode(
    files: Sequence[File], classes: tuple[str, ...], size: tuple[int, int], layout: Layout, request: Request
) -> tuple[Dataset, dict[str, int], list[str]]:
    result = decoded(files, size, layout.channels, request.cache, request.say)
    labels = np.array([classes.index(files[row].label) for row in result.rows], dtype=np.int32)
    names = [files[row].name for row in result.rows]
    kin = [layout.kin(name.rsplit("/", 1)[-1]) for name in names] if layout.kin else []
    return dataset(result.pixels[: len(labels)], labels, classes, names, kin), result.skipped, result.examples


def _hold_out(files: Sequence[File], seed: int) -> tuple[list[File], list[File]]:
    """Set a share of each class aside for the test."""
    rng = np.random.default_rng(seed)
    held: set[int] = set()
    for label in sorted({file.label for file in files}):
        of_class = [index for index, file in enumerate(files) if file.label == label]
        held.update(rng.permutation(of_class)[: round(len(of_class) * _HELD_OUT)].tolist())
    return (
        [file for index, file in enumerate(files) if index not in held],
        [file for index, file in enumerate(files) if index in held],
    )
