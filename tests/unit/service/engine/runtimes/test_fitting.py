"""How a version gets its runtime, with fakes for runtimes and files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.engine.runtimes import fitting
from service.engine.runtimes.asked import Wish
from service.engine.runtimes.fitting import Subject
from service.engine.runtimes.part import NotTaken, Opened, Part
from service.interface import Array, RunBy
from tests.fakes import classifier_signature
from tests.unit.service.engine.runtimes.fake_runtimes import FakeRun, scores_of, trial

PART = Part(None, {}, {})


@dataclass
class Opener:
    """Opens a fake runtime, and counts how often it is asked to."""

    make: Callable[[], FakeRun]
    opened: list[FakeRun] = field(default_factory=list)

    def __call__(self, _: Part) -> Opened:
        self.opened.append(self.make())
        return self.opened[-1].opened()


def subject(folder: Path, openers: Mapping[str, Any], reference: FakeRun | None = None, **changed: Any) -> Subject:
    version = folder / "2"
    version.mkdir(exist_ok=True)
    (version / "saved_model.pb").touch()
    given = {
        "folder": version, "name": "letters", "version": 2, "signature": classifier_signature(), "outputs": ("scores",),
        "why_reference": "", "why_differs": "", "devices": [reference or Slow()], "part": lambda: PART,
        "trial": trial(sizes=(1, 2)), "openers": openers, "about": {"threads": 1},
    } | changed  # fmt: skip
    return Subject(**given)


class Slow(FakeRun):
    """A reference that takes its time on the real clock."""

    def __call__(self, inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> Mapping[str, Array]:
        np.linalg.svd(np.ones((60, 60)))
        return super().__call__(inputs, outputs)


def refuse(_: Part) -> Opened:
    raise NotTaken("can't read it: No conversion for OddOp")


def auto(tmp_path: Path) -> Wish:
    return Wish("auto", tmp_path / "cache")


def test_a_restart_does_not_try_again(tmp_path: Path) -> None:
    opener = Opener(FakeRun)
    chosen = fitting.fit(subject(tmp_path, {"openvino": opener}), auto(tmp_path))
    assert chosen.by.runtime == "openvino"
    assert max(opener.opened[0].calls) == 4
    tried = len(opener.opened[0].calls)
    again = fitting.fit(subject(tmp_path, {"openvino": opener}), auto(tmp_path))
    assert again.by == chosen.by
    assert again.opened is not None
    assert len(opener.opened[1].calls) == 1 < tried  # its answers are compared all the same


def test_that_tensorflow_was_the_fastest_is_remembered_too(tmp_path: Path) -> None:
    opener = Opener(Slow)
    first = fitting.fit(subject(tmp_path, {"openvino": opener}, FakeRun()), auto(tmp_path))
    assert first.by.runtime == "tensorflow"
    assert fitting.fit(subject(tmp_path, {"openvino": opener}, FakeRun()), auto(tmp_path)).by == first.by
    assert len(opener.opened) == 1


def test_what_was_chosen_before_and_does_not_hold_any_more_is_tried_again(tmp_path: Path) -> None:
    fitting.fit(subject(tmp_path, {"openvino": Opener(FakeRun)}), auto(tmp_path))
    wrong = Opener(lambda: FakeRun(answers=lambda pixels: scores_of(pixels)[:, ::-1].copy()))
    chosen = fitting.fit(subject(tmp_path, {"openvino": wrong}), auto(tmp_path))
    assert chosen.by.runtime == "tensorflow"
    assert "does not answer the same" in chosen.by.why
    assert [run.closed for run in wrong.opened] == [1, 1]
    assert fitting.fit(subject(tmp_path, {"openvino": refuse}), auto(tmp_path)).by == chosen.by


def test_where_nothing_is_installed_nothing_is_told_nor_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert fitting.fit(subject(tmp_path, {}), auto(tmp_path)).by == RunBy()
    assert (caplog.text, (tmp_path / "cache").exists()) == ("", False)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"why_reference": "its input 'text' is DT_STRING"}, "its input 'text' is DT_STRING"),
        ({"trial": None}, "there is nothing that it could be tried with"),
    ],
)
def test_what_no_runtime_can_take_stays_with_tensorflow_unless_one_was_asked_for(
    tmp_path: Path, changed: dict[str, Any], says: str
) -> None:
    opener = Opener(FakeRun)
    chosen = fitting.fit(subject(tmp_path, {"openvino": opener}, **changed), auto(tmp_path))
    assert chosen.by.runtime == "tensorflow"
    assert chosen.by.why.startswith(says)
    with pytest.raises(NotTaken, match=f"^letters version 2 can't be run by --runtime=openvino: {says}.*[.]$"):
        fitting.fit(subject(tmp_path, {"openvino": opener}, **changed), Wish("openvino"))
    assert opener.opened == []


def test_one_that_was_asked_for_serves_however_fast_it_is(tmp_path: Path) -> None:
    chosen = fitting.fit(subject(tmp_path, {"openvino": Opener(Slow)}, FakeRun()), Wish("openvino"))
    assert chosen.by.runtime == "openvino"
    assert 0 < chosen.by.gain < 1


def test_how_fast_one_is_that_was_asked_for_is_measured_once(tmp_path: Path) -> None:
    opener = Opener(FakeRun)
    wish = Wish("openvino", tmp_path / "cache")
    first, again = (fitting.fit(subject(tmp_path, {"openvino": opener}), wish) for _ in range(2))
    assert again.by == first.by
    assert len(opener.opened[1].calls) == 1 < len(opener.opened[0].calls)
    assert (
        fitting.fit(subject(tmp_path, {"openvino": Opener(Slow)}, FakeRun()), auto(tmp_path)).by.runtime != "openvino"
    )


def test_one_that_was_asked_for_has_to_answer_the_same(tmp_path: Path) -> None:
    wrong = Opener(lambda: FakeRun(answers=lambda pixels: scores_of(pixels) + np.float32(0.01)))
    with pytest.raises(NotTaken, match=r"--runtime=openvino: its 'scores' differs from TensorFlow's by up to 0\.01"):
        fitting.fit(subject(tmp_path, {"openvino": wrong}), Wish("openvino"))
    assert wrong.opened[0].closed == 1
    with pytest.raises(NotTaken, match="--runtime=openvino: it can't read it: No conversion for OddOp"):
        fitting.fit(subject(tmp_path, {"openvino": refuse}), Wish("openvino"))


def test_a_model_whose_answers_are_random_is_run_by_tensorflow_also_where_another_was_asked_for(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    reference = FakeRun(answers=lambda pixels: generator.random((len(pixels), 2), np.float32))
    opener = Opener(FakeRun)
    for wish in (Wish("openvino"), auto(tmp_path)):
        chosen = fitting.fit(subject(tmp_path, {"openvino": opener}, reference), wish)
        assert chosen.by == RunBy(why="two runs gave different 'scores', so nothing can be compared")


def test_a_runtime_that_is_given_up_is_logged_and_counted_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    counted: list[tuple[str, int, str]] = []
    changed: list[RunBy] = []
    opener = Opener(FakeRun)
    about = subject(tmp_path, {"openvino": opener})
    wish = Wish("openvino", given_up=lambda *what: counted.append(what))
    chosen = fitting.fit(about, wish)
    (run,) = fitting.guard(about, chosen, changed.append, wish)
    pixels = {"image": np.zeros((1, 2, 3, 3), np.uint8)}
    np.testing.assert_array_equal(run(pixels, ("scores",))["scores"], [[1, 0]])
    opener.opened[0].answers = lambda _: np.full((1, 2), np.nan, np.float32)
    for _ in range(2):
        np.testing.assert_array_equal(run(pixels, ("scores",))["scores"], [[1, 0]])
    assert counted == [("letters", 2, "openvino")]
    assert changed == [RunBy(why="openvino was given up: it gave what is not a number")]
    assert caplog.text.count("letters version 2 is run by TensorFlow from now on") == 1
