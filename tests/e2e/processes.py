"""The real command as a process: run to its end, or started as a server, waited for and stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

SIGNPOST = Path(sys.executable).with_name("signpost")
PATIENCE_S = 120.0  # a loaded machine may take long; no test waits longer for a process


def run(*arguments: str | Path, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run `signpost` to its end."""
    return subprocess.run(
        [SIGNPOST, *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=_environment(environment),
        check=False,
    )


@dataclass
class Server:
    """A running `signpost serve`."""

    process: subprocess.Popen[str]
    port: int
    rest_api_port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.rest_api_port}"

    def predict_url(self, model: str = "circles", at: str = "") -> str:
        return f"{self.url}/v1/models/{model}{at}:predict"

    def stop(self) -> int:
        """Send SIGTERM and wait; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


@contextmanager
def serving(
    store: Path, folder: Path, *arguments: str, environment: dict[str, str] | None = None, ready: bool = True
) -> Iterator[Server]:
    """Start `signpost serve` on free ports and stop it in the end.

    Args:
        store: the store to serve.
        folder: an empty folder for its log and ready file.
        arguments: further flags.
        environment: further environment variables.
        ready: wait for the ready file; otherwise only until HTTP answers.
    """
    ready_file, log = folder / "ready.json", folder / "serve.log"
    with log.open("w") as sink:
        process = subprocess.Popen(
            [
                SIGNPOST,
                "serve",
                "--store",
                store,
                "--port=0",
                "--rest_api_port=0",
                "--ready-file",
                ready_file,
                "--workers=1",
                "--engine=local",
                *arguments,
            ],
            stdout=sink,
            stderr=subprocess.STDOUT,
            text=True,
            env=_environment(environment),
        )
    try:
        if ready:
            wait_until(lambda: ready_file.exists() or process.poll() is not None, log.read_text)
            assert process.poll() is None, log.read_text()
            yield Server(process, log=log, **json.loads(ready_file.read_text()))
        else:
            wait_until(lambda: "listens on http" in log.read_text() or process.poll() is not None, log.read_text)
            port = int(log.read_text().split("listens on http://127.0.0.1:")[1].split(";")[0])
            server = Server(process, 0, port, log)
            wait_until(lambda: _answers(server.url + "/healthz"), log.read_text)
            yield server
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def wait_until(condition: Callable[[], bool], explain: Callable[[], str] = str) -> None:
    """Wait for a condition, at most `PATIENCE_S`."""
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, explain()
        time.sleep(0.02)


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.ConnectionError:
        return False


def _environment(more: dict[str, str] | None) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SIGNPOST_")}
    # Which runtime is the fastest is nothing to try at every start, nor to keep in the home of whoever runs the tests.
    return {**inherited, "CUDA_VISIBLE_DEVICES": "-1", "SIGNPOST_RUNTIME": "tensorflow", **(more or {})}
