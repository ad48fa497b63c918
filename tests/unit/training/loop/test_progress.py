"""What the user reads while a training runs."""

import pytest

from training.loop.progress import Bar, Lines, describe, for_terminal

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
