"""Stopping with a drain, new workers and a successor, under clients that never pause: no request is lost."""

import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import requests

from tests.e2e.processes import Server, serving, wait_until


@contextmanager
def asking(server: Server, picture: bytes) -> Iterator[Counter[object]]:
    """Eight clients, half of them with connections kept alive; counts statuses, and what else became of requests."""
    done = threading.Event()
    seen: Counter[object] = Counter()

    def ask(keeps: bool) -> None:
        with requests.Session() as session:
            while not done.is_set():
                try:
                    send = session.post if keeps else requests.post
                    seen[send(server.predict_url(), data=picture, timeout=60).status_code] += 1
                except requests.RequestException as error:
                    seen[repr(error)] += 1

    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(ask, number % 2 == 0) for number in range(8)]
        try:
            wait_until(lambda: seen[200] > 50)
            yield seen
            so_far = seen[200]
            wait_until(lambda: seen[200] > so_far + 50)
        finally:
            done.set()
        for each in running:
            each.result()


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_successor(pid: int) -> bool:
    try:
        return b"GUNICORN_PID=" in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def test_new_workers_load_before_the_old_ones_stop_and_a_drain_says_so(
    circles_store: Path, tmp_path: Path, pictures: dict[int, bytes]
) -> None:
    with serving(circles_store, tmp_path, "--drain-seconds=60") as server:
        (old,) = children(server.process.pid)
        with asking(server, pictures[2]) as seen:
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda: gone(old), server.log.read_text)
            assert requests.get(f"{server.url}/readyz", timeout=60).ok
        assert set(seen) == {200}, seen
        (new,) = children(server.process.pid)
        assert new != old
        with requests.Session() as session:
            server.process.terminate()
            wait_until(lambda: session.get(f"{server.url}/readyz", timeout=60).status_code == 503)
            draining = session.get(f"{server.url}/readyz", timeout=60)
            assert draining.json()["waiting"] == "the service stops"
            answer = session.post(server.predict_url(), data=pictures[2], timeout=60)
            assert answer.status_code == 200
            assert answer.headers["Connection"] == "close"
        assert server.stop() == 0  # a second SIGTERM does not wait for the end of the minute


def test_a_successor_takes_over_the_ports(circles_store: Path, tmp_path: Path, pictures: dict[int, bytes]) -> None:
    with serving(circles_store, tmp_path) as server:
        first = server.process
        successor = 0
        try:
            with asking(server, pictures[2]) as seen:
                first.send_signal(signal.SIGUSR2)
                wait_until(lambda: server.log.read_text().count(" Ready: ") == 2, server.log.read_text)
                (successor,) = filter(is_successor, children(first.pid))
                assert server.stop() == 0
                # gRPC's port too is the successor's now.
                socket.create_connection(("127.0.0.1", server.port), timeout=60).close()
            assert set(seen) == {200}, seen
        finally:
            if successor:
                os.kill(successor, signal.SIGTERM)
                wait_until(lambda: gone(successor), server.log.read_text)
