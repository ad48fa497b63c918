"""The supervisor with children that are a few lines each; in a process of its own, as it forks and takes signals."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.unit.service.engine.versions import until

BEGIN = """
import logging, os, select, signal, sys, time
from pathlib import Path
from service.process import supervisor
from service.errors import SettingsError
from service.parts.runtime import Runtime
from service.process.supervisor import Supervisor

logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stderr)
supervisor._BACK_OFF_S = (0.0, 0.01)
folder = Path(sys.argv[1])
runtime = Runtime(folder, 1, 1, 1)

def note(name):
    (folder / name).write_text(str(os.getpid()))

def engine(lifeline):
    note("engine")
    runtime.engine_ready.touch()
    while not select.select([lifeline], [], [], 10)[0]:
        pass
    note("engine-ended")

def gateways():
    note("gateways")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        signal.pause()
"""
END = """
supervisor = Supervisor(
    run_engine=engine, run_gateways=gateways, gateways_started=lambda: note("started"), runtime=runtime, drain_s=5.0
)
sys.exit(supervisor.run())
"""


def start(folder: Path, change: str = "") -> subprocess.Popen[str]:
    program = BEGIN + textwrap.dedent(change) + END
    return subprocess.Popen([sys.executable, "-c", program, str(folder)], stderr=subprocess.PIPE, text=True)


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the exit code and what was logged."""
    _, log = process.communicate(timeout=60)
    return process.returncode, log


def number(folder: Path, name: str) -> int:
    """The process ID that a child has noted; 0 before it has."""
    path = folder / name
    return int(path.read_text() or 0) if path.exists() else 0


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_sigterm_stops_the_gateways_then_the_engine(tmp_path: Path) -> None:
    process = start(tmp_path)
    until(lambda: bool(number(tmp_path, "gateways") and (tmp_path / "engine-ready").exists()))
    process.send_signal(signal.SIGTERM)
    code, log = end(process)
    assert code == 0, log
    assert number(tmp_path, "engine-ended") == number(tmp_path, "engine"), "it was not killed"
    assert gone(number(tmp_path, "gateways"))


def test_a_dead_engine_is_started_again(tmp_path: Path) -> None:
    process = start(tmp_path)
    for _ in range(7):  # more often than an engine that was never ready may die
        until(lambda: (tmp_path / "engine-ready").exists())
        first = number(tmp_path, "engine")
        os.kill(first, signal.SIGKILL)
        until(lambda: number(tmp_path, "engine") not in (0, first))  # noqa: B023 - called at once
    process.terminate()
    code, log = end(process)
    assert code == 0
    assert log.count("The engine process ended (signal 9); restarting it in 0") == 7


def test_an_engine_that_is_never_ready_ends_the_service(tmp_path: Path) -> None:
    code, log = end(start(tmp_path, "def engine(lifeline): os._exit(9)"))
    assert code == 1
    assert "The engine process ended (exit code 9) 5 times before it was ready; giving up." in log
    assert gone(number(tmp_path, "gateways"))


def test_wrong_settings_end_it_at_once_with_their_message(tmp_path: Path) -> None:
    code, log = end(start(tmp_path, "def engine(lifeline): raise SettingsError('No such port.')"))
    assert code == 2
    assert log.splitlines()[0] == "Error: No such port."
    assert "again" not in log


def test_gateways_that_end_stop_the_engine(tmp_path: Path) -> None:
    change = """
    def gateways():
        while not runtime.engine_ready.exists():
            time.sleep(0.01)
        sys.exit(3)
    """
    code, log = end(start(tmp_path, change))
    assert code == 3
    assert "The gateways ended (exit code 3); stopping the engine." in log
    assert number(tmp_path, "engine-ended")


def test_nobody_outlives_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    process = start(tmp_path)
    until(lambda: bool(number(tmp_path, "gateways") and (tmp_path / "engine-ready").exists()))
    process.kill()
    end(process)  # the children hold its stderr, so this waits for them too
    until(lambda: gone(number(tmp_path, "engine")) and gone(number(tmp_path, "gateways")))
    assert number(tmp_path, "engine-ended")


def test_who_is_in_a_hurry_is_passed_on_to_the_gateways(tmp_path: Path) -> None:
    change = """
    def gateways():
        def stop(*_):
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            note("draining")
        signal.signal(signal.SIGTERM, stop)
        note("gateways")
        while True:
            signal.pause()
    """
    process = start(tmp_path, change)
    until(lambda: bool(number(tmp_path, "gateways") and (tmp_path / "engine-ready").exists()))
    process.terminate()
    until(lambda: (tmp_path / "draining").exists())
    process.terminate()
    code, log = end(process)
    assert code == 0, log
    assert "killed" not in log


def test_a_successor_is_refused_and_the_service_goes_on(tmp_path: Path) -> None:
    process = start(tmp_path)
    until(lambda: bool(number(tmp_path, "gateways") and (tmp_path / "engine-ready").exists()))
    process.send_signal(signal.SIGUSR2)
    process.terminate()  # taken after it, as signals are by their numbers
    code, log = end(process)
    assert code == 0
    assert "SIGUSR2 is ignored" in log
