"""What is shown while load is generated, and the clock that generates it."""

import time
from pathlib import Path

import pytest

from loadtests.load import progress
from loadtests.load.progress import Progress
from loadtests.load.ticker import Ticker
from loadtests.plan.plan import Kind, Plan
from loadtests.plan.shapes import Stage
from loadtests.results import records
from loadtests.results.records import Recorder, Records

OPEN = Plan("", "", (Kind("image", "m"),), (Stage(0, 10, 50, 50), Stage(10, 10, 0, 100)), "poisson")
CLOSED = Plan("", "", (Kind("image", "m"),), (Stage(0, 10, 2.4, 2.4),))


@pytest.fixture
def found(tmp_path: Path) -> Records:
    recorder = Recorder(tmp_path, 0)
    for at in range(100):
        recorder.add(at / 10, 0.0, 0.02, 503 if at == 95 else 200, 0, False)
    recorder.close()
    return records.read(tmp_path)


def test_a_line_tells_the_time_the_load_and_what_came_last(found: Records) -> None:
    text = progress.describe(OPEN, 10.0, found, 2.0)
    assert text == "  10 of 20 s   0 requests/s due   10 answers/s   p50 20.0 ms   p99 no answer   1 failed"
    assert "2 users" in progress.describe(CLOSED, 9.0, found, 2.0)


def test_the_last_line_is_of_the_end_however_late_it_comes(found: Records) -> None:
    assert progress.describe(OPEN, 25.0, found, 2.0).startswith(
        "  20 of 20 s   100 requests/s due   0 answers/s   p50 -"
    )


def test_where_there_is_no_terminal_a_line_comes_now_and_then_and_a_quiet_one_never(
    capsys: pytest.CaptureFixture[str], found: Records
) -> None:
    for quiet in (False, True):
        with Progress(OPEN, quiet) as shown:
            for at in range(-1, 13):
                shown(float(at), found)
    assert [line.split()[0] for line in capsys.readouterr().err.splitlines()] == ["5", "10"]


def test_a_ticker_never_wakes_early_and_does_not_wait_for_what_has_passed() -> None:
    ticker = Ticker()
    for ahead_s in (0.003, 0.0, -1.0):
        until_s = time.monotonic() + ahead_s
        ticker.sleep_until(until_s)
        assert time.monotonic() >= until_s
    ticker.close()
