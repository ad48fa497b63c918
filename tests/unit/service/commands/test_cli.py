"""The command `signpost serve` up to the moment at which it would start: flags, variables and refusals."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service import store
from service.commands.cli import main
from service.config import settings
from service.config.settings import AUTO, Settings
from service.process import launcher
from service.version import __version__


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the shell around the tests, and nothing left behind in it."""
    for each in settings.each_setting():
        monkeypatch.delenv(settings.variable(each), raising=False)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings of each service that would have been started."""
    started: list[Settings] = []
    monkeypatch.setattr(launcher, "serve", started.append)
    return started


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store with one model, which nobody loads here."""
    store.publish(tmp_path / "store", "m", lambda path: (path / store.SAVED_MODEL).write_bytes(b"x") and None)
    return tmp_path / "store"


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def signpost(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def refusal(result: Result) -> str:
    """The one sentence with which a command refuses."""
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert result.stderr.strip().splitlines()[-1:] == lines
    return lines[0]


# What the command leaves to `service.config.shape` unless it is told.
CHOOSING = Settings(workers=AUTO, threads=AUTO, engine="auto", max_batch_size=AUTO, num_batch_threads=AUTO)


def test_the_shape_is_chosen_unless_it_is_told(started: list[Settings]) -> None:
    signpost("serve", "--workers=auto", "--threads", "auto", "--engine=auto")
    signpost("serve", "--workers=3", "--threads=4", "--engine=local")
    assert started == [CHOOSING, replace(CHOOSING, workers=3, threads=4, engine="local")]


def test_without_anything_the_defaults_count(started: list[Settings]) -> None:
    assert signpost("serve").exit_code == 0
    assert started == [CHOOSING]


@pytest.mark.parametrize("flag", ["--rest_api_port", "--rest-api-port"])
def test_hyphens_and_underscores_are_the_same(started: list[Settings], flag: str) -> None:
    assert signpost("serve", flag, 0, "--ready_file", "a", "--max-batch-size=8").exit_code == 0
    assert started == [replace(CHOOSING, rest_api_port=0, ready_file=Path("a"), max_batch_size=8)]


def test_every_setting_can_be_set_by_a_variable(started: list[Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNPOST_STORE", "elsewhere")
    monkeypatch.setenv("SIGNPOST_REST_API_PORT", "1234")
    monkeypatch.setenv("SIGNPOST_READY_FILE", "ready.json")
    assert signpost("serve").exit_code == 0
    assert started == [replace(CHOOSING, store=Path("elsewhere"), rest_api_port=1234, ready_file=Path("ready.json"))]


def test_a_flag_counts_more_than_a_variable(started: list[Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNPOST_THREADS", "3")
    signpost("serve", "--threads", 5)
    assert started[0].threads == 5


@pytest.mark.parametrize("arguments", [["--no-playground"], ["--no_playground"], ["--playground=false"]])
def test_the_playground_can_be_turned_off(started: list[Settings], arguments: list[str]) -> None:
    assert signpost("serve", *arguments).exit_code == 0
    assert not started[0].playground


def test_the_playground_can_be_turned_off_by_a_variable(
    started: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNPOST_PLAYGROUND", "false")
    signpost("serve")
    assert not started[0].playground


def test_a_variable_that_is_no_setting_is_warned_of(started: list[Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNPOST_STOER", "x")
    result = signpost("serve")
    assert result.exit_code == 0
    assert result.stderr == "Warning: SIGNPOST_STOER is not a setting of Signpost and is ignored.\n"
    assert len(started) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--threads", "0"], "--threads must be between 1 and 1024, not 0"),
        (["--rest-api-port", "70000"], "--rest_api_port must be between 0 and 65535, not 70000"),
        (["--threads", "many"], "'many' is not a valid integer"),
        (["--file_system_poll_wait_seconds", "nan"], "--file_system_poll_wait_seconds must be between"),
        (["--log-level", "loud"], "--log-level must be debug, info, warning or error"),
        (["--no-such-flag"], "No such option"),
        (["extra"], "unexpected extra argument"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(started: list[Settings], arguments: list[str], says: str) -> None:
    assert says in refusal(signpost("serve", *arguments))
    assert started == []


def test_a_bad_variable_is_refused(started: list[Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNPOST_THREADS", "0")
    assert "--threads must be between" in refusal(signpost("serve"))
    assert started == []


def test_a_missing_store_is_refused(tmp_path: Path) -> None:
    found = refusal(signpost("serve", "--store", tmp_path / "gone"))
    assert f"There is no store at {tmp_path / 'gone'}; pass an existing folder with --store, or create one" in found


def test_an_empty_store_is_refused_and_told_how_to_fill_it(tmp_path: Path) -> None:
    (tmp_path / "empty" / "m").mkdir(parents=True)
    found = refusal(signpost("serve", "--store", tmp_path / "empty"))
    assert str(tmp_path / "empty") in found
    assert "`signpost train circles` trains one" in found


def test_a_store_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert f"The store {tmp_path / 'file'} is a file" in refusal(signpost("serve", "--store", tmp_path / "file"))


def test_a_port_in_use_is_refused_by_its_flag(folder: Path, taken_port: int) -> None:
    found = refusal(signpost("serve", "--store", folder, "--port", 0, "--rest_api_port", taken_port))
    assert f"127.0.0.1:{taken_port} is not available: Address already in use; choose another --rest_api_port" in found


def test_the_port_of_grpc_in_use_is_refused_by_its_flag(folder: Path, taken_port: int) -> None:
    found = refusal(signpost("serve", "--store", folder, "--port", taken_port, "--rest_api_port", 0))
    assert f"127.0.0.1:{taken_port} is not available: Address already in use" in found
    assert "choose another --port" in found


@pytest.mark.parametrize("host", ["192.0.2.1", "256.1.1.1", "a" * 64, "host with spaces"])
def test_a_host_that_is_not_ours_is_refused(folder: Path, host: str) -> None:
    found = refusal(signpost("serve", "--store", folder, "--host", host, "--port", 0, "--rest_api_port", 0))
    assert f"--host {host} is not an address of this machine" in found


@pytest.mark.parametrize("place", ["missing/ready.json", "file/ready.json", "folder"])
def test_a_ready_file_that_can_not_be_written_is_refused(folder: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    found = refusal(
        signpost("serve", "--store", folder, "--port", 0, "--rest_api_port", 0, "--ready-file", tmp_path / place)
    )
    assert f"--ready-file {tmp_path / place} can't be" in found


def test_the_ready_file_of_an_earlier_run_is_removed_first(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = tmp_path / "ready.json"
    ready.write_text("{}")
    monkeypatch.setattr(launcher.Application, "run", lambda _: None)
    result = signpost("serve", "--store", folder, "--port", 0, "--rest_api_port", 0, "--ready-file", ready)
    assert result.exit_code == 0, result.output
    assert not ready.exists()


def test_help_tells_every_flag_and_needs_nothing_heavy() -> None:
    result = signpost("serve", "--help")
    assert result.exit_code == 0
    assert all(
        settings.flag(each).replace("-", "_") in result.output.replace("-", "_") for each in settings.each_setting()
    )


def test_the_version_can_be_asked_for() -> None:
    assert __version__ in signpost("--version").output
