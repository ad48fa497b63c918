"""The canary: who meets it, who never does, and what its answers are compared with."""

import threading
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine import canary
from service.engine.canary import CanaryEngine, Outcome, is_chosen, parse_shares
from service.errors import ModelFailed, SettingsError, Unavailable
from service.interface import Call, ModelSpec
from tests.fakes import FakeEngine, FakeServable, classifier
from tests.unit.service.engine.versions import LONG_S, until

IMAGE = {"image": np.full((1, 2, 3, 3), 200, dtype=np.uint8)}


class Outcomes(Counter[tuple[str, Outcome]]):
    """Counts what the canary engine tells."""

    def __call__(self, model: str, outcome: Outcome) -> None:
        self[model, outcome] += 1


def make(
    *servables: FakeServable, share: float = 1.0, mode: str = "route", labels: dict[str, int] | None = None
) -> tuple[CanaryEngine, Outcomes]:
    outcomes = Outcomes()
    engine = FakeEngine(*servables, labels={"canary": 2, "stable": 1} if labels is None else labels)
    return CanaryEngine(engine, {"m": share}, mode, outcomes), outcomes


def versions(number: int = 2) -> list[FakeServable]:
    return [classifier("m", version) for version in range(1, number + 1)]


def ask(engine: CanaryEngine, spec: ModelSpec) -> int:
    with engine.lease(spec) as servable:
        servable.predict(IMAGE, Call(time.monotonic() + LONG_S, outputs=("scores",)))
        return servable.version


def answered_by(engine: CanaryEngine, requests: int = 2000) -> Counter[int]:
    return Counter(ask(engine, ModelSpec("m", request_id=f"request-{number}")) for number in range(requests))


def test_about_the_share_is_answered_by_the_canary_and_the_rest_by_stable() -> None:
    engine, _ = make(*versions(3), share=0.1)
    seen = answered_by(engine)
    assert set(seen) == {1, 2}
    assert 0.07 < seen[2] / 2000 < 0.13


@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_a_request_id_that_is_chosen_stays_chosen_when_the_share_grows(
    request_id: str, share: float, more: float
) -> None:
    if is_chosen(request_id, min(share, more)):
        assert is_chosen(request_id, max(share, more))
    assert is_chosen(request_id, 1.0)
    assert not is_chosen(request_id, 0.0)


@pytest.mark.parametrize(
    ("spec", "version"),
    [
        (ModelSpec("m"), 3),  # no request: metadata, say
        (ModelSpec("m", 1, request_id="r"), 1),
        (ModelSpec("m", label="stable", request_id="r"), 1),
        (ModelSpec("other", request_id="r"), 7),
    ],
)
def test_who_asks_for_a_version_or_for_another_model_gets_it(spec: ModelSpec, version: int) -> None:
    engine, _ = make(*versions(3), classifier("other", 7))
    assert ask(engine, spec) == version


def test_without_a_canary_or_a_stable_version_the_default_answers() -> None:
    engine, _ = make(*versions(), labels={})
    assert ask(engine, ModelSpec("m", request_id="r")) == 2
    engine, _ = make(*versions(), share=0.5, labels={"canary": 1})
    assert set(answered_by(engine, 100)) == {1, 2}


def test_an_error_of_the_request_is_not_taken_for_a_missing_canary() -> None:
    engine, _ = make(*versions())
    with pytest.raises(Unavailable), engine.lease(ModelSpec("m", request_id="r")):
        raise Unavailable("from inside")


def test_in_shadow_the_default_answers_and_the_canary_is_compared_afterwards() -> None:
    stable, same = versions()
    engine, outcomes = make(stable, same, mode="shadow", labels={"canary": 1})
    engine.start()
    assert set(answered_by(engine, 10)) == {2}
    until(lambda: len(stable.asked) + outcomes["m", "skipped"] == 10 and outcomes.total() == 10)
    assert outcomes["m", "agree"] > 0
    assert outcomes["m", "differ"] == outcomes["m", "failed"] == 0
    engine.close()


@pytest.mark.parametrize(("fails", "expected"), [(False, "differ"), (True, "failed")])
def test_in_shadow_a_canary_that_differs_or_fails_is_counted_and_harms_nobody(fails: bool, expected: Outcome) -> None:
    default = classifier("m", 2)

    def odd(*_: object) -> dict[str, np.ndarray]:
        if fails:
            raise ModelFailed("broken")
        return {"scores": np.array([[1.0, 0.0]], dtype=np.float32)}

    engine, outcomes = make(default, FakeServable(odd, {}, "m", 1), mode="shadow", labels={"canary": 1})
    engine.start()
    assert ask(engine, ModelSpec("m", request_id="r")) == 2
    until(lambda: outcomes["m", expected] == 1)
    assert ask(engine, ModelSpec("m", request_id="r")) == 2
    until(lambda: outcomes["m", expected] == 2)
    engine.close()


def test_in_shadow_what_is_too_much_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    held = threading.Event()

    def slow(*_: object) -> dict[str, np.ndarray]:
        assert held.wait(LONG_S)
        return {"scores": np.array([[0.0, 1.0]], dtype=np.float32)}

    engine, outcomes = make(classifier("m", 2), FakeServable(slow, {}, "m", 1), mode="shadow", labels={"canary": 1})
    engine.start()
    answered_by(engine, 40)  # all answered although the canary stands still
    assert outcomes["m", "skipped"] >= 40 - canary._MOST_WAITING - 1
    held.set()
    until(lambda: outcomes.total() == 40)
    monkeypatch.setattr(canary, "_LARGEST_BYTES", 3)
    ask(engine, ModelSpec("m", request_id="r"))
    until(lambda: outcomes.total() == 41)
    engine.close()


def test_in_shadow_a_model_without_a_canary_counts_nothing() -> None:
    engine, outcomes = make(*versions(), mode="shadow", labels={})
    engine.start()
    answered_by(engine, 5)
    engine.close()
    assert not outcomes


def test_shares_are_read() -> None:
    assert parse_shares("0.25") == {"": 0.25}
    assert parse_shares("a=0.1, b=1") == {"a": 0.1, "b": 1.0}
    assert parse_shares("0, a=0.5") == {"": 0.0, "a": 0.5}
    assert parse_shares("") == {}


@pytest.mark.parametrize("text", ["x", "1.5", "-0.1", "a=", "=0.5", "a=b", "nan", "a=0.1=0.2"])
def test_shares_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="--canary-share takes"):
        parse_shares(text)


def test_a_version_that_tells_strangers_agrees_with_one_that_does_not() -> None:
    engine, outcomes = make(
        classifier("m", 1), classifier("m", 2, tells=True), mode="shadow", labels={"canary": 1, "stable": 2}
    )
    engine.start()
    try:
        for outputs in (("scores", "in_domain"), ()):
            with engine.lease(ModelSpec("m", request_id="a")) as servable:
                servable.predict(IMAGE, Call(time.monotonic() + LONG_S, outputs=outputs))
        until(lambda: sum(outcomes.values()) == 2)
    finally:
        engine.close()
    assert outcomes == {("m", "agree"): 2}
