"""What of an error's text others may see."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import one_line, without_paths


@given(st.text(max_size=3000))
def test_what_is_shown_is_one_bounded_line_that_can_be_sent_and_printed(text: str) -> None:
    shown = one_line(text)
    assert len(shown) <= 1000
    assert len(shown.splitlines()) <= 1
    assert not any(ord(letter) < 32 or 0x7F <= ord(letter) < 0xA0 for letter in shown)
    shown.encode()


@pytest.mark.parametrize("text", ["", "a \u00e4 \u4e2d \U0001f600 b", "x" * 1000])
def test_an_ordinary_text_is_shown_as_it_is(text: str) -> None:
    assert one_line(text) == text


def test_a_line_of_a_log_cannot_be_made_up() -> None:
    assert one_line("nosuch\n2026-01-01 INFO Loaded m\x1b[2K\u202e!") == "nosuch 2026-01-01 INFO Loaded m [2K !"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("No file at: /srv/models/m/1/saved_model.pb", "No file at: \u2026"),
        ("(/usr/lib/python3/x.py:12) failed", "(\u2026:12) failed"),
        ("/a/b and '/c/d/'", "\u2026 and '\u2026'"),
    ],
)
def test_paths_of_this_machine_are_left_out(text: str, shown: str) -> None:
    assert without_paths(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "image/png and 3/4",
        "https://example.org/a/b",
        "[[{{node functional_1/conv/Conv2D}}]]",
        "a / b",
        "m/1/saved_model.pb",
    ],
)
def test_what_is_no_path_stays(text: str) -> None:
    assert without_paths(text) == text
