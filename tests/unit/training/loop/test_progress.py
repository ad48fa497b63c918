"""What the user reads while a training runs."""

import pytest

from training.loop.progress import Bar, Lines, describe, duration, for_terminal, speed

NUMBERS = {"loss": 0.5, "accuracy": 0.75, "seconds": 2.0, "images_per_s": 321.4}


def test_a_line_tells_the_numbers_of_an_epoch() -> None:
    assert describe(2, 9, NUMBERS) == "epoch 2/9: loss 0.5000, accuracy 0.7500; 2.0 s, 321 images/s"
    judged = describe(2, 9, NUMBERS | {"val_loss": 0.25, "val_accuracy": 0.875})
    assert "validation loss 0.2500, accuracy 0.8750" in judged


def test_it_says_when_the_images_are_what_bounds() -> None:
    assert "waiting" not in describe(1, 1, NUMBERS | {"waiting_s": 0.1})
    assert describe(1, 1, NUMBERS | {"waiting_s": 1.0}).endswith("50% of it waiting for images")


def test_without_a_terminal_there_is_one_line_for_each_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    with for_terminal() as shown:
        assert isinstance(shown, Lines)
        for step in range(1, 4):
            shown.step(1, 1, step, 3, NUMBERS)
        shown.epoch(1, 1, NUMBERS)
    assert capsys.readouterr().out == describe(1, 1, NUMBERS) + "\n"


def test_the_bar_ends_with_the_same_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar() as bar:
        bar.step(1, 2, 1, 2, NUMBERS)
        bar.step(1, 2, 2, 2, NUMBERS)
        bar.epoch(1, 2, NUMBERS)
        bar.say("done with [/b]")
    printed = " ".join(capsys.readouterr().out.split())
    assert "epoch 1/2: loss 0.5000" in printed
    assert "done with [/b]" in printed


def test_an_epoch_that_takes_long_says_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    shown = Lines()
    for step in range(1, 61):
        clock[0] += 1.0
        shown.step(3, 4, step, 60, NUMBERS)  # after --resume: two epochs are done
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "epoch 3/4: 33% done, loss 0.5000, accuracy 0.7500; about 2 min left",
        "epoch 3/4: 67% done, loss 0.5000, accuracy 0.7500; about 80 s left",
    ]


def test_a_slow_training_is_not_told_as_no_images_a_second() -> None:
    assert speed(321.4) == "321 images/s"
    assert speed(0.3) == "3.3 s per image"
    assert [duration(seconds) for seconds in (0.2, 100, 600, 9000)] == ["1 s", "2 min", "10 min", "2.5 h"]
