"""Several workers and processes as one service: killed, stopped under load, and never half alive."""

import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest
import requests

from tests.e2e.processes import PATIENCE_S, Server, run, serving, wait_until


def children(pid: int) -> list[int]:
    """The child processes of a process."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def clients(server: Server, pid: int) -> int:
    """How many clients are connected to a worker by HTTP."""
    found = psutil.Process(pid).net_connections("tcp")
    return sum(each.status == "ESTABLISHED" and each.laddr.port == server.rest_api_port for each in found)


def maps(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


def has_tensorflow(pid: int) -> bool:
    return "_pywrap_tensorflow" in maps(pid) or "libtensorflow" in maps(pid)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def parts(server: Server) -> tuple[int, int, list[int]]:
    """Process IDs of a shared service: its engine, its gunicorn, and the workers."""
    one, other = children(server.process.pid)
    engine, gunicorn = (one, other) if has_tensorflow(one) else (other, one)
    return engine, gunicorn, children(gunicorn)


@contextmanager
def load(server: Server, picture: bytes, clients: int = 4) -> Iterator[Counter[str]]:
    """Keep asking, each time over a new connection; what was answered, by status (or the name of an error)."""
    seen: Counter[str] = Counter()
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                seen[str(requests.post(server.predict_url(), data=picture, timeout=PATIENCE_S).status_code)] += 1
            except requests.RequestException as error:
                seen[type(error).__name__] += 1

    with ThreadPoolExecutor(clients) as pool:
        asking = [pool.submit(ask) for _ in range(clients)]
        try:
            wait_until(lambda: seen.total() > 0)
            yield seen
        finally:
            done.set()
            for each in asking:
                each.result()


def answers(server: Server, picture: bytes) -> bool:
    return requests.post(server.predict_url(), data=picture, timeout=PATIENCE_S).ok


@pytest.fixture(scope="module")
def shared(circles_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service with one engine process and two gateways; each test leaves it serving."""
    with serving(circles_store, tmp_path_factory.mktemp("shared"), "--engine=shared", "--workers=2") as server:
        yield server


def test_only_the_engine_process_has_tensorflow(shared: Server, pictures: dict[int, bytes]) -> None:
    assert answers(shared, pictures[2])
    engine, gunicorn, workers = parts(shared)
    assert has_tensorflow(engine)
    assert len(workers) == 2
    assert not any(map(has_tensorflow, [shared.process.pid, gunicorn, *workers]))


def test_a_killed_engine_is_answered_with_503_and_replaced(shared: Server, pictures: dict[int, bytes]) -> None:
    engine, *_ = parts(shared)
    with load(shared, pictures[2]) as seen:
        os.kill(engine, signal.SIGKILL)
        wait_until(lambda: seen["503"] > 0)
        wait_until(lambda: requests.get(f"{shared.url}/readyz", timeout=60).status_code == 503)
        before = seen["200"]
        wait_until(lambda: seen["200"] > before + 20, shared.log.read_text)
    assert set(seen) == {"200", "503"}
    wait_until(lambda: requests.get(f"{shared.url}/readyz", timeout=60).ok)
    assert parts(shared)[0] != engine
    assert "The engine process ended (signal 9); restarting it in 0 s." in shared.log.read_text()


def test_a_killed_gateway_is_replaced(shared: Server, pictures: dict[int, bytes]) -> None:
    _, gunicorn, workers = parts(shared)
    with load(shared, pictures[2]) as seen:
        os.kill(workers[0], signal.SIGKILL)
        wait_until(lambda: len(children(gunicorn)) == 2 and workers[0] not in children(gunicorn))
        before = seen["200"]
        wait_until(lambda: seen["200"] > before + 20)
        assert requests.get(f"{shared.url}/readyz", timeout=60).ok
    assert "503" not in seen  # connections that the dead one had accepted are reset


def test_sigterm_under_load_answers_what_was_accepted_and_leaves_nobody(
    circles_store: Path, tmp_path: Path, pictures: dict[int, bytes]
) -> None:
    with serving(circles_store, tmp_path, "--engine=shared", "--workers=2") as server:
        engine, gunicorn, workers = parts(server)
        with load(server, pictures[2], clients=8) as seen:
            # A service manager tells every process at once.
            for pid in (engine, server.process.pid):
                os.kill(pid, signal.SIGTERM)
            assert server.process.wait(PATIENCE_S) == 0
        assert set(seen) <= {"200", "ConnectionError"}, seen
        assert all(map(is_gone, [engine, gunicorn, *workers]))


