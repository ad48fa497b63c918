"""Runs Locust over a plan, in processes of its own, and shows how it goes."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from loadtests.plan.plan import Plan
from loadtests.results import records
from loadtests.results.records import Records
from service.errors import SignpostError

_LOCUSTFILE: Final = Path(__file__).parents[1] / "locustfile.py"
_LOOK_S: Final = 1.0
_START_S: Final = 180.0
_STOP_S: Final = 10.0
_WATCHED: Final = 20_000
_SPAWN_RATE: Final = 10_000  # all at once; a user without a turn costs nothing


class GeneratorFailed(SignpostError):
    """The load generator could not do its work; the text is what it said."""


def run(plan: Plan, watch: Callable[[float, Records], None]) -> Records:
    """Generate the load of a plan and wait until it is over.

    Args:
        plan: what to do; its folder is where the records go and must exist.
        watch: called about every second with the seconds since the first request was due, and the last records.

    Returns:
        The records of all requests, in the order in which they were due.

    Raises:
        GeneratorFailed: Locust ends with an error, or never begins.
    """
    folder = Path(plan.folder)
    plan.write(folder / "plan.json")
    environment = {**os.environ, "SIGNPOST_LOAD_PLAN": str(folder / "plan.json"), "PYTHONPATH": _python_path()}
    with (folder / "locust.log").open("w") as log:
        process = subprocess.Popen(_command(plan), env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            _wait(process, plan, watch)
        finally:
            _stop(process)
    found = records.read(folder)
    said = (folder / "locust.log").read_text("utf-8", "replace").strip()
    if process.returncode or not len(found):
        raise GeneratorFailed(f"Locust ended with exit code {process.returncode}: {said[-2000:] or 'no output'}")
    return found


def _command(plan: Plan) -> list[str]:
    locust = shutil.which("locust", path=str(Path(sys.executable).parent)) or "locust"
    command = [locust, "-f", str(_LOCUSTFILE), "--headless", "--only-summary", "--skip-log-setup"]
    command += ["--exit-code-on-error", "0"]  # failures are what is measured
    command += ["--host", plan.url, "--users", str(plan.users), "--spawn-rate", str(_SPAWN_RATE), "--stop-timeout", "1"]
    if plan.processes > 1:
        port = str(_free_port())
        command += ["--processes", str(plan.processes), "--master-bind-host", "127.0.0.1", "--master-bind-port", port]
        command += ["--master-port", port]
    return command


def _wait(process: "subprocess.Popen[bytes]", plan: Plan, watch: Callable[[float, Records], None]) -> None:
    folder = Path(plan.folder)
    until_s = time.monotonic() + _START_S + plan.end_s + plan.timeout_s
    while process.poll() is None:
        try:
            process.wait(_LOOK_S)
        except subprocess.TimeoutExpired:
            so_far = records.read(folder, last=_WATCHED)
            loads = [each["load"] for each in records.read_beside(folder)]
            if loads:
                watch(min(load[-1][0] for load in loads), so_far)
            if time.monotonic() > until_s:
                raise GeneratorFailed("Locust does not end.") from None


def _stop(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _python_path() -> str:
    """Where Locust finds this package, whatever its own folder."""
    return os.pathsep.join(filter(None, [str(_LOCUSTFILE.parent.parent), os.environ.get("PYTHONPATH")]))


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
