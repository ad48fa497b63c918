"""The hop of a shared engine in the real service: processes die, stop and come anew under load; no answer is wrong."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import requests

from tests.e2e.processes import PATIENCE_S, Server, serving, wait_until
from tests.e2e.test_shapes import children, parts

Pictures = dict[int, bytes]
DEADLINE_S = 4


@pytest.fixture(scope="module")
def shared(circles_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A shared engine with two gateways; each test leaves it serving."""
    flags = ("--engine=shared", "--workers=2", "--access-log", f"--rest_api_timeout_in_ms={DEADLINE_S * 1000}")
    with serving(circles_store, tmp_path_factory.mktemp("hop"), *flags) as server:
        yield server


def scores(server: Server, picture: bytes) -> dict[str, float]:
    answer = requests.post(server.predict_url(), data=picture, timeout=PATIENCE_S)
    answer.raise_for_status()
    found: dict[str, float] = answer.json()["predictions"][0]["scores"]
    return found


@contextmanager
def load(server: Server, pictures: Pictures) -> Iterator[Counter[str]]:
    """Clients that each ask for other pictures over and over, some over a kept connection; what was answered.

    An answer that is not the picture's own counts as "wrong", one that took much longer than the deadline as "slow".
    """
    right = {number: scores(server, picture) for number, picture in pictures.items()}
    seen: Counter[str] = Counter()
    done = threading.Event()

    def ask_on(number: int) -> None:
        session = requests.Session()
        turn = number
        while not done.is_set():
            turn += 1
            wanted = 1 + turn % len(pictures)
            began_s = time.monotonic()
            try:
                answer = session.post(server.predict_url(), data=pictures[wanted], timeout=PATIENCE_S)
            except requests.RequestException as error:
                seen[type(error).__name__] += 1
                continue
            seen[str(answer.status_code)] += 1
            seen["slow"] += time.monotonic() - began_s > DEADLINE_S + 30  # on a machine that is busy
            if answer.ok:
                found = answer.json()["predictions"][0]["scores"]
                seen["wrong"] += found != pytest.approx(right[wanted], abs=1e-4)

    with ThreadPoolExecutor(6) as pool:
        asking = [pool.submit(ask_on, number) for number in range(6)]
        try:
            wait_until(lambda: seen["200"] > 20)
            yield seen
        finally:
            done.set()
            for each in asking:
                each.result()


def answers_again(server: Server, seen: Counter[str]) -> None:
    before = seen["200"]
    wait_until(lambda: seen["200"] > before + 30, server.log.read_text)


def check(seen: Counter[str], *statuses: str) -> None:
    assert (seen["wrong"], seen["slow"]) == (0, 0), seen
    assert {each for each, count in seen.items() if count} <= {"200", *statuses}, seen


def hops(server: Server) -> int:
    return server.log.read_text().count(" protocol=hop ")


def held(pid: int) -> tuple[int, int]:
    """Files that a process has open, and pieces of shared memory of the hop that it maps."""
    return psutil.Process(pid).num_fds(), Path(f"/proc/{pid}/maps").read_text().count("signpost-hop")


def test_gateways_reach_their_engine_by_it_and_nobody_else_can(shared: Server, pictures: Pictures) -> None:
    before = hops(shared)
    scores(shared, pictures[2])
    wait_until(lambda: hops(shared) > before, shared.log.read_text)
    assert " protocol=gRPC " not in shared.log.read_text()
    engine, *_ = parts(shared)
    [path] = {each.laddr for each in psutil.Process(engine).net_connections("unix") if "hop.sock" in str(each.laddr)}
    socket = Path(str(path))
    assert (socket.stat().st_mode & 0o777, socket.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_an_engine_that_is_killed_under_load_gives_503_only_and_no_wrong_answer(
    shared: Server, pictures: Pictures
) -> None:
    left_behind = set(Path("/dev/shm").glob("*"))
    with load(shared, pictures) as seen:
        for _ in range(2):
            engine, *_ = parts(shared)
            os.kill(engine, signal.SIGKILL)
            wait_until(lambda: seen["503"] > 0, lambda: str(seen))
            answers_again(shared, seen)
        before = hops(shared)
        wait_until(lambda: hops(shared) > before, shared.log.read_text)  # the new one's
    check(seen, "503")
    assert set(Path("/dev/shm").glob("*")) <= left_behind


def test_a_gateway_that_is_killed_under_load_leaves_nothing_in_the_engine(shared: Server, pictures: Pictures) -> None:
    engine, gunicorn, workers = parts(shared)
    with load(shared, pictures) as seen:
        most = held(engine)
        for victim in workers:
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda: len(children(gunicorn)) == 2 and victim not in children(gunicorn))  # noqa: B023
            answers_again(shared, seen)
            most = max(most, held(engine))
    check(seen, "ConnectionError")  # connections that the dead one had accepted are reset
    assert parts(shared)[0] == engine
    wait_until(lambda: held(engine) <= most, lambda: f"{held(engine)} {most}")


def test_an_engine_that_stands_still_keeps_nobody_for_longer_than_the_deadline(
    shared: Server, pictures: Pictures
) -> None:
    engine, *_ = parts(shared)
    with load(shared, pictures) as seen:
        os.kill(engine, signal.SIGSTOP)
        try:
            wait_until(lambda: seen["504"] + seen["503"] > 6, shared.log.read_text)
        finally:
            os.kill(engine, signal.SIGCONT)
        answers_again(shared, seen)
    check(seen, "503", "504")
    wait_until(lambda: requests.get(f"{shared.url}/readyz", timeout=PATIENCE_S).ok)
