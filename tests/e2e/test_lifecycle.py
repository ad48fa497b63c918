"""Starting, changing the store while serving, overload and stopping, with the real process."""

import json
import os
import shutil
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.e2e.processes import Server, run, serving, wait_until


@pytest.fixture
def store(circles_store: Path, tmp_path: Path) -> Path:
    """A copy of the trained store that a test may change."""
    return Path(shutil.copytree(circles_store, tmp_path / "store"))


def state_of(server: Server, version: int) -> tuple[str, str]:
    answer = requests.get(f"{server.url}/v1/models/circles", timeout=60).json()
    for status in answer["model_version_status"]:
        if status["version"] == str(version):
            return status["state"], status["status"]["error_message"]
    return "", ""


def test_before_it_is_ready_it_is_live_and_says_so(store: Path, tmp_path: Path) -> None:
    with serving(store, tmp_path, ready=False) as server:
        early = requests.get(f"{server.url}/readyz", timeout=60)
        if early.status_code == 503:  # TensorFlow takes seconds to import, so this is the usual case
            answer = requests.post(server.predict_url(), json={"instances": [1]}, timeout=60)
            assert answer.status_code in (404, 503, 400)
        wait_until(lambda: requests.get(f"{server.url}/readyz", timeout=60).ok, server.log.read_text)
        wait_until((tmp_path / "ready.json").exists, server.log.read_text)
        assert json.loads((tmp_path / "ready.json").read_text())["rest_api_port"] == server.rest_api_port


def test_a_new_version_replaces_the_old_one_and_no_request_is_lost(
    store: Path, tmp_path: Path, pictures: dict[int, bytes]
) -> None:
    with serving(store, tmp_path, "--file_system_poll_wait_seconds=0.1") as server:
        done = threading.Event()

        def ask() -> Counter[tuple[int, int]]:
            seen: Counter[tuple[int, int]] = Counter()
            with requests.Session() as session:
                while not done.is_set():
                    answer = session.post(server.predict_url(), data=pictures[2], timeout=60)
                    version = answer.json()["model"]["version"] if answer.ok else 0
                    seen[answer.status_code, version] += 1
            return seen

        with ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask) for _ in range(4)]
            try:
                # A copy made elsewhere and renamed into place, as `signpost train` does it.
                shutil.copytree(store / "circles" / "1", store / "circles" / ".coming")
                (store / "circles" / ".coming").rename(store / "circles" / "2")
                wait_until(lambda: state_of(server, 2)[0] == "AVAILABLE" and state_of(server, 1)[0] == "")
                answer = requests.post(server.predict_url(), data=pictures[2], timeout=60)
                assert answer.json()["model"]["version"] == 2
            finally:
                done.set()
            seen = sum((future.result() for future in asking), Counter())
        assert set(seen) == {(200, 1), (200, 2)}


def test_a_broken_version_is_reported_and_the_old_one_goes_on(
    store: Path, tmp_path: Path, pictures: dict[int, bytes]
) -> None:
    with serving(store, tmp_path, "--file_system_poll_wait_seconds=0.1") as server:
        half_copied = store / "circles" / "3"
        half_copied.mkdir()
        wait_until(lambda: f"{half_copied} has no saved_model.pb" in server.log.read_text(), server.log.read_text)
        broken = store / "circles" / "2"
        broken.mkdir()
        (broken / "saved_model.pb").write_bytes(b"this is no model")
        wait_until(lambda: state_of(server, 2)[0] == "END", server.log.read_text)
        assert "is not a SavedModel" in state_of(server, 2)[1]
        answer = requests.post(server.predict_url(), data=pictures[2], timeout=60)
        assert answer.json()["model"]["version"] == 1
        assert requests.get(f"{server.url}/readyz", timeout=60).ok
        assert requests.post(server.predict_url(at="/versions/2"), data=pictures[2], timeout=60).status_code == 404
        assert server.log.read_text().count("has no saved_model.pb") == 1
        # Repaired in place, it is loaded.
        shutil.copytree(store / "circles" / "1", broken, dirs_exist_ok=True)
        wait_until(lambda: state_of(server, 2)[0] == "AVAILABLE", server.log.read_text)


