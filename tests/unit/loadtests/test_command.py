"""The command before anything runs: what it refuses, and how it says so."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from service.cli import main


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
        (("--rate", "0"), "--rate"),
        (("--images", "nowhere"), "nowhere"),
        (("capacity", "--slo", ""), "--slo must name an objective"),
        (("capacity",), "--slo"),
        (("--url", "http://h", "capacity", "--slo", "p99=1s"), "Options go behind the subcommand"),
    ],
)
def test_wrong_input_ends_with_2_and_a_sentence(arguments: tuple[str, ...], said: str) -> None:
    assert said in refusal(*arguments)


def test_a_store_that_cannot_be_served_ends_the_command_with_what_serve_said(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["loadtest", "--store", str(tmp_path / "none"), "--quiet"])
    assert done.exit_code != 0
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
