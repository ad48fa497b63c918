"""The check of a GPU host without a service: its table and verdict, its clients, and what nvidia-smi tells."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from loadtests.gpu import check, steps
from loadtests.gpu.clients import Clients, Load
from loadtests.gpu.machine import GpuWatch
from loadtests.gpu.steps import Row

LONG_S = 20.0


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the check with other steps and without a service."""
    (tmp_path / "store").mkdir()
    started: list[tuple[str, ...]] = []

    @contextmanager
    def served(_store: Path, flags: tuple[str, ...]) -> Iterator[None]:
        started.append(flags)
        yield

    def run(*arguments: str, gpus: tuple[str, ...] = (), **with_steps: Any) -> Result:
        about = {"gpus": list(gpus), "cores": 2, "cpu": "a processor"}
        monkeypatch.setattr(check, "served", served)
        monkeypatch.setattr(check, "STEPS", with_steps)
        monkeypatch.setattr(check.hosts, "machine", lambda: about)
        told = ["--store", str(tmp_path / "store"), "--out", str(tmp_path / "out")]
        result = CliRunner().invoke(check.main, [*told, "--steps", ",".join(with_steps), *arguments])
        result.started = started  # type: ignore[attr-defined]
        return result

    return run


def good(_host: Any, _service: Any) -> Iterator[Row]:
    yield Row("good", "the answer", "42", True, {"answer": 42})
    yield Row("good", "the weather", "fine")


def bad(_host: Any, _service: Any) -> Iterator[Row]:
    yield Row("bad", "lost", "3", False)


def broken(_host: Any, _service: Any) -> Iterator[Row]:
    yield Row("broken", "begun", "", True)
    raise ValueError("odd")


def test_all_is_well(run: Callable[..., Result], tmp_path: Path) -> None:
    result = run(good=good)
    assert result.exit_code == 0
    assert "There is no GPU" in result.output
    assert "0 of 2 figures are out of bounds" in result.output
    found = json.loads((tmp_path / "out" / "check.json").read_text())
    assert [row["figures"] for row in found["rows"]] == [{"answer": 42}, {}]
    assert {"machine", "versions", "flags", "when"} <= found.keys()
    assert result.started[0][:2] == ("--engine=shared", "--workers=2")  # type: ignore[attr-defined]


def test_a_step_that_finds_fault_or_stops_does_not_stop_the_others(run: Callable[..., Result], tmp_path: Path) -> None:
    result = run(bad=bad, broken=broken, good=good)
    assert result.exit_code == 1
    assert "2 of 5 figures" in result.output
    rows = json.loads((tmp_path / "out" / "check.json").read_text())["rows"]
    assert [(row["step"], row["good"]) for row in rows] == [
        ("bad", False), ("broken", True), ("broken", False), ("good", True), ("good", None),
    ]  # fmt: skip
    assert rows[2]["told"] == "ValueError: odd"


def test_what_no_time_is_left_for_is_told(run: Callable[..., Result]) -> None:
    result = run("--budget=1", good=good)
    assert result.exit_code == 0
    assert "left out" in result.output


def test_with_a_gpu_the_service_decides_for_itself(run: Callable[..., Result]) -> None:
    result = run("--", "--threads=3", gpus=("NVIDIA H100",), good=good)
    assert "NVIDIA H100" in result.output
    [flags] = result.started  # type: ignore[attr-defined]
    assert (flags[0], flags[-1]) == ("--require-gpu", "--threads=3")


def test_an_unknown_step_is_refused(run: Callable[..., Result]) -> None:
    result = run("--steps=other", good=good)
    assert result.exit_code == 2
    assert "no step 'other'; there are good" in result.output
    assert list(steps.STEPS) == ["start", "verify", "load", "swaps", "kill", "memory", "training"]


class Handler(BaseHTTPRequestHandler):
    """Answers 200, and 503 while it is told to."""

    failing = threading.Event()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status, body = (503, b"loading") if self.failing.is_set() else (200, b"fine")
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_clients_note_every_answer_and_go_on() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    clients = Clients(server.server_port, path="/", body=b"x", kind="image/png", number=2)
    try:
        until(lambda: clients.statuses()[200] > 3)
        assert clients.complaint() == ""
        Handler.failing.set()
        until(lambda: clients.first(503, 0.0) is not None)
        failed_s = clients.first(503, 0.0)
        assert failed_s is not None
        Handler.failing.clear()
        until(lambda: clients.first(200, failed_s) is not None)
    finally:
        clients.stop()
        server.shutdown()
        server.server_close()
    assert clients.statuses().keys() == {200, 503}
    assert clients.complaint() == "loading"
    assert clients.statuses(since_s=time.monotonic()) == {}


def test_a_load_is_told_in_words() -> None:
    assert str(Load(12345.6, 1.25, 9.0, 0)) == "12,346/s, p50 1.2 ms, p99 9.0 ms"
    assert str(Load(1.0, 1.0, 1.0, 7)).endswith(", 7 refused")


def test_the_gpu_is_asked_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    nothing = GpuWatch()
    assert nothing.since(0.0) == ""
    nothing.close()
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '[N/A], 1, 1'\necho '20, 1000, 81559'\necho '40, 1649, 81559'\n")
    program.chmod(0o755)
    watch = GpuWatch()
    until(lambda: watch.since(0.0) == "GPU 30 % busy, 1649 MiB")
    assert watch.total_mb == 81559
    watch.close()
