"""The store: a folder of models, each a folder of integer-named versions, each a SavedModel.

Pure file system work, without TensorFlow. Readers never see half a version: it is written beside its place, in a
folder whose name is no integer, and appears by one rename.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from service.errors import StoreError

SAVED_MODEL = "saved_model.pb"
EXTRA = "assets.extra"
MODEL_CARD = f"{EXTRA}/model_card.json"
GOLDEN = f"{EXTRA}/golden.npz"
WARMUP = f"{EXTRA}/tf_serving_warmup_requests"

_TEMPORARY = ".tmp-"
_PUBLISH_ATTEMPTS = 100


def check(store: Path) -> None:
    """Make sure that `store` is a folder which can be listed.

    Raises:
        StoreError: it is missing, a file, or not readable.
    """
    try:
        if not store.exists():
            raise StoreError(f"There is no store at {store}; name an existing folder with --store.")
        if not store.is_dir():
            raise StoreError(f"The store {store} is a file; --store takes the folder that holds <model>/<version>/.")
        next(store.iterdir(), None)
    except OSError as error:
        raise StoreError(f"The store {store} can't be read: {error.strerror}.") from error


def models(store: Path) -> dict[str, Path]:
    """Find the models of a store: its folders that hold at least one version.

    A folder that can't be read holds none: the `lost+found` of a mounted disk must not hide the models beside it.

    Returns:
        The folder of each model by name, in the order of their names.

    Raises:
        StoreError: the store can't be read.
    """
    return {path.name: path for path in sorted(_folders(store)) if _holds_version(path)}


def versions(model: Path) -> list[int]:
    """List the versions of a model, the lowest first.

    A folder whose name is no canonical integer, or without `saved_model.pb`, is no version.

    Raises:
        StoreError: the model's folder can't be read.
    """
    return sorted(int(path.name) for path in _folders(model) if _is_version(path))


def incomplete(model: Path) -> list[Path]:
    """List the integer-named folders of a model that hold no SavedModel: half-copied or broken."""
    return sorted(path for path in _folders(model) if _is_number(path.name) and not _is_version(path))


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
        if not (temporary / SAVED_MODEL).is_file():
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
        raise StoreError(f"{model!r} is no name for a model; use letters, digits, '_', '-' and '.', no '/'.")


def _rename_to_next(temporary: Path, folder: Path) -> int:
    """Rename to the number after the highest in use; tried again when another publisher takes it first."""
    for _ in range(_PUBLISH_ATTEMPTS):
        number = max((int(path.name) for path in _folders(folder) if _is_number(path.name)), default=0) + 1
        try:
            # rename(2) replaces nothing but an empty folder, so a version that is there stays.
            os.rename(temporary, folder / str(number))  # noqa: PTH104 - Path.rename is the same call
            return number
        except FileExistsError:
            continue
        except OSError as error:
            if not (folder / str(number)).exists():
                raise StoreError(f"The version {folder / str(number)} can't be made: {error.strerror}.") from error
    raise StoreError(f"No free version number was found in {folder}; is another program publishing there?")


def _folders(parent: Path) -> Iterator[Path]:
    try:
        yield from (path for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise StoreError(f"The folder {parent} can't be read: {error.strerror}.") from error


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit() and (name == "0" or name[0] != "0")


def _is_version(path: Path) -> bool:
    try:
        return _is_number(path.name) and (path / SAVED_MODEL).is_file()
    except PermissionError:  # what can't be read can't be served
        return False


def _holds_version(model: Path) -> bool:
    try:
        return bool(versions(model))
    except StoreError:
        return False
