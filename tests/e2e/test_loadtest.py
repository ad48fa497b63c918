"""`signpost loadtest` before real processes: the real service, and a server that stalls."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import requests

from tests.e2e import processes
from tests.e2e.processes import Server

SHORT = ("--no-floor", "--quiet", "--warm-up=0.2")


def loadtest(folder: Path, *arguments: str | Path) -> tuple[int, Any, str]:
    """Run it: exit code, the document of its report, what it printed."""
    done = processes.run("loadtest", *SHORT, "--report", folder / "report.html", *arguments)
    beside = folder / "report.json"
    return done.returncode, json.loads(beside.read_text()) if beside.exists() else None, done.stdout + done.stderr


def test_a_service_is_started_asked_in_every_way_and_stopped(circles_store: Path, tmp_path: Path) -> None:
    ways = [f"--way={way}" for way in ("image", "multipart:3", "b64", "arrays", "grpc")]
    slo = "p50=1us,errors=0%"
    load = ("--shape=constant", "--seconds=2", "--users=10", "--processes=2")
    code, made, printed = loadtest(tmp_path, "--store", circles_store, *ways, *load, "--slo", slo)
    assert code == 1, printed  # no service answers within a microsecond
    assert [each["held"] for each in made["objectives"]] == [False, True]
    assert "p50=1us: missed" in printed
    assert {name for name, found in made["kinds"].items() if found["due"] > 0} == {
        "circles, image", "circles, multipart of 3", "circles, b64", "circles, arrays", "circles, grpc",
    }  # fmt: skip
    form = made["kinds"]["circles, multipart of 3"]
    assert form["images_per_s"] == 3 * form["rate"]
    assert made["stages"]["circles, image"]["infer"]["mean_s"] > 0
    assert sum(made["batches"]["circles"].values()) > 0
    assert made["service"]["models"] == {"circles": ["1"]}
    assert made["service_load"]["cpu_cores"] > 0
    assert len(made["generator"]["cpu_shares"]) == 2
    assert (tmp_path / "report.html").read_text().count("<svg") == 3
    try:
        requests.get(made["service"]["url"], timeout=5)
    except requests.ConnectionError:
        return
    raise AssertionError("the service that was started still answers")


def test_open_arrivals_keep_their_rate_before_a_running_service(server: Server, tmp_path: Path) -> None:
    code, made, printed = loadtest(
        tmp_path, "--url", server.url, "--rate=40", "--arrivals=constant", "--seconds=1.5", "--slo=errors=0%"
    )
    assert code == 0, printed
    assert made["total"]["due"] == 60
    assert made["total"]["failed"] == 0
    assert not made["service"]["own"]


class _Stalling(BaseHTTPRequestHandler):
    """Answers at once, but for the second that begins with the 20th prediction."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[float]] = []
    lock = threading.Lock()
    tensor: ClassVar[Any] = {
        "dtype": "DT_UINT8",
        "tensor_shape": {"dim": [{"size": s} for s in ("-1", "28", "28", "1")]},
    }

    def do_GET(self) -> None:
        scores = {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": "-1"}, {"size": "2"}]}}
        signature = {
            "inputs": {"image": self.tensor},
            "outputs": {"scores": scores, "classes": {**scores, "dtype": "DT_STRING"}},
        }
        page = {
            "models": [{"name": "m"}],
            "model_version_status": [{"version": "1", "state": "AVAILABLE"}],
            "metadata": {"signature_def": {"signature_def": {"serving_default": signature}}},
        }
        self.answer(json.dumps(page).encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        with self.lock:
            self.asked.append(time.monotonic())
            wait_s = self.asked[19] + 1.0 - time.monotonic() if len(self.asked) >= 20 else 0.0
        time.sleep(max(0.0, wait_s))
        self.answer(b'{"predictions": [[0.5, 0.5]]}')

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def stalling() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Stalling)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_every_request_that_was_due_while_a_server_stalled_is_slow(tmp_path: Path) -> None:
    """With two connections, of which a loop would have had two slow answers; open arrivals count all fifty."""
    with stalling() as url:
        code, made, printed = loadtest(
            tmp_path, "--url", url, "--rate=50", "--arrivals=constant", "--seconds=3", "--connections=2"
        )
    assert code == 0, printed
    assert made["total"]["due"] == 150
    slow = sum(
        count
        for each in made["segments"]
        for block in each["blocks"]
        for number, count in block["latencies"].items()
        if int(number) > 925  # 0.1 s and more
    )
    assert slow >= 40
    assert any("connections busy" in warning for warning in made["generator"]["warnings"])
