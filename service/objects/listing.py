"""A list of objects, read as models and versions: pure functions, so that their tests are tables.

A bucket has no rename, so a version shows up object by object. It counts as whole when its `saved_model.pb` is there,
no part of its variables is missing and nobody is still publishing it; that it has not changed for a while is the
mirror's business.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from service import store
from service.objects.bucket import Object

# An object of a version that is being published; see `publishing.py`.
PUBLISHING: Final = ".publishing"
# In a copy: which objects it was made of; see `cache.py`.
MANIFEST: Final = ".objects.json"
_SHARD: Final = re.compile(r"variables/variables\.data-(\d{5})-of-(\d{5})")
_INDEX: Final = "variables/variables.index"
_LONGEST_NAME_BYTES: Final = 255


@dataclass(frozen=True)
class Version:
    """A version as it lies in a bucket.

    Attributes:
        folder: its name below the model's address, which may have leading zeros; empty where that address is the
            version itself.
        files: its objects by their names below that.
    """

    folder: str
    files: Mapping[str, Object]

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(each.size for each in self.files.values())


@dataclass(frozen=True)
class Model:
    """What lies below a model's address.

    Attributes:
        versions: those that are whole, by their numbers, the lowest first.
        passed_over: what is not taken for a version: its name and what is wrong with it.
    """

    versions: Mapping[int, Version] = field(default_factory=dict)
    passed_over: Mapping[str, str] = field(default_factory=dict)


def models(objects: Mapping[str, Object]) -> dict[str, Model]:
    """The models of a store, in the order of their names: whatever holds a folder that is named by a number.

    Args:
        objects: all of the store by their names below its address.
    """
    found = {name: model(below) for name, below in sorted(_by_folder(objects).items()) if not name.startswith(".")}
    return {name: each for name, each in found.items() if each.versions or each.passed_over}


def model(objects: Mapping[str, Object]) -> Model:
    """What there is of one model.

    Args:
        objects: all of it by their names below its address. Where a SavedModel lies there itself, as a path that is one
            part too long names it, that is version 1.
    """
    versions: dict[int, Version] = {}
    passed_over: dict[str, str] = {}
    numbered = {name: files for name, files in _by_folder(objects).items() if name.isascii() and name.isdigit()}
    for name, files in sorted(numbered.items(), key=lambda each: (len(each[0]), each[0])):
        number = int(name)
        if wrong := why_not_whole(files):
            passed_over[name] = wrong
        elif number > store.HIGHEST:
            passed_over[name] = f"is skipped: the highest version number is {store.HIGHEST}."
        elif number in versions:
            passed_over[name] = f"is skipped: {versions[number].folder} is also version {number}; remove one."
        else:
            versions[number] = Version(name, files)
    if not numbered and store.SAVED_MODEL in objects and not why_not_whole(objects):
        versions[1] = Version("", dict(objects))
    return Model(dict(sorted(versions.items())), passed_over)


def below(objects: Mapping[str, Object], name: str) -> dict[str, Object]:
    """The objects below a name, by what follows it."""
    start = f"{name}/" if name else ""
    return {each[len(start) :]: known for each, known in objects.items() if each.startswith(start)}


def why_not_whole(files: Mapping[str, Object]) -> str:
    """What keeps some objects from being a whole version; empty where nothing does."""
    if PUBLISHING in files:
        return "is skipped: it is still being published."
    if store.SAVED_MODEL not in files and store.SAVED_MODEL_TEXT not in files:
        return f"has no {store.SAVED_MODEL} and is skipped; is it still being uploaded?"
    shards = [match for name in files if (match := _SHARD.fullmatch(name))]
    if shards and (_INDEX not in files or len(shards) < int(shards[0][2])):
        return "lacks part of its variables and is skipped; is it still being uploaded?"
    if _INDEX in files and not shards:
        return "lacks its variables' data and is skipped; is it still being uploaded?"
    if wrong := next((name for name in files if not _can_be_a_file(name, files)), None):
        return f"is skipped: {wrong!r} can't be a file name."
    return ""


def _can_be_a_file(name: str, files: Iterable[str]) -> bool:
    parts = name.split("/")
    fits = all(part not in ("", ".", "..") and len(part.encode()) <= _LONGEST_NAME_BYTES for part in parts)
    above = {"/".join(parts[:count]) for count in range(1, len(parts))}
    return fits and name.isprintable() and name != MANIFEST and not above & set(files)


def _by_folder(objects: Mapping[str, Object]) -> dict[str, dict[str, Object]]:
    """Objects that lie in folders, by the first part of their names."""
    found: dict[str, dict[str, Object]] = defaultdict(dict)
    for name, known in objects.items():
        folder, slash, rest = name.partition("/")
        if slash:
            found[folder][rest] = known
    return dict(found)
