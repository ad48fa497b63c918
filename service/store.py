"""The store: a folder of models, each a folder of versions named by whole numbers, each a SavedModel.

Pure file system work, without TensorFlow. Readers never see an incomplete version: it is written next to its place, in
a folder whose name is not a number, and appears with a single rename. Anything in a model's folder that is not a
version is reported with the reason: nothing is ignored silently.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from service.errors import StoreError

SAVED_MODEL = "saved_model.pb"
SAVED_MODEL_TEXT = "saved_model.pbtxt"
EXTRA = "assets.extra"
MODEL_CARD = f"{EXTRA}/model_card.json"
GOLDEN = f"{EXTRA}/golden.npz"
# The version in int8, as OpenVINO reads it: this file, and `model.bin` beside it.
INT8 = f"{EXTRA}/openvino_int8/model.xml"
WARMUP = f"{EXTRA}/tf_serving_warmup_requests"

# The highest number that a version can have over gRPC and in TF Serving's files: int64.
HIGHEST: Final = 2**63 - 1

_TEMPORARY = ".tmp-"
_PUBLISH_ATTEMPTS = 100
# What TensorFlow writes beside saved_model.pb; a folder that holds one of them holds a part of a SavedModel.
_PARTS: Final = ("variables", "fingerprint.pb", "keras_metadata.pb")
# On every freshly mounted disk, and not to be read.
_LOST_AND_FOUND: Final = "lost+found"


@dataclass(frozen=True)
class Contents:
    """What lies in a model's folder.

    Attributes:
        versions: the folder of each version by its number, the lowest first.
        passed_over: what is not taken for a version: its path, and what is wrong with it and would be right, to be
            read after the path.
        is_model: whether it is a model's folder, be it laid out wrongly: a SavedModel or a part of one lies somewhere
            in it, or could, as it can't be read.
    """

    versions: Mapping[int, Path] = field(default_factory=dict)
    passed_over: Mapping[Path, str] = field(default_factory=dict)
    is_model: bool = False


def check(store: Path) -> None:
    """Make sure that `store` is a folder which can be listed.

    Raises:
        StoreError: it is missing, a file, or not readable.
    """
    try:
        if not store.exists():
            raise StoreError(
                f"There is no store at {store}; pass an existing folder with --store, or create one with a "
                "first model: `signpost init my_service`."
            )
        if not store.is_dir():
            raise StoreError(f"The store {store} is a file; --store takes the folder that holds <model>/<version>/.")
        next(store.iterdir(), None)
    except OSError as error:
        raise StoreError(f"The store {store} can't be read: {error.strerror}.") from error


def survey(store: Path) -> dict[str, Contents]:
    """Look at every folder of a store that is a model's, or seems to be meant for one; see `Contents.is_model`.

    A folder that can't be read hides no model beside it.

    Returns:
        What lies in each by name, in the order of their names.

    Raises:
        StoreError: the store can't be read.
    """
    found: dict[str, Contents] = {}
    with _reading(store):
        for path in sorted(path for path in _folders(store) if _is_text(path.name)):
            try:
                contents = _look(path)
            except OSError as error:
                contents = Contents({}, {path: f"can't be read: {error.strerror}."}, path.name != _LOST_AND_FOUND)
            if contents.is_model:
                found[path.name] = contents
    return found


def misnamed(store: Path) -> list[Path]:
    """Folders whose names are not UTF-8, so that no request, label or metric can name them.

    Raises:
        StoreError: the store can't be read.
    """
    with _reading(store):
        return sorted(path for path in _folders(store) if not _is_text(path.name))


def models(store: Path) -> dict[str, Path]:
    """Find the models of a store: its folders that hold at least one version.

    Returns:
        The folder of each model by name, in the order of their names.

    Raises:
        StoreError: the store can't be read.
    """
    return {name: store / name for name, contents in survey(store).items() if contents.versions}


def versions(model: Path) -> dict[int, Path]:
    """Find the versions of a model.

    A version is a folder whose name is a whole number, leading zeros allowed, and which holds a SavedModel. Of several
    with the same number the one with the shortest name counts.

    Returns:
        The folder of each version by its number, the lowest first.

    Raises:
        StoreError: the model's folder can't be read.
    """
    return dict(look(model).versions)


def look(model: Path, itself: bool = False) -> Contents:
    """Look at all that lies in a model's folder.

    Args:
        model: the folder.
        itself: whether a folder that is itself a SavedModel, and holds no version, is one: version 1, or of the number
            that it is named by.

    Raises:
        StoreError: the folder can't be read.
    """
    with _reading(model):
        contents = _look(model)
        if itself and not contents.versions and _holds_saved_model(model):
            number = _number(model.name)
            return Contents({1 if number is None or number > HIGHEST else number: model}, {}, is_model=True)
        return contents


def _look(model: Path) -> Contents:
    found: dict[int, Path] = {}
    passed_over: dict[Path, str] = {}
    if wrong := _why_not_itself(model):
        passed_over[model] = wrong
    folders = sorted(_folders(model), key=lambda path: (len(path.name), path.name))
    for path in folders:
        number = _number(path.name)
        if number is None:
            continue
        if wrong := _why_no_version(path):
            passed_over[path] = wrong
        elif number > HIGHEST:
            passed_over[path] = f"is skipped: the highest version number is {HIGHEST}."
        elif number in found:
            passed_over[path] = f"is skipped: {found[number].name} is also version {number}; remove one or rename it."
        else:
            found[number] = path
    for path in folders:
        if _number(path.name) is None and (wrong := _why_misplaced(path, alone=not found)):
            passed_over[path] = wrong
    return Contents(dict(sorted(found.items())), passed_over, bool(found) or any(map(_is_meant_for_one, passed_over)))


def fingerprint(version: Path) -> dict[str, tuple[int, int]]:
    """Size in bytes and time of the last change (ctime, ns) of every file in a version's folder, by relative path.

    The ctime can't be set by copying tools, so a file that is being copied always shows.

    Raises:
        StoreError: the folder can't be read.
    """
    try:
        return {
            str(path.relative_to(version)): (path.stat().st_size, path.stat().st_ctime_ns)
            for path in sorted(version.rglob("*"))
        }
    except OSError as error:
        raise StoreError(f"The version {version} can't be read: {error.strerror}.") from error


def newest_s(files: Mapping[str, tuple[int, int]]) -> float:
    """Time (seconds since the epoch) of the last change of any file in a fingerprint."""
    return max((ctime_ns for _, ctime_ns in files.values()), default=0) / 1e9


def publish(store: Path, model: str, write: Callable[[Path], None]) -> int:
    """Publish the next version of a model: written to a temporary folder beside its place, then renamed.

    Args:
        store: the store; made if missing.
        model: name of the model; made if new.
        write: fills the empty folder that it is given; what it raises is passed on.

    Returns:
        The number of the new version.

    Raises:
        StoreError: the store can't be written, or `write` left no `saved_model.pb`.
    """
    check_name(model)
    folder = store / model
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=folder))
    except OSError as error:
        raise StoreError(f"The store {store} can't be written: {error.strerror}.") from error
    try:
        write(temporary)
        if not _holds_saved_model(temporary):
            raise StoreError(f"Nothing was published for {model}: no {SAVED_MODEL} was written.")
        temporary.chmod(0o755)  # mkdtemp's 0700 would hide the version from a server that runs as another user
        return _rename_to_next(temporary, folder)
    except OSError as error:
        raise StoreError(f"The store {store} can't be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_name(model: str) -> None:
    """Make sure that a model can have this name.

    Raises:
        StoreError: it can't.
    """
    if not model or model.startswith(".") or "/" in model or not model.isprintable():
        raise StoreError(f"{model!r} is not a valid model name; use letters, digits, '_', '-' and '.', no '/'.")


def _rename_to_next(temporary: Path, folder: Path) -> int:
    """Rename to the number after the highest in use; tried again when another publisher takes it first."""
    for _ in range(_PUBLISH_ATTEMPTS):
        with _reading(folder):
            taken = [number for path in _folders(folder) if (number := _number(path.name)) is not None]
        number = max(taken, default=0) + 1
        if number > HIGHEST:
            raise StoreError(f"{folder} has no version number left: {HIGHEST} is the highest.")
        try:
            # rename(2) replaces nothing but an empty folder, so a version that is there stays.
            os.rename(temporary, folder / str(number))  # noqa: PTH104 - Path.rename is the same call
            return number
        except FileExistsError:
            continue
        except OSError as error:
            if not (folder / str(number)).exists():
                raise StoreError(f"The version {folder / str(number)} can't be created: {error.strerror}.") from error
    raise StoreError(f"No free version number was found in {folder}; is another program publishing there?")


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"The folder {folder} can't be read: {error.strerror}.") from error


def _folders(parent: Path) -> Iterator[Path]:
    """The folders in a folder, without hidden ones; raises OSError."""
    return (path for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))


def _number(name: str) -> int | None:
    """The number that a folder's name is, or None."""
    return int(name) if name.isascii() and name.isdigit() else None


