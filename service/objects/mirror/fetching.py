"""A version fetched from a bucket into a folder, each object checked."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from service.errors import StoreError
from service.objects.bucket import Absent, Bucket, Object
from service.objects.listing import Version
from service.objects.mirror.cache import write_file

_MD5: Final = re.compile(r'"?([0-9a-f]{32})"?')


def fetch(bucket: Bucket, name: str, version: Version, folder: Path, arrived: Callable[[int], None]) -> None:
    """Fetch all of a version, through to the disk.

    Args:
        bucket: where it lies.
        name: its own, below the bucket's address; empty where it is that itself.
        version: its objects as they were listed; others are not taken.
        folder: an empty folder.
        arrived: told of each piece's bytes.

    Raises:
        StoreError: an object is gone, was replaced, broke off, or came different from what was listed; or the bucket
            can't be asked.
        OSError: the disk can't be written.
    """
    for relative, known in version.files.items():
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        where = f"{name}/{relative}" if name else relative

        def pieces(where: str = where, known: Object = known) -> Iterator[bytes]:
            for piece in bucket.chunks(where, known):
                arrived(len(piece))
                yield piece

        try:
            digest = write_file(path, pieces())
            # Not every ETag of that form is an MD5 (with a customer's key it is not): what comes twice alike is right.
            told = _MD5.fullmatch(known.e_tag)
            if told is not None and told[1] != digest and write_file(path, pieces()) != digest:
                raise StoreError(f"{bucket.url.below(where)} was different each time it was fetched.")
        except Absent:
            if known.size:
                raise
            path.unlink(missing_ok=True)
            path.mkdir()  # an empty object that stood for an empty folder
