"""Buckets that are folders, read and written through the same library as real ones."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from obstore.store import LocalStore

from service.engine.local import agreement
from service.engine.local.agreement import Failure, ModelOffer, Offer
from service.objects.bucket import Bucket
from service.objects.urls import Url

WHOLE = {
    "saved_model.pb": b"graph",
    "variables/variables.index": b"index",
    "variables/variables.data-00000-of-00001": b"data" * 1000,
}


class Buckets:
    """Buckets of every address, each a folder below one.

    Attributes:
        opened: how often each was reached.
        broken: errors that reaching them raises, by address.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broken: dict[str, Exception] = {}

    def reach(self, url: Url) -> Bucket:
        """What `service.objects.bucket.connect` does."""
        if str(url) in self.broken:
            raise self.broken[str(url)]
        place = self.place(str(url))
        place.mkdir(parents=True, exist_ok=True)
        return Bucket(url, LocalStore(prefix=place))

    def place(self, url: str) -> Path:
        """The folder of an address."""
        scheme, _, rest = url.partition("://")
        return self.folder / scheme / rest

    def put(self, url: str, files: dict[str, bytes] = WHOLE) -> None:
        """Write objects below an address."""
        for name, content in files.items():
            path = self.place(f"{url}/{name}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def offer(service: Path, pid: int = 1, failed: Iterable[int] = (), **available: Iterable[int]) -> None:
    """Have a worker of a service say what it has loaded; `failed` are versions of the first of the models."""
    folder = service / "agreement"
    folder.mkdir(exist_ok=True)
    models = {name: ModelOffer(available=frozenset(numbers)) for name, numbers in available.items()}
    for name in list(models)[:1]:
        why = {number: Failure("it is broken", "") for number in failed}
        models[name] = ModelOffer(available=models[name].available, failed=why)
    content: Any = agreement.offer_to_json(Offer(models, serves=True))
    temporary = folder / f".offer-{os.getpid()}"
    temporary.write_text(json.dumps(content))
    temporary.replace(folder / f"offer-{pid}")
