"""A version that is published in int8 too: a runtime whose answers are its own, held to what is recorded for it."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.engine.runtimes import fitting
from service.engine.runtimes.asked import OPENVINO, OPENVINO_INT8, Wish
from service.engine.runtimes.choice import Trial
from service.engine.runtimes.part import NotTaken, Opened, Part
from service.interface import Array, RunBy
from tests.unit.service.engine.runtimes.fake_runtimes import FakeRun, scores_of, trial
from tests.unit.service.engine.runtimes.test_fitting import Opener, Slow, subject


def in_int8(pixels: Array) -> Array:
    """Scores that are farther from the reference's than any other runtime's may be."""
    return (scores_of(pixels) * np.float32(0.8) + np.float32(0.1)).astype(np.float32)


def own() -> Trial:
    tried = trial(sizes=(1, 2))
    return replace(tried, recorded={"scores": in_int8(tried.inputs["image"])}, scores="", own=True)


def both(tmp_path: Path, **changed: Any) -> tuple[Opener, Opener, fitting.Subject]:
    int8, whole = Opener(lambda: FakeRun(answers=in_int8)), Opener(Slow)
    openers = {OPENVINO_INT8: int8, OPENVINO: whole}
    return int8, whole, subject(tmp_path, openers, **{"own": {OPENVINO_INT8: own()}} | changed)


def damaged(pixels: Array) -> Array:
    return in_int8(pixels)[:, ::-1].copy()


def unsound(pixels: Array) -> Array:
    return np.full_like(in_int8(pixels), np.nan)


@pytest.mark.parametrize("runtime", ["auto", "openvino"])
def test_it_serves_though_its_answers_are_not_the_references(runtime: str, tmp_path: Path) -> None:
    _, _, published = both(tmp_path)
    chosen = fitting.fit(published, Wish(runtime, tmp_path / "cache"))
    assert chosen.by.runtime == OPENVINO_INT8
    assert chosen.by.gain > 1
    assert chosen.by.why == ""


def test_a_restart_remembers_it_and_proves_it_again(tmp_path: Path) -> None:
    int8, whole, published = both(tmp_path)
    wish = Wish("auto", tmp_path / "cache")
    first = fitting.fit(published, wish)
    tried = len(whole.opened)
    assert fitting.fit(published, wish).by == first.by
    assert (len(int8.opened), len(whole.opened)) == (2, tried)
    int8.make = lambda: FakeRun(answers=damaged)
    assert fitting.fit(published, wish).by.runtime != OPENVINO_INT8


@pytest.mark.parametrize("runtime", ["auto", "openvino"])
@pytest.mark.parametrize("answers", [damaged, unsound])
def test_answers_other_than_recorded_leave_it_to_the_float_graph(
    runtime: str, answers: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    int8, whole, published = both(tmp_path)
    int8.make = lambda: FakeRun(answers=answers)
    whole.make = FakeRun
    with caplog.at_level(logging.WARNING):
        chosen = fitting.fit(published, Wish(runtime))
    assert chosen.by.runtime == OPENVINO
    assert int8.opened[0].closed
    assert OPENVINO_INT8 in chosen.by.why
    assert "letters version 2 does not serve in int8, in which it is published too: openvino_int8" in caplog.text


def test_what_can_not_be_opened_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(_: Part) -> Opened:
        raise NotTaken("can't read it: no such file")

    _, _, published = both(tmp_path)
    published = replace(published, openers={**published.openers, OPENVINO_INT8: refuse})
    with caplog.at_level(logging.WARNING):
        assert fitting.fit(published, Wish("openvino")).by.runtime == OPENVINO
    assert "can't read it: no such file" in caplog.text


def test_where_the_float_graph_is_faster_it_serves(tmp_path: Path) -> None:
    int8, whole, published = both(tmp_path)
    int8.make, whole.make = (lambda: Slow(answers=in_int8)), FakeRun
    chosen = fitting.fit(published, Wish("auto"))
    assert chosen.by.runtime == OPENVINO
    assert OPENVINO_INT8 in chosen.by.why


def test_tensorflow_stays_tensorflow(tmp_path: Path) -> None:
    int8, _, published = both(tmp_path)
    assert fitting.fit(published, Wish("tensorflow")).by == RunBy()
    assert int8.opened == []
