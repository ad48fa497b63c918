"""Answers are written in one way, and never with a header of somebody else's."""

from email.utils import parsedate_to_datetime

import pytest

from service.message import answers


def test_an_answer() -> None:
    head, _, body = answers.write(404, answers.error("Not here."), [("X-Request-ID", "7")], False).partition(
        b"\r\n\r\n"
    )
    first, *lines = head.decode().split("\r\n")
    told = dict(line.split(": ") for line in lines)
    assert first == "HTTP/1.1 404 Not Found"
    assert body == b'{"error": "Not here."}'
    assert parsedate_to_datetime(told.pop("Date"))
    assert told == {"Server": "signpost", "Connection": "close", "X-Request-ID": "7", "Content-Length": "22"}


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: b", "a\nb", "a\rb"])
def test_a_line_end_in_a_header_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        answers.head("200 OK", [("X", value)], True)
