"""What workers agree on: a table of what each offers, and a property of everything that can follow."""

import json
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.local.agreement import (
    Failure,
    ModelOffer,
    ModelView,
    Offer,
    View,
    agree,
    from_json,
    offer_from_json,
    offer_to_json,
    to_json,
)


def has(*available: int, coming: Iterable[int] = (), prefers: int = 0, **labels: int) -> ModelOffer:
    """An offer under the policy "latest", or of one version where a worker was told to go back to it."""
    there = {*available, *coming}
    preferred = {prefers or max(there)} if there else set()
    return ModelOffer(frozenset(available), frozenset(coming), {}, frozenset(preferred), labels)


def failed(version: int, *available: int) -> ModelOffer:
    return ModelOffer(
        frozenset(available), frozenset(), {version: Failure("broken", "f")}, frozenset({version, *available})
    )


GONE = ModelOffer()  # this worker does not know the model (yet, or any more)


def default(before: int | None, *offers: ModelOffer, labels: dict[str, int] | None = None) -> ModelView:
    view = View({"m": ModelView(before, labels or {})})
    return agree(view, {number: Offer({"m": each}, serves=True) for number, each in enumerate(offers, 1)}).of("m")


@pytest.mark.parametrize(
    ("before", "offers", "after"),
    [
        pytest.param(None, [has()], None, id="nothing-there"),
        pytest.param(None, [has(1)], 1, id="alone"),
        pytest.param(None, [has(coming=[1])], None, id="alone-and-loading"),
        pytest.param(None, [has(1, coming=[2])], None, id="at-the-start-the-older-one-is-up-first"),
        pytest.param(None, [failed(2, 1)], 1, id="at-the-start-the-newest-fails"),
        pytest.param(1, [has(1, coming=[2])], 1, id="alone-while-the-next-loads"),
        pytest.param(1, [has(1, 2)], 2, id="alone-and-loaded"),
        pytest.param(1, [has(1, 2), has(1, coming=[2])], 1, id="one-still-loads"),
        pytest.param(1, [has(1, 2), has(1)], 1, id="one-has-not-seen-it-yet"),
        pytest.param(1, [has(1, 2), has(1, 2)], 2, id="all-have-loaded"),
        pytest.param(1, [has(1, 2), failed(2, 1)], 1, id="one-could-not-load-it"),
        pytest.param(1, [failed(2, 1), failed(2, 1)], 1, id="none-could-load-it"),
        pytest.param(2, [has(2, coming=[1], prefers=1), has(2)], 2, id="a-roll-back-that-one-has-seen"),
        pytest.param(2, [has(1, 2, prefers=1), has(1, 2)], 2, id="a-roll-back-to-what-all-have-that-one-has-seen"),
        pytest.param(2, [has(1, 2, prefers=1), has(1, 2, prefers=1)], 1, id="a-roll-back"),
        pytest.param(2, [has(2), has(coming=[2])], 2, id="a-new-worker-that-had-to-serve-at-once"),
        pytest.param(2, [has(2), has(1, coming=[2])], 2, id="it-has-an-older-one-already"),
        pytest.param(2, [has(2), failed(2, 1)], 2, id="it-can-not-have-it-and-nothing-is-common"),
        pytest.param(2, [has(1, 2), failed(2, 1)], 1, id="until-the-others-have-what-it-has"),
        pytest.param(None, [has(1), failed(1)], None, id="one-has-nothing"),
        pytest.param(None, [has(1), GONE], None, id="a-new-model-that-one-has-not-seen"),
        pytest.param(1, [GONE, has(1)], 1, id="a-model-that-one-was-told-to-drop"),
        pytest.param(1, [ModelOffer(frozenset({1})), has(1)], 1, id="and-still-has"),
        pytest.param(1, [ModelOffer(frozenset({1})), ModelOffer(frozenset({1}))], None, id="that-all-are-to-drop"),
        pytest.param(1, [has(2), has(2)], 2, id="all-are-new"),
    ],
)
def test_the_version_that_answers_by_default(before: int | None, offers: list[ModelOffer], after: int | None) -> None:
    assert default(before, *offers).default == after
    assert default(before, *reversed(offers)).default == after


