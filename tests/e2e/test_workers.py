"""Several workers with an engine each, as one service: what answers changes in all of them at one moment."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.e2e.processes import Server, serving, wait_until

_LOOKS = 12  # new connections, so that some come to each worker


@pytest.fixture(scope="module")
def server(circles_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two workers over a copy of the store with two versions; each test leaves the latest serving."""
    folder = tmp_path_factory.mktemp("workers")
    store = Path(shutil.copytree(circles_store, folder / "store"))
    publish(store, 2)
    with serving(store, folder, "--workers=2", "--file_system_poll_wait_seconds=0.2") as server:
        yield server


@pytest.fixture(scope="module")
def store(server: Server) -> Path:
    return server.log.with_name("store")


def publish(store: Path, version: int) -> None:
    """Publish a copy of version 1, by one rename."""
    shutil.copytree(store / "circles" / "1", store / "circles" / ".coming")
    (store / "circles" / ".coming").rename(store / "circles" / str(version))


def version_of(answer: requests.Response) -> int:
    assert answer.status_code == 200, answer.text
    return int(answer.headers["X-Model-Version"])


def all_answer(server: Server, picture: bytes, at: str = "") -> set[int]:
    """The versions that answer new connections."""
    url = server.predict_url(at=at)
    return {version_of(requests.post(url, data=picture, timeout=60)) for _ in range(_LOOKS)}


def loaded(server: Server) -> set[str]:
    """The states of the versions, as new connections are told; one for each way in which workers differ."""
    found = set()
    for _ in range(_LOOKS):
        told = requests.get(f"{server.url}/v1/models/circles", timeout=60).json()["model_version_status"]
        found.add(", ".join(f"{each['version']} {each['state']}" for each in told))
    return found


@contextmanager
def asking(server: Server, picture: bytes) -> Iterator[list[tuple[float, float, int]]]:
    """Eight clients that never pause: when each request began and ended, and the version that answered."""
    done = threading.Event()
    seen: list[tuple[float, float, int]] = []

    def ask() -> None:
        with requests.Session() as session:
            while not done.is_set():
                began_s = time.monotonic()
                try:
                    version = version_of(session.post(server.predict_url(), data=picture, timeout=60))
                except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                    continue  # its worker was killed
                seen.append((began_s, time.monotonic(), version))

    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(ask) for _ in range(8)]
        try:
            yield seen
        finally:
            done.set()
        for each in running:
            each.result()


def went_back(seen: list[tuple[float, float, int]], after: int) -> list[tuple[float, float, int]]:
    """Requests that another version answered although they began after one was answered by `after`."""
    first_s = min(ended_s for _, ended_s, version in seen if version == after)
    return [each for each in seen if each[0] > first_s and each[2] != after]


def test_ready_means_that_the_newest_answers_from_every_worker(server: Server, pictures: dict[int, bytes]) -> None:
    assert all_answer(server, pictures[2]) == {2}
    assert " Ready: circles version 2." in server.log.read_text()


def test_a_roll_back_by_request_is_in_force_everywhere_when_it_is_answered(
    server: Server, pictures: dict[int, bytes]
) -> None:
    def reload(policy: str) -> None:
        config = f'model_config_list {{ config {{ name: "circles" base_path: "circles" {policy} }} }}'
        answer = requests.post(f"{server.url}/v1/config:reload", data=config, timeout=60)
        assert answer.status_code == 200, answer.text

    with asking(server, pictures[2]) as seen:
        reload("model_version_policy { specific { versions: 1 } }")
        assert all_answer(server, pictures[2]) == {1}
        assert loaded(server) == {"1 AVAILABLE"}
    assert went_back(seen, after=1) == []
    reload('version_labels { key: "stable" value: 1 }')
    assert all_answer(server, pictures[2]) == {2}
    assert all_answer(server, pictures[2], "/labels/stable") == {1}
    reload("")
    assert loaded(server) == {"2 AVAILABLE"}


def test_a_swap_goes_on_when_a_worker_is_killed_and_nothing_goes_back(
    server: Server, store: Path, pictures: dict[int, bytes]
) -> None:
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    before = children.read_text().split()
    with asking(server, pictures[2]) as seen:
        publish(store, 3)
        os.kill(int(before[0]), signal.SIGKILL)
        wait_until(lambda: any(version == 3 for _, _, version in seen), server.log.read_text)
        wait_until(lambda: len(set(children.read_text().split()) - {before[0]}) == 2, server.log.read_text)
        wait_until(lambda: loaded(server) == {"3 AVAILABLE"}, server.log.read_text)
    assert went_back(seen, after=3) == []


def test_new_workers_in_the_middle_of_a_swap_take_nothing_back(
    server: Server, store: Path, pictures: dict[int, bytes]
) -> None:
    newest = max(int(path.name) for path in (store / "circles").iterdir() if path.name.isdigit()) + 1
    with asking(server, pictures[2]) as seen:
        server.process.send_signal(signal.SIGHUP)
        publish(store, newest)
        wait_until(lambda: "the new workers are ready" in server.log.read_text(), server.log.read_text)
        wait_until(lambda: loaded(server) == {f"{newest} AVAILABLE"}, server.log.read_text)
    assert went_back(seen, after=newest) == []
