"""A run in numbers: what is counted, from when, and what the generator is warned of."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtests.plan import objective
from loadtests.plan.plan import Kind, Plan
from loadtests.plan.shapes import Stage
from loadtests.results import records, summary
from loadtests.results.records import Recorder

Json = dict[str, Any]

STAGES = (Stage(0, 2, 10, 10), Stage(2, 10, 10, 10), Stage(12, 10, 20, 20))
PLAN = Plan("", "", (Kind("image", "m"), Kind("multipart", "m", 8)), STAGES, "constant", 16)


def write(folder: Path, rows: list[tuple[Any, ...]], busy: float = 0.1) -> tuple[records.Records, list[Json]]:
    recorder = Recorder(folder, 0)
    recorder.flush(0.0, 1.0)
    for row in rows:
        recorder.add(*row)
        if row[3] not in (200, 1000):
            recorder.count_error(row[3], f"said {row[3]}")
    recorder.flush(30.0, 1.0 + 30 * busy)
    recorder.close()
    return records.read(folder), records.read_beside(folder)


def a_run(latency_s: float = 0.02) -> list[tuple[Any, ...]]:
    """Requests every 0.1 s, answered after the same time; in the last ten seconds some are refused."""
    return [
        (
            at / 10,
            0.0001,
            latency_s,
            503 if at >= 120 and at % 10 == 0 else 200,
            at % 2,
            False,
            (0.001, 0.002, 0.01, 0.0, 0.015),
        )
        for at in range(220)
    ]


def test_the_warm_up_does_not_count_and_failures_are_no_answers(tmp_path: Path) -> None:
    found, beside = write(tmp_path, a_run())
    made = summary.make(PLAN, found, beside, 2.0, objective.parse("p50=30ms,p99=30ms,errors=10%"))
    total = made["total"]
    assert (total["from_s"], total["until_s"], total["due"], total["failed"]) == (2, 22, 200, 10)
    assert total["rate"] == pytest.approx(190 / 20, abs=0.1)
    assert total["goodput"] == total["rate"]
    assert total["p50_s"] == pytest.approx(0.02)
    assert total["p99_s"] is None  # it falls on what was refused
    assert [each["held"] for each in made["objectives"]] == [True, False, True]
    assert [(each["load"], each["due"], each["failed"]) for each in made["segments"]] == [(10, 100, 0), (20, 100, 10)]
    assert made["errors"] == [{"status": "HTTP 503", "text": "said 503", "count": 10}]


def test_images_are_counted_by_the_kind_of_request(tmp_path: Path) -> None:
    found, beside = write(tmp_path, a_run())
    made = summary.make(PLAN, found, beside, 2.0, ())
    image, form = made["kinds"]["m, image"], made["kinds"]["m, multipart of 8"]
    assert image["images_per_s"] == image["rate"]
    assert form["images_per_s"] == pytest.approx(8 * form["rate"])
    assert made["stages"]["m, image"]["infer"]["mean_s"] == pytest.approx(0.01)
    assert made["stages"]["m, image"]["outside"]["p50_s"] == pytest.approx(0.005)


def test_goodput_leaves_out_what_came_too_late(tmp_path: Path) -> None:
    rows = [(2 + at / 10, 0.0, 0.2 if at % 4 == 0 else 0.01, 200, 0, False) for at in range(100)]
    found, beside = write(tmp_path, rows)
    total = summary.make(PLAN, found, beside, 2.0, objective.parse("p99=100ms"))["total"]
    assert total["goodput"] == pytest.approx(0.75 * total["rate"], rel=0.02)


def test_an_answer_that_comes_after_a_part_counts_for_the_rate_of_the_next(tmp_path: Path) -> None:
    found, beside = write(tmp_path, [(3.0, 0.0, 15.0, 200, 0, False)])
    first, second = summary.make(PLAN, found, beside, 2.0, ())["segments"]
    assert (first["due"], first["rate"], second["due"], second["rate"]) == (1, 0.0, 0, 0.1)


def test_a_busy_generator_is_told_of(tmp_path: Path) -> None:
    found, beside = write(tmp_path, a_run(), busy=0.95)
    generator = summary.make(PLAN, found, beside, 2.0, ())["generator"]
    assert generator["cpu_shares"] == [pytest.approx(0.95)]
    assert len(generator["warnings"]) == 1
    assert "busy 95% of the time. Use --processes 2" in generator["warnings"][0]


def test_a_generator_that_sends_late_is_told_of_and_one_that_waits_for_the_service_is_not(tmp_path: Path) -> None:
    late = [(2 + at / 10, 0.05, 0.07, 200, 0, False) for at in range(100)]
    [warning] = summary.make(PLAN, *write(tmp_path, late), 2.0, ())["generator"]["warnings"]
    assert "50.0 ms late" in warning
    waited = [(*row[:5], True) for row in late]
    (tmp_path / "other").mkdir()
    made = summary.make(PLAN, *write(tmp_path / "other", waited), 2.0, ())
    [warning] = made["generator"]["warnings"]
    assert "100% of the requests found all 16 connections busy" in warning
    assert made["total"]["late"] == 100


def test_a_quiet_generator_is_not_warned_of(tmp_path: Path) -> None:
    assert summary.make(PLAN, *write(tmp_path, a_run()), 2.0, ())["generator"]["warnings"] == []


def test_where_all_fails_there_are_still_numbers(tmp_path: Path) -> None:
    rows = [(2 + at / 10, 0.0, 0.1, records.NO_ANSWER, 0, False) for at in range(50)]
    made = summary.make(PLAN, *write(tmp_path, rows), 2.0, objective.parse("p99=1s"))
    assert made["total"]["p50_s"] is made["total"]["mean_s"] is None
    assert made["errors"][0]["status"] == "no answer"
    assert not made["objectives"][0]["held"]
    assert made["stages"]["m, image"] == {}


def test_records_are_read_while_they_are_written_and_only_the_last_if_asked(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 0)
    for at in range(10):
        recorder.add(float(at), 0, 0.1, 200, 0, False)
    recorder.flush(1, 1)
    assert records.read(tmp_path, last=3)["due"].tolist() == [7, 8, 9]
    assert math.isnan(records.read(tmp_path)["infer"][0])
    recorder.close()


def test_few_texts_of_errors_are_kept(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 0)
    for number in range(100):
        recorder.count_error(500, f"text {number}")
    recorder.flush(0, 0)
    recorder.close()
    errors = records.read_beside(tmp_path)[0]["errors"]
    assert len(errors) == 51
    assert [500, "(others)", 50] in errors


def test_records_of_several_processes_come_in_the_order_in_which_they_were_due(tmp_path: Path) -> None:
    for part in range(2):
        recorder = Recorder(tmp_path, part)
        for at in range(3):
            recorder.add(at + part / 2, 0, 0.1, 200, 0, False)
        recorder.close()
    assert np.array_equal(records.read(tmp_path)["due"], [0, 0.5, 1, 1.5, 2, 2.5])