@pytest.mark.parametrize("victim", ["supervisor", "gunicorn"])
def test_neither_outlives_the_other(circles_store: Path, tmp_path: Path, victim: str) -> None:
    with serving(circles_store, tmp_path, "--engine=shared", "--workers=2") as server:
        engine, gunicorn, workers = parts(server)
        os.kill(gunicorn if victim == "gunicorn" else server.process.pid, signal.SIGKILL)
        assert server.process.wait(PATIENCE_S) != 0
        wait_until(lambda: all(map(is_gone, [engine, gunicorn, *workers])), server.log.read_text)
        if victim == "gunicorn":
            assert "The gateways ended (signal 9); stopping the engine." in server.log.read_text()


@pytest.fixture(scope="module")
def workers(circles_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service of two workers with an engine each."""
    with serving(circles_store, tmp_path_factory.mktemp("workers"), "--workers=2") as server:
        yield server


def test_connections_are_spread_evenly_over_the_workers(workers: Server, pictures: dict[int, bytes]) -> None:
    with ExitStack() as held:
        sessions = [held.enter_context(requests.Session()) for _ in range(12)]
        for session in sessions:
            assert session.post(workers.predict_url(), data=pictures[2], timeout=PATIENCE_S).ok
        assert [clients(workers, pid) for pid in children(workers.process.pid)] == [6, 6]


def test_a_worker_that_hangs_costs_a_new_client_a_moment(workers: Server, pictures: dict[int, bytes]) -> None:
    hangs, other = children(workers.process.pid)
    with ExitStack() as held:
        os.kill(hangs, signal.SIGSTOP)
        held.callback(os.kill, hangs, signal.SIGCONT)
        for _ in range(6):
            session = held.enter_context(requests.Session())
            assert session.post(workers.predict_url(), data=pictures[2], timeout=10).ok
        assert clients(workers, other) == 6


def test_a_killed_worker_is_replaced_and_nobody_sees_503(workers: Server, pictures: dict[int, bytes]) -> None:
    killed, _ = children(workers.process.pid)
    with load(workers, pictures[2]) as seen:
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: len(children(workers.process.pid)) == 2 and killed not in children(workers.process.pid))
        [new] = set(children(workers.process.pid)) - {killed} - set(_counted(workers))
        wait_until(lambda: new in _counted(workers), workers.log.read_text)
        assert requests.get(f"{workers.url}/readyz", timeout=60).ok
        before = seen["200"]
        wait_until(lambda: seen["200"] > before + 20)
    assert "503" not in seen, seen


def _counted(server: Server) -> list[int]:
    """The workers that take requests, by the private folder of the service."""
    environment = Path(f"/proc/{children(server.process.pid)[0]}/environ")
    assert environment.exists()
    for folder in Path(os.environ.get("TMPDIR", "/tmp")).glob("signpost-*/workers"):
        found = [int(path.name) for path in folder.iterdir() if path.name.isdigit()]
        if set(found) & set(children(server.process.pid)):
            return found
    return []


def test_metrics_add_up_over_the_workers_that_ended_too(workers: Server, pictures: dict[int, bytes]) -> None:
    def total(name: str) -> float:
        lines = requests.get(f"{workers.url}/metrics", timeout=60).text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    for _ in range(12):
        assert answers(workers, pictures[1])
    before = total("signpost_images_total")
    assert before >= 12
    assert total("process_resident_memory_bytes") > 2 * 200e6
    victim = children(workers.process.pid)[0]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in children(workers.process.pid) and victim not in _counted(workers))
    assert total("signpost_images_total") == before
    wait_until(lambda: len(_counted(workers)) == 2)


def test_workers_share_the_grpc_port_and_no_other_program_does(workers: Server, circles_store: Path) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        done = run("serve", "--store", circles_store, f"--port={port}", "--rest_api_port=0", "--workers=2")
        assert done.returncode == 2
        assert "--port" in done.stderr
    done = run("serve", "--store", circles_store, f"--port={workers.port}", "--rest_api_port=0", "--workers=2")
    assert done.returncode == 2
    assert f"127.0.0.1:{workers.port} is not available" in done.stderr


def test_a_remote_engine_that_is_not_there_is_waited_for(
    shared: Server, circles_store: Path, tmp_path: Path, pictures: dict[int, bytes]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        nothing = free.getsockname()[1]
    addresses = f"--engine=127.0.0.1:{nothing},127.0.0.1:{shared.port}"
    with serving(circles_store, tmp_path, addresses) as server:
        assert [answers(server, pictures[3]) for _ in range(5)] == [True] * 5
        [worker] = children(server.process.pid)
        assert not has_tensorflow(worker)
        started_s = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started_s < 30