def test_sigterm_answers_what_was_accepted_and_exits_with_0(
    store: Path, tmp_path: Path, pictures: dict[int, bytes]
) -> None:
    with serving(store, tmp_path) as server, ThreadPoolExecutor(8) as pool:
        files = [("file", ("a.png", pictures[2]))] * 200
        asking = [pool.submit(requests.post, server.predict_url(), files=files, timeout=60) for _ in range(8)]
        wait_until(lambda: "signpost_images_total" in requests.get(f"{server.url}/metrics", timeout=60).text)
        assert server.stop() == 0
        answered = [future.result() for future in asking if future.exception() is None]
        assert answered
        assert {answer.status_code for answer in answered} == {200}


def test_while_it_finishes_its_last_request_it_refuses_connections(
    store: Path, tmp_path: Path, pictures: dict[int, bytes]
) -> None:
    def refuses() -> bool:
        try:
            socket.create_connection(("127.0.0.1", server.rest_api_port), timeout=5).close()
        except ConnectionRefusedError:
            return True
        return False

    with serving(store, tmp_path) as server:
        body = pictures[3]
        head = f"POST /v1/models/circles:predict HTTP/1.1\r\nHost: signpost\r\nContent-Length: {len(body)}\r\n"
        with socket.create_connection(("127.0.0.1", server.rest_api_port), timeout=60) as connection:
            connection.sendall(f"{head}Content-Type: image/png\r\nExpect: 100-continue\r\n\r\n".encode())
            assert connection.recv(65536).startswith(b"HTTP/1.1 100 Continue")  # it is being handled
            server.process.terminate()
            wait_until(refuses, server.log.read_text)
            connection.sendall(body)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
        assert server.stop() == 0


def test_a_queue_that_is_full_refuses_with_429(store: Path, tmp_path: Path, pictures: dict[int, bytes]) -> None:
    arguments = ("--max_batch_size=1", "--max_enqueued_batches=1", "--threads=32")
    with serving(store, tmp_path, *arguments) as server, ThreadPoolExecutor(32) as pool:

        def ask(_: int) -> requests.Response:
            return requests.post(server.predict_url(), data=pictures[2], timeout=60)

        answers: list[requests.Response] = []
        while not any(answer.status_code == 429 for answer in answers):
            answers = list(pool.map(ask, range(200)))
        assert {answer.status_code for answer in answers} == {200, 429}
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert int(refused.headers["Retry-After"]) >= 1
        assert "queue is full" in refused.json()["error"]


def test_settings_come_from_the_environment_too(store: Path, tmp_path: Path, pictures: dict[int, bytes]) -> None:
    environment = {"SIGNPOST_MAX_IMAGE_BYTES": "64", "SIGNPOST_TYPO": "1"}
    with serving(store, tmp_path, environment=environment) as server:
        answer = requests.post(server.predict_url(), data=pictures[2], timeout=60)
        assert answer.status_code == 413
        assert "at most 64" in answer.json()["error"]
        assert "SIGNPOST_TYPO is not a setting" in server.log.read_text()


@pytest.mark.parametrize("flag", ["--port", "--rest_api_port"])
def test_a_port_in_use_is_one_sentence(store: Path, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("serve", "--store", store, "--port=0", "--rest_api_port=0", f"{flag}={taken.getsockname()[1]}")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("Error: ")
    assert flag in done.stderr
    assert "Traceback" not in done.stderr


def test_stores_that_can_not_be_served_are_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    empty = tmp_path / "empty"
    empty.mkdir()
    for store, says in [(tmp_path / "missing", "no store"), (file, "is a file"), (empty, "no model to serve")]:
        done = run("serve", "--store", store, "--port=0", "--rest_api_port=0")
        assert done.returncode == 2
        [line] = done.stderr.strip().splitlines()
        assert line.startswith("Error: ")
        assert says in line
        assert str(store) in line


def test_without_the_gpu_that_is_required_nothing_starts(store: Path) -> None:
    done = run("serve", "--store", store, "--port=0", "--rest_api_port=0", "--require-gpu")  # none is visible here
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("Error: TensorFlow sees no GPU")


def test_make_serve_honours_the_environment() -> None:
    makefile = Path(__file__).parents[2] / "Makefile"
    recipe = makefile.read_text().split("serve:")[1].split("\n\n")[0]
    assert "signpost serve" in recipe
    assert "--" not in recipe, "a flag would win over its SIGNPOST_* variable"
    assert os.access(makefile.parent / ".ci" / "run", os.X_OK)
