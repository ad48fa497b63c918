"""When a service may start, and what becomes of the processes beside it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from service.errors import SettingsError, SignpostError, StoreError
from service.objects.bucket import Absent, Forbidden
from service.objects.mirror.configs import Source, Wanted
from service.objects.mirror.mirror import Look
from service.objects.urls import Url
from service.process.mirror_process import await_start, judge, mirroring

_ALONE = "SIGNPOST_TEST_ALONE"
URL = Url("s3", "bucket", "models")
AWAY = StoreError("s3://bucket can't be reached: no connection.")
NAMED = (Wanted("m", URL.below("m"), Path("m")),)
START, FAILED, WAIT = "", "*", None


@pytest.mark.parametrize(
    ("look", "error", "has_copy", "attempts", "seconds", "expected"),
    [
        (Look(), None, True, 1, 1, START),
        (Look(changing=True), None, True, 1, 0, WAIT),
        (Look(changing=True), None, True, 9, 6, START),
        (Look(changing=True), None, False, 9, 6, WAIT),
        (Look(changing=True), None, False, 9, 700, FAILED),
        (Look(), None, False, 2, 2, FAILED),
        (Look(complete=False), None, True, 2, 2, WAIT),
        (Look(complete=False), None, True, 2, 700, START),
        (Look(complete=False, failure="it broke off."), None, True, 1, 1, WAIT),
        (Look(complete=False, failure="it broke off."), None, True, 3, 3, START),
        (Look(complete=False, failure="it broke off."), None, False, 3, 3, "it broke off."),
        (Look(without=NAMED), None, True, 2, 2, "The model m has no version at s3://bucket/models/m"),
        (Look(without=NAMED, changing=True), None, True, 2, 2, WAIT),
        (None, AWAY, True, 1, 0, START),
        (None, AWAY, False, 1, 0, WAIT),
        (None, AWAY, False, 3, 3, "no connection"),
        (None, Absent("There is no bucket."), False, 1, 0, "There is no bucket."),
        (None, Forbidden("It is refused."), False, 1, 0, "It is refused."),
        (None, SettingsError("It has an error."), False, 1, 0, "It has an error."),
        (None, Forbidden("It is refused."), True, 1, 0, START),
    ],
)
def test_a_service_starts_with_what_there_is(
    look: Look | None, error: SignpostError | None, has_copy: bool, attempts: int, seconds: float, expected: str | None
) -> None:
    verdict = judge(look, error, has_copy, attempts, seconds)
    if expected in (START, WAIT):
        assert verdict == expected
    elif expected == FAILED:
        assert verdict
    else:
        assert verdict is not None
        assert str(expected) in verdict


def waited(*pieces: bytes) -> str:
    reading, writing = os.pipe()
    for piece in pieces:
        os.write(writing, piece)
    os.close(writing)
    try:
        await_start(reading, "s3://bucket")
    except StoreError as error:
        return str(error)
    finally:
        os.close(reading)
    return ""


def test_a_start_waits_for_a_word() -> None:
    assert waited(b"..", b".", b'{"error": ""}\n') == ""
    assert waited(b'..{"error": "There is no bucket."}\n') == "There is no bucket."
    assert "has ended" in waited(b"...")


def test_a_mirror_that_is_silent_does_not_hold_a_start_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.process.mirror_process._SILENCE_S", 0.05)
    reading, writing = os.pipe()
    with pytest.raises(StoreError, match="nothing arrived for"):
        await_start(reading, "s3://bucket")
    os.close(reading)
    os.close(writing)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_mirror_that_is_killed_is_started_again_and_both_end_with_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """In a process of its own: where gRPC has run, as other tests have it do, nobody may fork."""
    if _ALONE not in os.environ:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", request.node.nodeid]
        environment = {**os.environ, _ALONE: "1"}
        done = subprocess.run(
            command,
            cwd=request.config.rootpath,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return
    noted = tmp_path / "pids"

    def run(_source: Source, _service: Path, _poll_s: float, report: int | None) -> None:
        with noted.open("a") as file:
            file.write(f"{os.getpid()} {os.getppid()}\n")
        if report is not None:
            os.write(report, json.dumps({"error": ""}).encode() + b"\n")
        while True:
            signal.pause()

    monkeypatch.setattr("service.process.mirror_process.run", run)
    with mirroring(Source(tmp_path / "copy", URL), tmp_path, 1.0):
        first, guard = map(int, noted.read_text().split())
        os.kill(first, signal.SIGTERM)  # what is sent to all of a service stops the service, not this
        os.kill(first, signal.SIGKILL)
        until(lambda: len(noted.read_text().split()) == 4)
        second, same = map(int, noted.read_text().split()[2:])
        assert same == guard
        assert second != first
    os.waitpid(guard, 0)
    until(lambda: not Path(f"/proc/{second}").exists() or "(zombie)" in Path(f"/proc/{second}/status").read_text())
