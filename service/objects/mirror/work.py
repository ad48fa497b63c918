"""What is to be done for the copy: which models are wanted, which of their versions are missing, and which may go."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from service.config.config_source import CONFIG_NAME
from service.config.model_config import wanted_versions
from service.errors import SettingsError, StoreError
from service.objects import listing
from service.objects.listing import Version
from service.objects.mirror.cache import Cache, Copy
from service.objects.mirror.configs import Source, Wanted
from service.objects.mirror.engines import Engines
from service.objects.mirror.plan import Plan, plan
from service.objects.mirror.view import View
from service.objects.urls import Url


@dataclass(frozen=True)
class Work:
    """What is to be done for one folder of the copy, of which one or several models are served.

    Attributes:
        url: where its versions lie.
        folder: the folder.
        there: versions that are whole in the bucket, and have been so for a while.
        wanted: those of them that should be served.
        held: versions that the engines have.
        failed: versions that they could not load.
        missing: wanted versions of which there is no copy, or an old one; the highest first.
        coming: versions that are whole in the bucket, but have not been so for long.
        changing: whether something of it still changes in the bucket.
        is_named: whether the configuration has such a model.
    """

    url: Url
    folder: Path
    there: Mapping[int, Version]
    wanted: frozenset[int]
    held: frozenset[int]
    failed: frozenset[int] = frozenset()
    missing: tuple[int, ...] = ()
    coming: frozenset[int] = frozenset()
    changing: bool = False
    is_named: bool = True

    def plan(self, copies: Mapping[int, Copy], is_ripe: Callable[[Copy], bool]) -> Plan:
        """What becomes of the copies; only one that is ripe can take over for another."""
        unripe = {number for number, copy in copies.items() if not is_ripe(copy)}
        return plan(copies.keys(), self.there.keys(), self.wanted, self.held, self.failed | unripe, self.is_named)

    def is_done(self, copies: Mapping[int, Copy], is_ripe: Callable[[Copy], bool]) -> bool:
        """Whether nothing is to be changed."""
        after = self.plan(copies, is_ripe)
        shown = {number for number, copy in copies.items() if not copy.is_hidden}
        return not self.missing and not after.removed and shown == after.shown


def read_configured(source: Source, view: View) -> tuple[str | None, tuple[Wanted, ...]]:
    """The configuration, with the folders of the copy; None where there is none. And the models that are wanted.

    Raises:
        SettingsError: it has an error.
        StoreError: the bucket can't be looked at.
    """
    if source.base is not None:
        return None, (source.base,)
    if isinstance(source.config, Path):
        try:
            text: str | None = source.config.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"The configuration {source.config} can't be read: {error}.") from error
    elif source.config is not None:
        text = view.text(source.config, is_listed=False)
        if text is None:
            raise SettingsError(f"There is no {source.config}; --model_config_file names it.")
    else:
        assert source.store is not None  # or there would be nothing to mirror
        text = view.text(source.store.below(CONFIG_NAME))
    if text is not None:
        wanted, local = source.read(text)
        return local, wanted
    assert source.store is not None
    found = listing.models(view.objects(source.store))
    return None, tuple(
        Wanted(name, source.store.below(name), source.folder_of(source.store.below(name))) for name in found
    )


class Works:
    """Works out what is to be done.

    Args:
        source: what is mirrored.
        view: the buckets.
        cache: the copy.
        tell: told what is wrong with a version or a model, each time.
    """

    def __init__(self, source: Source, view: View, cache: Cache, tell: Callable[[str], object]) -> None:
        """Look at nothing yet."""
        self._source = source
        self._view = view
        self._cache = cache
        self._tell = tell

    def find(self, wanted: Iterable[Wanted], engines: Engines, keeps_unnamed: bool) -> list[Work]:
        """What is to be done for each folder.

        Args:
            wanted: the models.
            engines: what they have.
            keeps_unnamed: whether copies of models that are not among those stay.

        Raises:
            StoreError: the store can't be listed.
        """
        by_folder: dict[Path, list[Wanted]] = defaultdict(list)
        for each in wanted:
            by_folder[each.folder].append(each)
        works = [self._work(folder, models, engines) for folder, models in by_folder.items()]
        if self._source.store is not None and not keeps_unnamed:
            for name in self._cache.models():
                if (folder := self._cache.root / name) not in by_folder:
                    held = engines.held.get(name, frozenset())
                    url = self._source.store.below(name)
                    works.append(Work(url, folder, {}, frozenset(), held, is_named=False))
        return works

    def _work(self, folder: Path, models: list[Wanted], engines: Engines) -> Work:
        url, copies = models[0].url, self._cache.copies(folder)
        try:
            there, coming, changing = self._there(url, copies)
        except StoreError as error:
            if self._source.store is not None and url.root == self._source.store.root:
                raise
            self._tell(str(error))  # the other models must not wait for this one
            held = frozenset(copies)
            return Work(url, folder, {}, held, held, changing=True)
        work = Work(
            url, folder, there, frozenset(), frozenset(), failed=frozenset(there), coming=coming, changing=changing
        )
        for each in models:
            failed = engines.failed.get(each.name, frozenset())
            labelled = frozenset(each.labels.values()) & there.keys()
            work = replace(
                work,
                wanted=work.wanted | wanted_versions(each.policy, there, failed) | labelled,
                held=work.held | engines.held.get(each.name, frozenset()),
                failed=work.failed & failed,
            )
        if not engines.serve:
            work = replace(work, held=work.held | (copies.keys() & there.keys()))
        missing = [number for number in sorted(work.wanted, reverse=True) if self._misses(work, number, copies)]
        return replace(work, missing=tuple(missing))

    def _misses(self, work: Work, number: int, copies: Mapping[int, Copy]) -> bool:
        """Whether a wanted version is to be fetched; one that is used is not replaced."""
        copy, version = copies.get(number), work.there[number]
        if copy is None or copy.files == version.files:
            return copy is None
        if number not in work.held - work.failed and self._cache.is_free(copy):
            return True
        self._tell(
            f"{work.url.below(copy.name)} has changed since it was copied. The copy stays in service: "
            "publish the change under another number."
        )
        return False

    def _there(self, url: Url, copies: Mapping[int, Copy]) -> tuple[dict[int, Version], frozenset[int], bool]:
        """The versions that lie in the bucket, as they have been for a while, those to come, and whether any changes.

        A version that has changed, or gone, since it was copied counts as it was until it is quiet.
        """
        found = listing.model(self._view.objects(url))
        for name, wrong in found.passed_over.items():
            self._tell(f"{url.below(name)} {wrong}")
        there: dict[int, Version] = {}
        coming: set[int] = set()
        changing = False
        for number in sorted(found.versions.keys() | copies.keys()):
            version, copy = found.versions.get(number), copies.get(number)
            if version is not None and copy is not None and copy.files == version.files:
                self._view.forget((url, number))
            elif not self._view.is_quiet((url, number), None if version is None else version.files):
                changing = True
                coming |= set() if version is None else {number}
                version = None if copy is None else Version(copy.name, copy.files)
            if version is not None:
                there[number] = version
        return there, frozenset(coming), changing
