"""The log: one line for each event, and nothing that a client sends can make a second one."""

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.images import decode
from service.telemetry import logs
from service.telemetry.logs import Answered
from service.telemetry.tensorflow_noise import held_back

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


def log_in_another_process(folder: Path, *messages: str) -> str:
    """What a process named `worker 7` writes of messages that concern the whole service."""
    program = (
        "import logging, pathlib, sys; from service.telemetry import logs\n"
        "logs.configure('info', False); logs.name_process('worker 7', pathlib.Path(sys.argv[1]))\n"
        "for message in sys.argv[2:]: logging.warning('%s', message, extra={'once': True})\n"
        "logging.warning('mine')"
    )
    command = [sys.executable, "-c", program, str(folder), *messages]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stderr


def test_what_concerns_the_whole_service_is_logged_by_one_process(root: logging.Logger, tmp_path: Path) -> None:
    log = written(root, as_json=False)
    logs.name_process("worker 6", tmp_path)
    for _ in range(2):  # whoever was first may say so again
        logging.getLogger("x").warning("The store is gone.", extra={"once": True})
    logging.getLogger("x").warning("I am slow.")
    assert [line.partition(" WARNING ")[2] for line in log().splitlines()] == [
        "The store is gone.",
        "The store is gone.",
        "worker 6: I am slow.",
    ]
    others = log_in_another_process(tmp_path, "The store is gone.", "It is back.")
    assert [line.partition(" WARNING ")[2] for line in others.splitlines()] == ["It is back.", "worker 7: mine"]


def test_without_a_place_to_note_it_a_message_comes_twice_rather_than_never(
    root: logging.Logger, tmp_path: Path
) -> None:
    log = written(root, as_json=True)
    logs.name_process("worker 6", tmp_path / "gone")
    logging.getLogger("x").warning("The store is gone.", extra={"once": True})
    assert json.loads(log())["message"] == "The store is gone."


def test_the_log_does_not_go_through_the_descriptor_that_libraries_write_to(
    root: logging.Logger, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    root.handlers.clear()
    logs.configure("info", as_json=False)
    with held_back(tmp_path):
        os.write(2, b"I0000 noise\n")
        logging.getLogger("x").warning("Heard.")
    assert [line.split()[-1] for line in capfd.readouterr().err.splitlines()] == ["Heard."]
