"""The command before anything runs: what it refuses, and how it says so."""

import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from loadtests import scenario
from loadtests.plan.plan import Plan
from loadtests.scenario import Json, Scenario, Service
from service.commands.cli import main
from tests.unit.loadtests.runs import document


def refusal(*arguments: str) -> str:
    done = CliRunner().invoke(main, ["loadtest", *arguments])
    assert done.exit_code == 2, done.output
    return done.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--slo", "p99=fast"), "--slo takes p99=50ms"),
        (("--shape", "zigzag"), "--shape takes constant"),
        (("--url", "ftp://host"), "--url takes http://HOST:PORT"),
        (("--url", "http://127.0.0.1:1"), "No service answers at http://127.0.0.1:1"),
        (("--serve", "workers 2"), "--serve takes flags of `signpost serve`"),
        (("--serve", "--host 'x"), "can't be read as a command line"),
        (("--rate", "0"), "--rate"),
        (("--images", "nowhere"), "nowhere"),
        (("capacity", "--slo", ""), "--slo must name an objective"),
        (("capacity",), "--slo"),
        (("--url", "http://h", "capacity", "--slo", "p99=1s"), "Options go after the subcommand"),
    ],
)
def test_wrong_input_ends_with_2_and_a_sentence(arguments: tuple[str, ...], said: str) -> None:
    assert said in refusal(*arguments)


def test_a_store_that_cannot_be_served_ends_the_command_with_what_serve_said(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["loadtest", "--store", str(tmp_path / "none"), "--quiet"])
    assert done.exit_code == 2
    assert "none" in done.output


def test_without_locust_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec

    def without(name: str, *more: Any) -> Any:
        return None if name == "locust" else found(name, *more)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    assert "pip install 'signpost-serving[loadtest]'" in refusal()


def test_its_help_tells_of_its_subcommands() -> None:
    done = CliRunner().invoke(main, ["loadtest", "--help"])
    assert done.exit_code == 0
    assert "capacity" in done.output
    assert "compare" in done.output


def test_a_search_asks_at_several_rates_and_reports_what_it_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Before a service that answers within 20 ms at up to 70 requests per second, and within 200 ms beyond."""
    fast, slow = (document(tmp_path / str(s), slower=s, slo="p99=100ms", arrivals="poisson") for s in (1.0, 10.0))
    rates: list[float] = []

    @contextmanager
    def service(_: Scenario) -> Iterator[Service]:
        yield Service("http://h", "h:1", None, "")

    def run(_asked: Scenario, _at: Service, plan: Plan, _held_to: Any) -> Json:
        rates.append(plan.stages[-1].first)
        return slow if rates[-1] > 70 and plan.is_open else fast

    monkeypatch.setattr(scenario, "service", service)
    monkeypatch.setattr(scenario, "run", run)
    monkeypatch.setattr(scenario, "around", lambda *_: fast)
    monkeypatch.setattr(scenario.target, "models", lambda _: ["letters"])
    arguments = ["loadtest", "capacity", "--slo=p99=100ms", "--repeats=2", "--report", str(tmp_path / "found.html")]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert rates[0] == 4  # the closed loop that tells where to begin
    made = json.loads((tmp_path / "found.json").read_text())
    assert 70 / 1.05 <= made["capacity"]["low"] <= 70 < made["capacity"]["high"] <= 70 * 1.05
    assert {probe["held"] for probe in made["probes"]} == {True, False}
    assert f"p99=100ms: {made['capacity']['says']}" in done.output
    assert "Probes" in (tmp_path / "found.html").read_text()