@pytest.mark.parametrize(
    ("before", "offers", "after"),
    [
        pytest.param({}, [has(1, a=1), has(1, a=1)], {"a": 1}, id="a-new-label"),
        pytest.param({}, [has(1, a=1), has(1)], {}, id="that-one-has-not-seen"),
        pytest.param({"a": 1}, [has(1, 2, a=2), has(1, 2, a=1)], {"a": 1}, id="it-moves-and-one-has-not-seen-it"),
        pytest.param({"a": 1}, [has(1, 2, a=2), has(1, coming=[2], a=2)], {"a": 1}, id="or-still-loads"),
        pytest.param({"a": 1}, [has(1, 2, a=2), has(1, 2, a=2)], {"a": 2}, id="it-moves"),
        pytest.param({"a": 2}, [has(1, 2, a=1), has(1, 2, a=1)], {"a": 1}, id="it-moves-back"),
        pytest.param({"a": 1}, [has(1, 2), has(1, 2, a=1)], {"a": 1}, id="one-has-seen-that-it-is-gone"),
        pytest.param({"a": 1}, [has(1, 2), has(1, 2)], {}, id="it-is-gone"),
        pytest.param({"a": 1}, [has(1, a=9), has(1, a=9)], {"a": 1}, id="to-what-nobody-has"),
        pytest.param({}, [has(1, a=9), has(1, a=9)], {"a": 9}, id="a-new-one-at-what-nobody-has"),
    ],
)
def test_labels(before: dict[str, int], offers: list[ModelOffer], after: dict[str, int]) -> None:
    assert default(1, *offers, labels=before).labels == after


def test_who_could_not_load_a_version_is_told() -> None:
    view = default(1, has(1, 2), failed(2, 1))
    assert view.failed == {2: Failure("broken", "f", 2)}
    assert view.available == {1}


def test_a_worker_that_joins_needs_what_the_others_answer_with() -> None:
    view = View({"m": ModelView(2, {"a": 1}, frozenset({1, 2, 3})), "n": ModelView(None)})
    assert view.is_covered_by(Offer({"m": has(1, 2)}))
    assert not view.is_covered_by(Offer({"m": has(2)}))
    assert not view.is_covered_by(Offer({"m": has(1, coming=[2])}))
    assert not view.is_covered_by(Offer())


def test_without_workers_nothing_changes() -> None:
    before = View({"m": ModelView(1)})
    assert agree(before, {}) == before


def test_views_and_offers_pass_through_json() -> None:
    failures = {2: Failure("broken", "f", 7)}
    view = View({"m": ModelView(1, {"a": 1}, frozenset({1}), failures), "n": ModelView()})
    assert from_json(json.loads(json.dumps(to_json(view)))) == view
    model = ModelOffer(frozenset({1}), frozenset({3}), failures, frozenset({2, 3}), {"a": 1})
    offer = Offer({"m": model}, serves=True, settled_at=4)
    assert offer_from_json(json.loads(json.dumps(offer_to_json(offer)))) == offer


@given(data=st.data(), workers=st.integers(1, 4), newest=st.integers(1, 6))
def test_as_versions_are_published_none_goes_back_and_the_last_is_reached(
    data: st.DataObject, workers: int, newest: int
) -> None:
    """In any order of looking, loading and restarting; a restarted worker serves once it covers the view."""
    seen = [0] * workers
    loaded: list[set[int]] = [set() for _ in range(workers)]
    serves = [True] * workers
    view, answered = View(), 0

    def settle() -> None:
        nonlocal view, answered
        offers = {
            number: Offer({"m": has(*loaded[number], coming={seen[number]} - loaded[number] - {0})}, serves=True)
            for number in range(workers)
            if serves[number]
        }
        view = agree(view, offers)
        now = view.of("m").default or 0
        assert now >= answered, "it went back"
        assert not now or all(now in each for each, asked in zip(loaded, serves, strict=True) if asked)
        answered = now

    def step(number: int, what: str, to: int) -> None:
        if what == "look":
            seen[number] = max(seen[number], to)
        elif what == "load" and seen[number]:
            loaded[number] |= {seen[number]}
        elif what == "unload":
            loaded[number] &= {seen[number], view.of("m").default or 0}
        elif what == "restart" and sum(serves) > 1:
            seen[number], loaded[number], serves[number] = 0, set(), False
        offer = Offer({"m": has(*loaded[number])})
        serves[number] = serves[number] or (bool(loaded[number]) and view.is_covered_by(offer))
        settle()

    kinds = st.sampled_from(["look", "load", "unload", "restart"])
    for number, what, to in data.draw(
        st.lists(st.tuples(st.integers(0, workers - 1), kinds, st.integers(1, newest)), max_size=30)
    ):
        step(number, what, to)
    for what in ("look", "load", "look", "load"):
        for number in range(workers):
            step(number, what, newest)
    assert answered == newest
