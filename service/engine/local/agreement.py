"""What the workers of a service agree on: which version of each model answers by default, and where its labels point.

Each worker loads versions by itself and makes an *offer*: what it has, what is on its way, and what it is told to
serve. Of all offers `agree` makes the one *view* by which every worker answers. The rule: the view moves once every
worker has the version that all of them want; until then it stays, so that no client sees a version go back.

Pure functions, so that their tests are tables. `shared_view.py` brings offers and the view from process to process.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Failure(NamedTuple):
    """Why a version could not be loaded, of which files (a digest of them), and by which worker (its process)."""

    error: str
    files: str
    worker: int = 0


@dataclass(frozen=True)
class ModelOffer:
    """One worker's word on a model.

    Attributes:
        available: versions that it has loaded.
        coming: versions that it will load, or is loading.
        failed: versions that it could not load.
        preferred: versions that the policy names; empty for a model that is not wanted.
        labels: the version that each label should point at.
    """

    available: frozenset[int] = frozenset()
    coming: frozenset[int] = frozenset()
    failed: Mapping[int, Failure] = field(default_factory=dict)
    preferred: frozenset[int] = frozenset()
    labels: Mapping[str, int] = field(default_factory=dict)

    @property
    def target(self) -> int | None:
        """The version that should answer by default once all is loaded; None for a model that is not wanted."""
        able = self.available | self.coming
        return max(able, key=lambda version: (version in self.preferred, version)) if able and self.preferred else None

    @property
    def has_target(self) -> bool:
        """Whether nothing better is on its way than what there is."""
        return self.target not in self.coming


NO_OFFER = ModelOffer()


@dataclass(frozen=True)
class Offer:
    """One worker's word.

    Attributes:
        models: on each model that it has or wants.
        serves: whether it takes requests; before that nobody waits for it.
        settled_at: generation of the view at the start of its last check of the store that found nothing to do.
    """

    models: Mapping[str, ModelOffer] = field(default_factory=dict)
    serves: bool = False
    settled_at: int = 0


@dataclass(frozen=True)
class ModelView:
    """What all workers go by for a model.

    Attributes:
        default: the version that answers requests that name none; None before there is one.
        labels: the version that each label points at.
        available: versions that every worker has.
        failed: versions that a worker could not load.
    """

    default: int | None = None
    labels: Mapping[str, int] = field(default_factory=dict)
    available: frozenset[int] = frozenset()
    failed: Mapping[int, Failure] = field(default_factory=dict)

    @property
    def named(self) -> frozenset[int]:
        """Versions that answer by default or by a label, which no worker gives up."""
        return frozenset(self.labels.values()) | (frozenset() if self.default is None else {self.default})


_NO_VIEW = ModelView()


@dataclass(frozen=True)
class View:
    """What all workers go by, for each model."""

    models: Mapping[str, ModelView] = field(default_factory=dict)

    def of(self, name: str) -> ModelView:
        """What they go by for a model; nothing is known of one that nobody offers."""
        return self.models.get(name, _NO_VIEW)

    def is_covered_by(self, offer: Offer) -> bool:
        """Whether a worker has all that the others answer with, so that it can take requests beside them."""
        return all(
            view.named & view.available <= offer.models.get(name, NO_OFFER).available
            for name, view in self.models.items()
        )


def agree(before: View, offers: Mapping[int, Offer]) -> View:
    """What the workers that take requests go by from now on.

    Args:
        before: what they went by.
        offers: of those workers, by process. Without any, nothing changes.
    """
    if not offers:
        return before
    names = {name for offer in offers.values() for name in offer.models}
    return View({name: _agree(before.of(name), _on(name, offers)) for name in sorted(names)})


def _on(name: str, offers: Mapping[int, Offer]) -> dict[int, ModelOffer]:
    return {worker: offer.models.get(name, NO_OFFER) for worker, offer in offers.items()}


def _agree(before: ModelView, by_worker: Mapping[int, ModelOffer]) -> ModelView:
    offers = [*by_worker.values()]
    available = frozenset.intersection(*(offer.available for offer in offers))
    failed = {
        version: failure._replace(worker=worker)
        for worker, offer in sorted(by_worker.items(), reverse=True)  # of several, the first worker's counts
        for version, failure in sorted(offer.failed.items())
    }
    return ModelView(
        _default(before, offers, available),
        dict(_labels(before, offers, available)),
        available,
        failed,
    )


def _default(before: ModelView, offers: list[ModelOffer], available: frozenset[int]) -> int | None:
    targets = {offer.target for offer in offers}
    able = frozenset.intersection(*(offer.available | offer.coming for offer in offers))
    if len(targets) == 1 and (targets == {None} or targets <= available):
        return targets.pop()
    if before.default in able or not all(offer.has_target for offer in offers):
        return before.default
    # A worker can't have what answered so far, and nothing else is on its way.
    if available:
        return max(available, key=lambda version: (sum(version in offer.preferred for offer in offers), version))
    return before.default


def _labels(before: ModelView, offers: list[ModelOffer], available: frozenset[int]) -> Iterable[tuple[str, int]]:
    for label in sorted(set(before.labels).union(*(offer.labels for offer in offers))):
        wanted = {offer.labels.get(label) for offer in offers}
        version = at = before.labels.get(label)
        if len(wanted) == 1:
            to = wanted.pop()
            # It stays where it is until every worker has the version, or for good where that can't be loaded.
            version = at if to is not None and to not in available and at in available else to
        if version is not None:
            yield label, version


def to_json(view: View) -> dict[str, Any]:
    """A view as JSON."""
    return {
        name: [each.default, dict(each.labels), sorted(each.available), _failed_to_json(each.failed)]
        for name, each in view.models.items()
    }


def from_json(models: Mapping[str, Any]) -> View:
    """The view that `to_json` wrote."""
    return View(
        {
            name: ModelView(default, labels, frozenset(available), _failed_from_json(failed))
            for name, (default, labels, available, failed) in models.items()
        }
    )


def offer_to_json(offer: Offer) -> dict[str, Any]:
    """An offer as JSON."""
    models = {
        name: [
            *map(sorted, (each.available, each.coming, each.preferred)), dict(each.labels), _failed_to_json(each.failed)
        ]
        for name, each in offer.models.items()
    }  # fmt: skip
    return {"models": models, "serves": offer.serves, "settled_at": offer.settled_at}


def offer_from_json(offer: Mapping[str, Any]) -> Offer:
    """The offer that `offer_to_json` wrote."""
    models = {
        name: ModelOffer(
            frozenset(available), frozenset(coming), _failed_from_json(failed), frozenset(preferred), labels
        )
        for name, (available, coming, preferred, labels, failed) in offer["models"].items()
    }
    return Offer(models, offer["serves"], offer["settled_at"])


def _failed_to_json(failed: Mapping[int, Failure]) -> list[list[Any]]:
    return [[version, *failure] for version, failure in failed.items()]


def _failed_from_json(failed: Iterable[list[Any]]) -> dict[int, Failure]:
    return {version: Failure(*failure) for version, *failure in failed}
