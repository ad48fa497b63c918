"""Keeps the copy of a store in step with its bucket: one look at a time, in whatever process calls it.

An error changes nothing that is served; it is told once, and again when it has lasted for long.
"""

import logging
import math
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from service import store
from service.config.config_source import CONFIG_NAME, write_atomically
from service.config.model_config import wanted_versions
from service.engine.local.folders import QUIET_S
from service.errors import SettingsError, SignpostError, StoreError
from service.objects.bucket import Bucket, connect
from service.objects.mirror import engines as engines_of
from service.objects.mirror.cache import Cache, Copy
from service.objects.mirror.configs import Source, Wanted
from service.objects.mirror.engines import Engines
from service.objects.mirror.fetching import fetch
from service.objects.mirror.told import Told
from service.objects.mirror.view import View
from service.objects.mirror.work import Work, Works, read_configured
from service.objects.urls import Url

log = logging.getLogger(__name__)

# Seconds after which the engines take what has appeared in the copy for whole, and a little more.
_RIPE_S: Final = QUIET_S + 0.5
# What else of a store is copied; see `service.parts.batching_config`.
BATCHING_CONFIG: Final = "batching.config"
_MIB: Final = 2**20


@dataclass(frozen=True)
class Look:
    """What came of a look.

    Attributes:
        complete: there is a copy of all that is known to be wanted, and the configuration is in place.
        changing: something changes in the bucket, and is left alone until it does not; or what was copied is young.
        failure: what could not be done, for people; empty if nothing failed.
        without: models that are named, and of which there is no version.
    """

    complete: bool = True
    changing: bool = False
    failure: str = ""
    without: tuple[Wanted, ...] = ()

    @property
    def settled(self) -> bool:
        """Whether the copy is as the bucket wants it."""
        return self.complete and not self.changing and not self.failure


