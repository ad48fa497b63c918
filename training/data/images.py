"""Data sets from image files: listed by `sources`, decoded by `cache`, divided into training and test here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

from training.data import sources
from training.data.cache import decoded
from training.data.datasets import Data, Dataset, dataset, without_copies
from training.data.request import Request
from training.data.sources import File, Found
from training.errors import TrainingError

_HELD_OUT: Final = 0.15  # of images that come without a test part
_FEWEST: Final = 2  # images of a class
_EXAMPLES: Final = 5


@dataclass(frozen=True)
class Layout:
    """How a recipe wants its images.

    Attributes:
        size: height and width that the published model takes; test images are decoded to it.
        stored: height and width of the training images in the cache, from which crops are taken.
        channels: 3 (RGB) or 1 (L).
        label: turns a folder's name into a class's, or into None where it is to be left out.
        groups: what is reported apart: the name of a group, and how the names of its files begin or a function that
            tells them.
        part: from a file's name, the part that it is for where a recipe decides (`train`, `validation` or `test`), or
            nothing. What the source itself calls its test stays the test.
        kin: from a file's name, what it belongs with (the clip that it is a frame of, say); those stay on one side
            of the validation split.
    """

    size: tuple[int, int]
    stored: tuple[int, int]
    channels: int = 3
    label: Callable[[str], str | None] = str
    groups: tuple[tuple[str, str | tuple[str, ...] | Callable[[str], bool]], ...] = ()
    part: Callable[[str], str] | None = None
    kin: Callable[[str], str] | None = None


def load(request: Request, layout: Layout) -> Data:
    """Read the sources of a request.

    What a source calls its test or validation part, and what a list `<archive>.test.txt` beside it names, is for
    the test; without either, a part of each class is held out. Copies of test images are left out of the training.

    Raises:
        TrainingError: a source can't be read, there are fewer than two classes, or a class has too few images.
    """
    found = sources.find(request.paths, layout.label, request.class_folders)
    classes = tuple(sorted({file.label for file in found.files} | {label for label, _ in found.empty}))
    if len(classes) < 2:
        raise TrainingError(f"All images are of one class, {classes[0]!r}; a classifier needs at least two folders.")
    _tell_alike(classes, request)
    parts: dict[str, list[File]] = {"train": [], "validation": [], "test": []}
    for file in found.files:
        parts[_part_of(file, layout)].append(file)
    trains, validations = parts["train"], parts["validation"]
    tests = sorted(parts["test"], key=lambda file: not file.listed)
    if not trains:
        raise TrainingError(
            f"All of {_named(request)} is a test part, by the names of its folders or of itself; give training "
            "images too, or rename it."
        )
    if not tests:
        trains, tests = _hold_out(trains, request.seed)
    train, skipped, examples = _decode(trains, classes, layout.stored, layout, request)
    test, test_skipped, test_examples = _decode(tests, classes, layout.size, layout, request)
    like_train, _, _ = _decode(tests, classes, layout.stored, layout, request)
    validation, _, _ = _decode(validations, classes, layout.stored, layout, request)
    readable = train.counts()
    train, copies = without_copies(train, like_train)
    if len(validation):
        validation, _ = without_copies(validation, like_train)
        train, _ = without_copies(train, validation)
    _check_enough(train.counts(), readable, trains, found.empty)
    if not tests:
        raise TrainingError("There are too few images to hold some out for the test; give at least 4 of each class.")
    if not len(test):
        raise TrainingError(f"None of the {len(tests)} files of the test part is an image that can be read.")
    facts = {
        "skipped": {reason: skipped.get(reason, 0) + test_skipped.get(reason, 0) for reason in skipped | test_skipped},
        "skipped_examples": [*examples, *test_examples][:_EXAMPLES],
        "training_copies_of_test_images_left_out": copies,
        "images_in_no_class_folder": len(found.outside),
        "classes_without_test_images": [name for name, count in test.counts().items() if not count],
    }
    bases = [_base(test.name(at)) for at in range(len(test))]
    positions = {
        group: np.array(
            [at for at, base in enumerate(bases) if (told(base) if callable(told) else base.startswith(told))]
        )
        for group, told in layout.groups
    }
    groups = {group: at for group, at in positions.items() if len(at)}
    return Data(train, test, groups, facts, validation if len(validation) else None)


def _base(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _part_of(file: File, layout: Layout) -> str:
    if file.part == "test" or layout.part is None:
        return file.part or "train"
    return layout.part(_base(file.name)) or file.part or "train"


def _tell_alike(classes: Sequence[str], request: Request) -> None:
    """Classes like `a` and `A` may be meant; `Cat` in one part and `cat` in the other hardly are."""
    for first, second in pairwise(sorted(classes, key=str.casefold)):
        if first.casefold() == second.casefold():
            request.say(f"The classes {first!r} and {second!r} differ only in case; they are trained as two classes.")


def _check_enough(
    counts: Mapping[str, int], readable: Mapping[str, int], files: Sequence[File], empty: Sequence[tuple[str, str]]
) -> None:
    """Refuse classes with too few images to learn from, and say why there are so few."""
    problems = []
    for name, count in counts.items():
        if count >= _FEWEST:
            continue
        problem = f"the class {name!r} has {count} training image{'' if count == 1 else 's'}"
        places = [place for label, place in empty if label == name]
        listed = [file.name for file in files if file.label == name]
        if readable[name] > count:
            problem += f" beside {readable[name] - count} copies of test images"
        elif len(listed) > count:
            problem += (
                f" ({len(listed) - count} of {len(listed)} files can't be read as images, for example {listed[0]})"
            )
        elif places:
            problem += f" (there is no image in {places[0]})"
        problems.append(problem)
    if problems:
        more = f" and {len(problems) - _EXAMPLES} more" if len(problems) > _EXAMPLES else ""
        text = ", ".join(problems[:_EXAMPLES]) + more
        raise TrainingError(
            f"{text[0].upper()}{text[1:]}; give at least {_FEWEST} of each class, better 100, or remove its folder."
        )


def find_labelled(paths: Sequence[Path], classes: Sequence[str]) -> Found:
    """List images to evaluate a model with.

    Args:
        paths: folders or zip archives.
        classes: the model's; folders are matched to them, without regard to upper and lower case where none is
            called exactly so. A folder that is called like a class is its folder, whatever it lies in.

    Raises:
        TrainingError: a source can't be read, or a folder is called like no class of the model.
    """
    alike = {name.casefold(): name for name in classes} | {name: name for name in classes}
    found = sources.find(paths, known=lambda folder: alike.get(folder) or alike.get(folder.casefold()))
    unknown = sorted({file.label for file in found.files} - set(classes))
    if unknown:
        raise TrainingError(
            f"There are folders called {', '.join(unknown[:_EXAMPLES])}; the classes of the model are "
            f"{', '.join(classes)}."
        )
    return found


def load_labelled(request: Request, classes: Sequence[str], shape: tuple[int, int, int]) -> Data:
    """Read images to evaluate a model with: the test part of the sources, or all of them where they name none.

    Args:
        request: with the sources.
        classes: the model's.
        shape: (H, W, C) that the model takes.

    Raises:
        TrainingError: a source can't be read, or a folder is called like no class of the model.
    """
    found = find_labelled(request.paths, classes)
    chosen = [file for file in found.files if file.part == "test"] or found.files
    height, width, channels = shape
    layout = Layout(size=(height, width), stored=(height, width), channels=channels)
    test, skipped, examples = _decode(chosen, tuple(classes), layout.size, layout, request)
    if not len(test):
        raise TrainingError(f"None of the {len(chosen)} files in {_named(request)} is an image that can be read.")
    missing = [name for name, count in test.counts().items() if not count]
    if missing:
        request.say(f"There are no images of {_some(missing)}: the figures for the model leave those classes out.")
    facts = {
        "skipped": skipped,
        "skipped_examples": examples,
        "images_in_no_class_folder": len(found.outside),
        "classes_without_test_images": missing,
    }
    return Data(test.subset(np.arange(0)), test, {}, facts)


def _named(request: Request) -> str:
    return " and ".join(map(str, request.paths))


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_EXAMPLES])) + (" and others" if len(names) > _EXAMPLES else "")


def _decode(
    files: Sequence[File], classes: tuple[str, ...], size: tuple[int, int], layout: Layout, request: Request
) -> tuple[Dataset, dict[str, int], list[str]]:
    if not files:
        nothing = np.zeros((0, *size, layout.channels), dtype=np.uint8)
        return dataset(nothing, np.zeros(0, dtype=np.int32), classes), {}, []
    result = decoded(files, size, layout.channels, request.cache, request.say)
    labels = np.array([classes.index(files[row].label) for row in result.rows], dtype=np.int32)
    names = [files[row].name for row in result.rows]
    kin = [layout.kin(_base(name)) for name in names] if layout.kin else []
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