def _holds_saved_model(folder: Path) -> bool:
    return (folder / SAVED_MODEL).is_file() or (folder / SAVED_MODEL_TEXT).is_file()


def _saved_model_below(folder: Path) -> Path | None:
    """A folder in this one that holds a SavedModel."""
    return next(filter(_holds_saved_model, sorted(_folders(folder))), None)


def _is_meant_for_one(folder: Path) -> bool:
    """Whether a folder holds a SavedModel, at the wrong place or in part, or can't be looked into."""
    try:
        whole = _holds_saved_model(folder) or _saved_model_below(folder) is not None
        return whole or any((folder / part).exists() for part in _PARTS)
    except OSError:
        return True


def _why_not_itself(model: Path) -> str:
    """What is wrong where a SavedModel lies directly in a model's folder; empty where none does."""
    if not _holds_saved_model(model):
        return ""
    if _number(model.name) is not None:
        return f"is a version; the model's folder is the one above it, {model.parent.name}."
    return f"contains a SavedModel itself; move its content into a folder named by the version number: {model.name}/1."


def _why_no_version(path: Path) -> str:
    """What keeps a folder named by a number from being a version; empty where nothing does."""
    try:
        if _holds_saved_model(path):
            return ""
        below = _saved_model_below(path)
    except PermissionError as error:
        return f"is skipped: it can't be read ({error.strerror})."
    if below is not None:
        return f"has no {SAVED_MODEL} and is skipped; {path.name}/{below.name} has one: move its content up."
    return f"has no {SAVED_MODEL} and is skipped; is it still being copied?"


def _why_misplaced(path: Path, alone: bool) -> str:
    """What is wrong with a folder not named by a number; empty where it has nothing to do with SavedModels.

    Args:
        path: the folder.
        alone: whether the model has no version, so that this may be what was meant.
    """
    try:
        if path.is_symlink() and path.resolve().parent == path.parent.resolve():
            return ""  # another name of a folder beside it, such as `latest`
        if _holds_saved_model(path):
            return (
                "contains a SavedModel and is skipped: a version's folder must be named by a whole number, such as 1."
            )
        below = _saved_model_below(path) if alone else None
    except PermissionError:
        return ""
    if below is None:
        return ""
    if _number(below.name) is None:
        return f"is skipped; {path.name}/{below.name} contains a SavedModel, which belongs in <model>/<version>/."
    return f"is skipped; it contains the version {below.name}, so it is a model itself: it belongs one folder higher."


def _is_text(name: str) -> bool:
    """Whether a name is UTF-8; Python gives bytes that are not as halves of surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)