class Mirror:
    """See the module.

    Args:
        source: what is mirrored.
        service: the private folder of the service for which it is; None without one.
        told: keeps what is told.
        reach: makes a bucket of an address.
        beat: called often while something is fetched.
    """

    def __init__(
        self,
        source: Source,
        service: Path | None = None,
        *,
        told: Told | None = None,
        reach: Callable[[Url], Bucket] = connect,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """Look at nothing yet."""
        self._source = source
        self._service = service
        self._told = told or Told(source.where)
        self._beat = beat
        self._view = View(reach, beat)
        self.cache = Cache(source.root)
        self._works = Works(source, self._view, self.cache, self._told.tell)
        self._configured: tuple[str | None, tuple[Wanted, ...]] | None = None  # the last without an error
        self._failure = ""
        self._engines_serve = False
        self._since_s: dict[Path, float] = {}  # when each copy was seen first

    @property
    def has_copy(self) -> bool:
        """Whether there is anything to serve without the bucket."""
        return any(self.cache.copies(base) for base in self._source.folders())

    def look(self) -> Look:
        """Look at the bucket and bring the copy nearer to it.

        Raises:
            StoreError: the bucket can't be looked at, or holds nothing to serve; nothing has changed.
            SettingsError: its configuration has an error, and no other is known.
        """
        self._view.renew()
        self._failure = ""
        engines = engines_of.read(self._service / "agreement") if self._service is not None else Engines()
        self._engines_serve = engines.serve
        text, wanted = self._read_configured()
        if not wanted and text is None:
            raise StoreError(self._nothing())
        works = self._find(text, wanted, engines)
        extras = self._extras()
        complete = True
        if extras or text != self._in_place() or not all(map(self._is_done, works)):
            with self.cache.locked() as has_lock:
                if has_lock:  # another service may have done it meanwhile
                    works = [self._act(each) for each in self._find(text, wanted, engines)]
                    complete = self._put_in_place(text, extras, wanted, works)
                else:
                    complete = False
        copies = [copy for each in works for copy in self.cache.copies(each.folder).values()]
        now = time.monotonic()
        self._since_s = {copy.folder: self._since_s.get(copy.folder, now) for copy in copies}
        self.cache.hold(
            copy.folder
            for each in works
            for number, copy in self.cache.copies(each.folder).items()
            if number in (each.wanted | each.held) - each.failed
        )
        if not self._failure:
            self._told.well()
        is_named = text is not None or self._source.base is not None
        return Look(
            complete and not any(each.missing for each in works),
            any(each.changing for each in works) or not all(map(self._is_ripe, copies)),
            self._failure,
            tuple(each for each in wanted if is_named and not self.cache.copies(each.folder)),
        )

    def fail(self, error: SignpostError) -> None:
        """Tell that something could not be done."""
        self._failure = str(error)
        self._told.ill(str(error))

    def _nothing(self) -> str:
        if self.has_copy:  # which is what a wrong prefix, or a bucket made anew, looks like
            return f"{self._source.where} no longer contains a model; what was copied stays in service."
        return f"There is no model to serve (<model>/<version>/{store.SAVED_MODEL}) in {self._source.where}."

    def _read_configured(self) -> tuple[str | None, tuple[Wanted, ...]]:
        """A configuration with an error changes nothing: the one before still holds."""
        try:
            self._configured = read_configured(self._source, self._view)
        except SettingsError as error:
            if self._configured is None:
                raise
            self.fail(error)
        return self._configured

    def _find(self, text: str | None, wanted: Iterable[Wanted], engines: Engines) -> list[Work]:
        wanted = list(wanted)
        if self._service is not None:
            wanted += self._source.asked_for(self._service / CONFIG_NAME, wanted)
        # What a configuration no longer names is served until that is in place and the engines have followed.
        keeps_unnamed = text is not None and not (engines.serve and text == self._in_place())
        return self._works.find(wanted, engines, keeps_unnamed)

    def _is_done(self, work: Work) -> bool:
        return work.is_done(self.cache.copies(work.folder), self._is_ripe)

    def _act(self, work: Work) -> Work:
        """Fetch what is missing and have the copy follow; what could not be fetched is still missing after that."""
        missing = []
        self.cache.clean(work.folder)
        for number in work.missing:
            try:
                self._fetch(work, number)
            except StoreError as error:
                self.fail(error)
                missing.append(number)
        try:
            self.cache.follow(work.folder, work.plan(self.cache.copies(work.folder), self._is_ripe))
        except StoreError as error:
            self.fail(error)
        return replace(work, missing=tuple(missing))

    def _fetch(self, work: Work, number: int) -> None:
        version = work.there[number]
        started_s = time.monotonic()

        def arrived(size: int) -> None:
            self._told.fetched(size)
            self._beat()

        bucket = self._view.bucket(work.url)
        self.cache.place(work.folder, version, lambda folder: fetch(bucket, version.folder, version, folder, arrived))
        self._since_s.pop(work.folder / (version.folder or str(number)), None)
        took_s = time.monotonic() - started_s
        log.info("Copied %s: %.1f MiB in %.1f s.", work.url.below(version.folder), version.size / _MIB, took_s)

    def _put_in_place(
        self,
        text: str | None,
        extras: dict[str, str | None],
        wanted: Iterable[Wanted],
        works: Iterable[Work],
    ) -> bool:
        """Put the configuration in place, unless that would take away what serves; whether it is.

        The engines leave a young version alone, so one that the configuration calls for has to be there for a while.
        """
        there = {each.folder: each.there.keys() | each.coming for each in works}
        for each in wanted if self._engines_serve else ():
            ripe = [
                number
                for number, copy in self.cache.copies(each.folder).items()
                if not copy.is_hidden and self._is_ripe(copy)
            ]
            called_for = wanted_versions(each.policy, there.get(each.folder, ()), frozenset())
            if called_for and not wanted_versions(each.policy, ripe, frozenset()):
                return False
        try:
            for name, content in extras.items():
                self._write(name, content)
            if text != self._in_place():
                self._write(CONFIG_NAME, text)
        except (StoreError, OSError) as error:
            self.fail(StoreError(str(error)))
            return False
        return True

    def _is_ripe(self, copy: Copy) -> bool:
        """Whether the engines take a copy for whole; before they run it is whatever it is."""
        return not self._engines_serve or time.monotonic() - self._since_s.get(copy.folder, math.inf) >= _RIPE_S

    def _write(self, name: str, text: str | None) -> None:
        path = self.cache.root / name
        if text is None:
            path.unlink(missing_ok=True)
        else:
            write_atomically(path, text)
        log.info("%s of %s is %s.", name, self._source.where, "gone" if text is None else "taken up")

    def _in_place(self) -> str | None:
        """The configuration that the engines read."""
        with suppress(OSError):
            return (self.cache.root / CONFIG_NAME).read_text()
        return None

    def _extras(self) -> dict[str, str | None]:
        """Further files of a store that are not as they lie in the bucket."""
        if self._source.store is None:
            return {}
        text = self._view.text(self._source.store.below(BATCHING_CONFIG))
        path = self.cache.root / BATCHING_CONFIG
        here = path.read_text() if path.is_file() else None
        return {BATCHING_CONFIG: text} if text != here else {}
