"""The log: one line for each event, and nothing that a client sends can make a second one."""

import io
import json
import logging
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.images import decode
from service.telemetry import logs
from service.telemetry.logs import Answered

Log = Callable[[], str]
EVIL = "a\nb\r\x1b[2Jc\u2028d\x00e\u202ef\x85g"


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, put back afterwards."""
    root = logging.getLogger()
    handlers, level, showed = root.handlers[:], root.level, logs.access.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)
    logs.access.setLevel(showed)
    logging.getLogger("PIL").setLevel(logging.NOTSET)
    logging.captureWarnings(False)


def written(root: logging.Logger, as_json: bool, level: str = "info") -> Log:
    root.handlers.clear()  # pytest's own are here by now
    logs.configure(level, as_json)
    [handler] = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.stream = io.StringIO()
    return handler.stream.getvalue


def fail() -> None:
    try:
        raise ValueError(f"{EVIL}\n2026-01-01 00:00:00,000 INFO forged")
    except ValueError:
        logging.getLogger("x").exception("It failed: %s", EVIL)


def test_a_line_of_text_stays_one(root: logging.Logger) -> None:
    log = written(root, as_json=False)
    logging.getLogger("x").warning("Asked for %s.", EVIL)
    line = log()
    assert line.endswith(r" WARNING Asked for a\nb\r\x1b[2Jc\u2028d\x00e\u202ef\x85g." + "\n")
    assert line.count("\n") == 1


def test_a_traceback_can_not_be_taken_for_lines_of_the_log(root: logging.Logger) -> None:
    log = written(root, as_json=False)
    fail()
    first, *rest = log().splitlines()
    assert " ERROR It failed: a" in first
    assert rest
    assert all(line.startswith("    ") for line in rest)


def test_a_line_of_json_holds_everything(root: logging.Logger) -> None:
    log = written(root, as_json=True)
    fail()
    [line] = log().splitlines()
    told = json.loads(line)
    assert told["level"] == "error"
    assert told["message"] == f"It failed: {EVIL}"
    assert "forged" in told["exception"]
    assert told["time"].endswith("+00:00")


@given(text=st.text())
def test_escaped_text_has_no_control_characters(text: str) -> None:
    escaped = logs.escape(text)
    assert len(escaped.splitlines()) <= 1
    assert all(character.isprintable() or ord(character) > 0x7F for character in escaped)


def test_an_answered_request_is_told_whatever_the_level(root: logging.Logger) -> None:
    log = written(root, as_json=True, level="error")
    Answered(
        "HTTP", "abc", "POST", "/v1/models/<name:name>:predict", 200, "m", "2", 3, 3, {"decode": 0.001}, 10, 20, "::1"
    ).write()
    logging.getLogger("x").warning("Not told.")
    [line] = log().splitlines()
    told = json.loads(line)
    del told["time"], told["process"]
    assert told == {
        "level": "info",
        "logger": "signpost.access",
        "message": "Answered.",
        "request_id": "abc",
        "protocol": "HTTP",
        "method": "POST",
        "route": "/v1/models/<name:name>:predict",
        "status": 200,
        "model": "m",
        "version": 2,
        "images": 3,
        "instances": 3,
        "decode_ms": 1.0,
        "bytes_in": 10,
        "bytes_out": 20,
        "client": "::1",
    }


def test_what_does_not_apply_is_left_out(root: logging.Logger) -> None:
    log = written(root, as_json=False)
    Answered("gRPC", "abc", "POST", "/x/Y", "NOT_FOUND", bytes_in=0).write()
    line = " request_id=abc protocol=gRPC method=POST route=/x/Y status=NOT_FOUND bytes_in=0\n"
    assert log().endswith(f"Answered.{line}")


def test_nothing_of_an_image_is_told_however_much_is_asked_for(root: logging.Logger) -> None:
    log = written(root, as_json=False, level="debug")
    file = io.BytesIO()
    Image.new("L", (2, 2)).save(file, "TIFF", description="a secret place")
    decode(file.getvalue(), 2, 2, 1)
    logging.getLogger("x").debug("Told.")
    assert log().endswith(" DEBUG Told.\n")
    assert log().count("\n") == 1
