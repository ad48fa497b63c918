"""A store in a bucket, drawn in a folder: its models and versions, their model cards and the configuration.

What reads a store in a folder (which versions there are, what a card says, which labels point where) reads the sketch
as well, without anything large being fetched.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from service import store
from service.config.config_source import CONFIG_NAME
from service.objects import listing
from service.objects.bucket import Absent, Bucket, Object
from service.objects.listing import Version
from service.objects.urls import Url


@dataclass
class Sketch:
    """See the module.

    Attributes:
        folder: an empty folder that is drawn in.
        reach: makes a bucket of an address.
        drawn: the folder of each version that is whole, with the address of its model and its objects.
    """

    folder: Path
    reach: Callable[[Url], Bucket]
    drawn: dict[Path, tuple[Url, Version]] = field(default_factory=dict)

    def draw(self, url: Url) -> Object | None:
        """Draw a store.

        Returns:
            Its configuration, whose text lies in the folder; None where it has none.

        Raises:
            StoreError: the bucket can't be read.
        """
        bucket = self.reach(url)
        objects = bucket.objects()
        for name in listing.models(objects):
            self.draw_model(url.below(name), self.folder / name, listing.below(objects, name))
        known = objects.get(CONFIG_NAME)
        path = self.folder / CONFIG_NAME
        if known is None:
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(bucket.read(CONFIG_NAME, known))
        return known

    def draw_model(self, url: Url, folder: Path, objects: dict[str, Object] | None = None) -> None:
        """Draw a model; its objects are listed unless they are known."""
        bucket = self.reach(url)
        found = listing.model(bucket.objects() if objects is None else objects)
        folder.mkdir(parents=True, exist_ok=True)
        for name in found.passed_over:
            (folder / name).mkdir(exist_ok=True)
        for number, version in found.versions.items():
            place = folder / (version.folder or str(number))
            self.drawn[place] = (url, version)
            if place.exists():
                continue  # drawn before; cards do not change
            (place / store.EXTRA).mkdir(parents=True)
            if (card := version.files.get(store.MODEL_CARD)) is not None:
                self._draw_card(bucket, f"{version.folder}/{store.MODEL_CARD}".lstrip("/"), card, place)
            (place / store.SAVED_MODEL).touch()

    def _draw_card(self, bucket: Bucket, name: str, card: Object, place: Path) -> None:
        try:
            content = bucket.read(name, card)
            json.loads(content)
        except (Absent, ValueError):  # a version without a card is one as well
            return
        (place / store.MODEL_CARD).write_bytes(content)
