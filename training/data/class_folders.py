"""Which folders are the classes.

The outermost folders that lie side by side are, with all that is in them, as other tools have it. Folders around all of
them are passed through (archives often have one), and so are the parts of a data set:

    class/image, class/any/folders/image, wrapper/class/image
    train/class/image, test/class/image, or class/train/image, class/test/image
    train/cat.0.jpg                 Kaggle's cats and dogs: the class is the beginning of the name

Where the folders within could as well be meant, since the same ones lie in several, nothing is guessed:
a user says which (`--class-folders`).
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final, Literal

from training.errors import TrainingError

Level = Literal["outer", "inner"]

_TRAIN: Final = frozenset({"train", "training"})
_TEST: Final = frozenset({"test", "testing", "validation", "valid", "val"})
_PARTS: Final = _TRAIN | _TEST
_FLAT: Final = re.compile(r"(?P<label>[A-Za-z_]+)\.\d+\.[A-Za-z]+")
_SHOWN: Final = 5
# What nobody takes for an image says nothing about where the classes are. Any other ending may be an image's.
_BESIDES: Final = (
    *(".cfg", ".csv", ".db", ".doc", ".docx", ".htm", ".html", ".ini", ".ipynb", ".json", ".jsonl", ".log", ".md"),
    *(".pdf", ".py", ".rst", ".sh", ".toml", ".tsv", ".txt", ".url", ".xls", ".xlsx", ".xml", ".yaml", ".yml"),
    *(".7z", ".gz", ".h5", ".mat", ".npy", ".npz", ".pkl", ".rar", ".tar", ".tgz", ".zip"),
)
_NOTES: Final = frozenset({"copying", "license", "licence", "notice", "readme"})


@dataclass(frozen=True)
class Place:
    """Where a file belongs.

    Attributes:
        folder: name of its class folder.
        part: `train`, `test`, or nothing where the source does not say.
    """

    folder: str
    part: str


@dataclass(frozen=True)
class Places:
    """Where the files of a source belong.

    Attributes:
        files: a place for each file, None for those in no class folder.
        empty: the class folders without an image, by their paths in the source.
    """

    files: Sequence[Place | None]
    empty: Sequence[str]


@dataclass(eq=False)
class _Folder:
    path: tuple[str, ...] = ()
    folders: "dict[str, _Folder]" = field(default_factory=dict)
    names: list[str] = field(default_factory=list)  # of the images in it, those in folders within not among them
    others: int = 0

    def within(self, name: str) -> "_Folder":
        return self.folders.setdefault(name, _Folder((*self.path, name)))

    @property
    def has_images(self) -> bool:
        return bool(self.names) or any(folder.has_images for folder in self.folders.values())

    @property
    def is_empty(self) -> bool:
        return not self.names and not self.others and all(folder.is_empty for folder in self.folders.values())

    @property
    def full(self) -> "list[_Folder]":
        return [folder for folder in self.folders.values() if folder.has_images]

    @property
    def is_flat(self) -> bool:
        return bool(self.names) and all(_FLAT.fullmatch(name) for name in self.names)

    @property
    def is_called_part(self) -> bool:
        return self.name.lower() in _PARTS

    @property
    def name(self) -> str:
        return self.path[-1]


def places(names: Sequence[str], folders: Iterable[str], source: str, level: Level | None = None) -> Places:
    """Find the class folder of each file.

    Args:
        names: paths of the files within the source, with `/`.
        folders: paths of its folders; those above files need not be among them.
        source: what the source itself is called, which may say that it is a test part.
        level: which folders are the classes; found out where it is None.

    Raises:
        TrainingError: it could be one level or another.
    """
    found: list[_Folder] = []
    root = _tree(names, folders)
    if level == "inner":
        found += _innermost(root)
    else:
        _find(root, level, source, found)
    classes = {folder.path for folder in found}
    empty = ["/".join(folder.path) for folder in found if not folder.has_images]
    return Places([_place(PurePosixPath(name), classes, source, level) for name in names], empty)


def matching(names: Sequence[str], source: str, known: Callable[[str], bool]) -> list[Place | None]:
    """Find the class folder of each file by its name: the one that is called like a known class.

    Args:
        names: paths of the files within the source, with `/`.
        source: what the source itself is called.
        known: whether a folder's name is a class's.

    Returns:
        A place for each file, None for those in no such folder.

    Raises:
        TrainingError: a file lies in folders of two classes.
    """
    result: list[Place | None] = []
    for name in names:
        above = PurePosixPath(name).parts[:-1]
        at = [index for index, folder in enumerate(above) if known(folder)]
        if len({above[index].casefold() for index in at}) > 1:  # `train` may be a class of vehicles, or a part
            at = [index for index in at if above[index].lower() not in _PARTS]
        if len({above[index].casefold() for index in at}) > 1:
            both = " and ".join(above[index] for index in at)
            raise TrainingError(f"{name} in {source} is in the folders of two classes, {both}; move it to one of them.")
        result.append(Place(above[at[0]], _part(source, above[: at[0]], above[at[0] + 1 :])) if at else None)
    return result


def may_be_image(name: PurePosixPath) -> bool:
    """Whether a file's name does not say that it is something else than an image."""
    return name.suffix.lower() not in _BESIDES and name.stem.lower() not in _NOTES


