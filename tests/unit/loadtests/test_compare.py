"""Two runs side by side: noise is no difference, and a difference is no noise."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from loadtests import compare
from loadtests.command import loadtest
from service.commands.cli import main
from service.errors import SettingsError
from tests.unit.loadtests.runs import document


def verdicts(found: list[compare.Difference]) -> dict[str, str]:
    return {each.name: each.verdict for each in found}


@pytest.mark.parametrize("seed", range(6))
def test_two_runs_of_the_same_are_the_same(tmp_path: Path, seed: int) -> None:
    one, other = document(tmp_path / "a", seed=seed), document(tmp_path / "b", seed=100 + seed)
    assert set(verdicts(compare.compare(one, other)).values()) == {"the same"}


def test_a_slower_one_is_worse_and_a_quicker_one_better(tmp_path: Path) -> None:
    one, other = document(tmp_path / "a", seed=1), document(tmp_path / "b", seed=2, slower=1.3)
    found = {each.name: each for each in compare.compare(one, other)}
    assert [found[name].verdict for name in ("p50", "p95", "p99")] == ["worse"] * 3
    assert found["p50"].change == pytest.approx(0.3, abs=0.08)
    low, high = found["p50"].interval or (0, 0)
    assert 0.15 < low < 0.3 < high < 0.45
    assert found["answers/s"].verdict == "the same"  # as many were due
    back = verdicts(compare.compare(other, one))
    assert [back[name] for name in ("p50", "p95", "p99")] == ["better"] * 3


def test_a_difference_within_the_tolerance_is_none(tmp_path: Path) -> None:
    one, other = document(tmp_path / "a", seed=1), document(tmp_path / "b", seed=2, slower=1.3)
    assert set(verdicts(compare.compare(one, other, tolerance=0.6)).values()) == {"the same"}


def test_failures_are_worse_and_so_is_what_they_make_of_a_percentile(tmp_path: Path) -> None:
    one, other = document(tmp_path / "a", seed=1), document(tmp_path / "b", seed=2, failing=0.03)
    found = verdicts(compare.compare(one, other))
    assert found["failed"] == found["p99"] == "worse"
    assert found["p50"] == "the same"
    back = verdicts(compare.compare(other, one))
    assert back["failed"] == back["p99"] == "better"


def test_the_command_prints_a_table_and_gates_by_its_exit_code(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.json", "b.json")]
    paths[0].write_text(json.dumps(document(tmp_path / "a", seed=1), allow_nan=False))
    paths[1].write_text(json.dumps(document(tmp_path / "b", seed=2, slower=1.5, arrivals="poisson"), allow_nan=False))
    done = CliRunner().invoke(loadtest, ["compare", *map(str, paths)])
    assert done.exit_code == 1
    assert "Note: the runs differ in arrivals." in done.stderr
    [line] = [line for line in done.stdout.splitlines() if line.startswith("p99")]
    assert line.endswith("worse")
    assert CliRunner().invoke(loadtest, ["compare", str(paths[0]), str(paths[0])]).exit_code == 0
    assert CliRunner().invoke(loadtest, ["compare", str(paths[1]), str(paths[0])]).exit_code == 0


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": 1, "segments": []}'])
def test_what_is_no_result_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "odd.json"
    path.write_text(text)
    with pytest.raises(SettingsError, match=r"odd\.json is not a result"):
        compare.read(path)


def test_a_result_that_is_missing_or_of_another_format_is_told_and_ends_with_2(tmp_path: Path) -> None:
    path = tmp_path / "later.json"
    path.write_text('{"format": 2}')
    with pytest.raises(SettingsError, match="has format 2; this version compares format 1"):
        compare.read(path)
    done = CliRunner().invoke(main, ["loadtest", "compare", str(tmp_path / "none.json"), str(path)])
    assert done.exit_code == 2
    assert "can't be read: No such file" in done.output
