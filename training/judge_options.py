"""What `signpost evaluate` is asked, and all of it that can be found wrong before TensorFlow is imported."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from service import store as model_store
from service.errors import StoreError
from service.objects import urls
from training.data import images, sign_mnist, sources
from training.errors import TrainingError
from training.whole_files import check_writable


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


@contextmanager
def reading(store: Path) -> Iterator[tuple[Path, Callable[[Path], Path]]]:
    """A store's folder, and what makes sure that all files of a version in it are there.

    Of a store in object storage it is a sketch, into which the files of a version are fetched.
    """
    if not urls.is_url(store):
        yield store, lambda version: version
        return
    from service.objects.editing.config_file import opened

    with opened(store) as configs:
        try:
            yield configs.store, configs.whole
        except StoreError as error:
            raise StoreError(configs.shown(str(error))) from error


def check(options: Options) -> Path:
    """Find the version to evaluate.

    Returns:
        Its folder.

    Raises:
        SignpostError: there is no such version, the data are missing or do not fit its card, or a folder can't be
            written.
    """
    if not options.data:
        raise TrainingError("evaluate needs --data: labelled images, in the same forms as for training.")
    for path in options.data:
        if not path.exists():
            raise TrainingError(f"There is nothing at {path}; --data takes a folder, a zip archive or CSV files.")
    version = _find(options.store, options.model)
    check_writable(report_folder(options, version), "report")
    check_writable(options.cache, "cache")
    if not sign_mnist.looks_like(options.data):
        classes = _classes(version)
        if classes:
            images.find_labelled(options.data, classes)
        else:
            sources.find(options.data, level="outer")  # whether they can be read at all
    return version


def report_folder(options: Options, version: Path) -> Path:
    """Where the report on a version goes."""
    return options.report or Path("reports") / f"{version.parent.name}-{version.name}"


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


def _classes(version: Path) -> tuple[str, ...]:
    """The classes of a version as its card tells them; none where there is no card, as with other people's models."""
    try:
        return tuple(map(str, json.loads((version / model_store.MODEL_CARD).read_text("utf-8"))["classes"]))
    except (OSError, KeyError, TypeError, ValueError):
        return ()