def _tree(names: Sequence[str], folders: Iterable[str]) -> _Folder:
    root = _Folder()
    for folder_name in folders:
        _descend(root, PurePosixPath(folder_name).parts)
    for path in map(PurePosixPath, names):
        folder = _descend(root, path.parts[:-1])
        if may_be_image(path):
            folder.names.append(path.name)
        else:
            folder.others += 1
    return root


def _descend(root: _Folder, parts: Iterable[str]) -> _Folder:
    for part in parts:
        root = root.within(part)
    return root


def _find(folder: _Folder, level: Level | None, source: str, found: list[_Folder]) -> None:
    """Collect the class folders below a folder that is none itself."""
    inside = [
        each for each in folder.folders.values() if each.has_images or (each.is_empty and not each.is_called_part)
    ]
    parts = [each for each in inside if _is_part(each, level)]
    others = [each for each in inside if each not in parts and each.has_images]
    if parts and others:
        if level is None and any(part.folders or part.is_flat for part in parts):
            raise TrainingError(
                f"{source} holds {_listed(parts)}, which are parts of a data set, and next to them {_listed(others)}; "
                "move those elsewhere, or if all of them are classes, pass --class-folders outer."
            )
        parts = []  # a train, a bus and a car
    if parts:
        for part in parts:
            _find(part, level, source, found)
    elif len(inside) == 1 and _is_wrapper(inside[0], level, source):
        _find(inside[0], level, source, found)
    elif inside:
        if level is None:
            _check_clear([each for each in inside if not each.names], source)
        # Beside classes, a folder without an image is a class whose images were forgotten.
        found += [each for each in folder.folders.values() if each in inside or not each.is_called_part]


def _is_part(folder: _Folder, level: Level | None) -> bool:
    """Whether a folder is a part of a data set by its name.

    One called `train station` may be a class, and is one if it holds images itself.
    """
    if folder.is_called_part:
        return True
    return level is None and bool(_words([folder.name]) & _PARTS) and (folder.is_flat or not folder.names)


def _is_wrapper(only: _Folder, level: Level | None, source: str) -> bool:
    """Whether the only folder at its place lies around the classes, rather than being one."""
    if only.names and len(only.full) > 1 and level is None:
        raise _unclear([only], only.full, source)
    return not only.names and bool(only.folders)


def _check_clear(outer: Sequence[_Folder], source: str) -> None:
    """Refuse classes that could as well be the folders within: several of those lie in more than one."""
    inner: list[_Folder] = []
    for each in outer:
        while not each.names and len(each.full) == 1:
            each = each.full[0]
        inner += [folder for folder in each.full if not folder.is_called_part]
    shared = [name for name, count in Counter(folder.name for folder in inner).items() if count > 1]
    if len(shared) > 1:
        raise _unclear(outer, [folder for folder in inner if folder.name in shared], source)


def _unclear(outer: Sequence[_Folder], inner: Sequence[_Folder], source: str) -> TrainingError:
    return TrainingError(
        f"It is not clear which folders of {source} are the classes: {_listed(outer)}, or those inside "
        f"them, {_listed(inner)}. Pass --class-folders outer for the first, --class-folders inner for the second."
    )


def _innermost(folder: _Folder, outer: _Folder | None = None) -> list[_Folder]:
    """The folders that hold images themselves, or nothing at all; what a part within a class holds is the class's."""
    here = folder if folder.path and not folder.is_called_part else outer
    found = [here] if here and (folder.names or (folder is here and folder.is_empty)) else []
    for each in folder.folders.values():
        found += _innermost(each, here)
    return found


def _place(name: PurePosixPath, classes: set[tuple[str, ...]], source: str, level: Level | None) -> Place | None:
    above = name.parts[:-1]
    depths = range(1, len(above) + 1)
    for depth in reversed(depths) if level == "inner" else depths:
        if above[:depth] in classes:
            return Place(above[depth - 1], _part(source, above[: depth - 1], above[depth:]))
    flat = _FLAT.fullmatch(name.name)
    return Place(flat["label"], _part(source, above, ())) if flat else None


def _part(source: str, above: Iterable[str], below: Iterable[str]) -> str:
    """What part of its data set a file is of, by the folders above and below its class.

    The source counts too: `--data photos/train`, `--data rps-test-set.zip`.
    """
    words = _words([PurePosixPath(source).stem, *above]) | {folder.lower() for folder in below}
    return "test" if words & _TEST else "train" if words & _TRAIN else ""


def _words(names: Iterable[str]) -> set[str]:
    return set(re.split(r"[^a-z]+", " ".join(names).lower()))


def _listed(folders: Sequence[_Folder]) -> str:
    names = list(dict.fromkeys(folder.name for folder in folders))
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
