"""What buckets hold now, listed once in a look, and since when it has been so."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from service.errors import SettingsError
from service.objects import listing
from service.objects.bucket import Bucket, Object
from service.objects.urls import Url

# What has not changed for so many seconds is taken to be complete.
QUIET_S: Final = 1.0
_NOTHING: Any = object()


class View:
    """See the module.

    Args:
        reach: makes a bucket of an address.
        beat: called after each answer.
    """

    def __init__(self, reach: Callable[[Url], Bucket], beat: Callable[[], None]) -> None:
        """Ask nothing yet."""
        self._reach = reach
        self._beat = beat
        self._buckets: dict[Url, Bucket] = {}
        self._listed: dict[Url, dict[str, Object]] = {}
        self._seen: dict[object, tuple[object, float]] = {}
        self._texts: dict[Url, tuple[Object, str]] = {}

    def renew(self) -> None:
        """Begin another look: forget what was listed."""
        self._listed.clear()

    def bucket(self, url: Url) -> Bucket:
        """What reaches the objects below an address; the same each time."""
        if url not in self._buckets:
            self._buckets[url] = self._reach(url)
        return self._buckets[url]

    def objects(self, url: Url) -> Mapping[str, Object]:
        """All objects below an address by their names.

        Raises:
            StoreError: they can't be listed.
        """
        for listed, objects in self._listed.items():
            if listed.root == url.root and f"/{url.prefix}/".startswith(f"/{listed.prefix}/".replace("//", "/")):
                return listing.below(objects, url.prefix[len(listed.prefix) :].strip("/"))
        self._listed[url] = self.bucket(url).objects()
        self._beat()
        return self._listed[url]

    def text(self, url: Url, *, is_listed: bool = True) -> str | None:
        """A small object; None where there is none. One that has just gone is not believed to be gone yet.

        Args:
            url: its address.
            is_listed: whether what lies beside it is listed in any case.

        Raises:
            StoreError: it can't be read.
            SettingsError: it is not text.
        """
        name = url.name
        known = self.objects(url.parent).get(name) if is_listed else self.bucket(url.parent).find(name)
        if known is None:
            if url in self._texts and not self.is_quiet(url, None):
                return self._texts[url][1]
            self._texts.pop(url, None)
            return None
        self.forget(url)
        if url not in self._texts or self._texts[url][0] != known:
            try:
                self._texts[url] = (known, self.bucket(url.parent).read(name, known).decode())
            except UnicodeDecodeError as error:
                raise SettingsError(f"{url} is not text: {error}.") from error
        return self._texts[url][1]

    def is_quiet(self, key: object, value: object) -> bool:
        """Whether something has been as it is now for `QUIET_S`, as far as it was looked at."""
        now = time.monotonic()
        seen, since = self._seen.get(key, (_NOTHING, now))
        if seen != value:
            self._seen[key] = (value, now)
            return False
        return bool(now - since >= QUIET_S)

    def forget(self, key: object) -> None:
        """Watch something no longer: it is as it should be."""
        self._seen.pop(key, None)
