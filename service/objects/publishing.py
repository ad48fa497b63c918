"""Versions written to a bucket. It has no rename, so `saved_model.pb` comes last: without it nothing is a version.

A number is taken by a mark that can be made only once, so that two who publish at the same time get two numbers; while
it is there no mirror takes the version. Where a publisher ends in the middle, its number stays unused.
"""

import os
import socket
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from service import store
from service.errors import StoreError
from service.objects import urls
from service.objects.bucket import Bucket, Exists, Object, connect
from service.objects.listing import PUBLISHING
from service.objects.urls import Url

_ATTEMPTS: Final = 100
_PROBE: Final = ".publishing-probe"
_LAST: Final = (store.SAVED_MODEL, store.SAVED_MODEL_TEXT)


def publish(where: Path, model: str, write: Callable[[Path], None]) -> int:
    """Publish the next version of a model, in a folder or in a bucket; see `service.store.publish`."""
    url = urls.parse(where, "--store")
    if url is None:
        return store.publish(where, model, write)
    with tempfile.TemporaryDirectory(prefix="signpost-") as folder:
        made = store.publish(Path(folder), model, write)
        return upload(connect(url), model, Path(folder) / model / str(made))


def check(url: Url, model: str) -> None:
    """Make sure that versions of a model can be published, before anything is computed for them.

    Raises:
        StoreError: the bucket can't be listed, written to, or deleted from.
        SettingsError: it can't be reached as the environment says.
    """
    bucket = connect(url)
    bucket.objects(model)
    bucket.put(f"{model}/{_PROBE}", b"")
    bucket.delete([f"{model}/{_PROBE}"])


def upload(bucket: Bucket, model: str, folder: Path) -> int:
    """Write a version's folder to a bucket under the next number.

    Args:
        bucket: the store.
        model: the model's name.
        folder: a whole version.

    Returns:
        The version's number.

    Raises:
        StoreError: the bucket can't be written to; what was written is taken away again, if it can be.
    """
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    number = _take_number(bucket, model)
    place = f"{model}/{number}"
    written = [f"{place}/{PUBLISHING}"]
    try:
        for name in files.keys() - {*_LAST}:
            written.append(f"{place}/{name}")
            bucket.put(written[-1], files[name])
        for name in files.keys() & {*_LAST}:
            bucket.put(f"{place}/{name}", files[name])
        bucket.delete(written[:1])
    except BaseException:
        with suppress(StoreError):
            bucket.delete([*(f"{place}/{name}" for name in _LAST), *written])
        raise
    return number


def delete(bucket: Bucket, place: str, files: Mapping[str, Object]) -> None:
    """Delete a version from a bucket, first what makes it one.

    Raises:
        StoreError: the bucket can't be written to.
    """
    first = [name for name in _LAST if name in files]
    bucket.delete([f"{place}/{name}" for name in (*first, *(name for name in files if name not in first))])


def _take_number(bucket: Bucket, model: str) -> int:
    """The number after the highest in use, taken; tried again where another publisher was quicker."""
    for _ in range(_ATTEMPTS):
        folders = [name.split("/")[1] for name in bucket.objects(model) if name.count("/") > 1]
        number = max((int(each) for each in folders if each.isascii() and each.isdigit()), default=0) + 1
        if number > store.HIGHEST:
            raise StoreError(f"{bucket.url.below(model)} has no version number left: {store.HIGHEST} is the highest.")
        mark = f"{model}/{number}/{PUBLISHING}"
        with suppress(Exists):
            bucket.put(mark, f"{socket.gethostname()} {os.getpid()}\n".encode(), new=True)
            if len(bucket.objects(f"{model}/{number}")) == 1:
                return number
            bucket.delete([mark])  # another publisher has come and gone since the list
    raise StoreError(f"No free number was found for {bucket.url.below(model)}; does another program publish there?")
