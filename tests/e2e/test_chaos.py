"""What a service does when the world around it breaks: the disk, the store, the clock, a crowd that says nothing.

`docs/reliability.md` lists every fault, and where the others are shown.
"""

import os
import resource
import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from tests.e2e.processes import PATIENCE_S, Server, serving, wait_until
from tests.e2e.test_shapes import children, is_gone

Pictures = dict[int, bytes]
THREADS = 4
IDLE = 1000

# The clock of the whole service jumps to what the file says, as far as Python sees it.
_CLOCK = """
import time
from pathlib import Path
_now, _file = time.time, Path({file!r})
def _jumped():
    try:
        return _now() + float(_file.read_text())
    except (OSError, ValueError):
        return _now()
time.time = _jumped
time.time_ns = lambda: int(_jumped() * 1e9)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chaos")


@pytest.fixture(scope="module")
def store(circles_store: Path, folder: Path) -> Path:
    """A copy of the trained store that tests may break."""
    return Path(shutil.copytree(circles_store, folder / "store"))


@pytest.fixture(scope="module")
def chaos(store: Path, folder: Path) -> Iterator[Server]:
    """A service with few threads and a clock that can jump; each test leaves it serving."""
    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(_CLOCK.format(file=str(folder / "clock")))
    environment = {"PYTHONPATH": str(site), "TMPDIR": str(folder)}
    flags = (f"--threads={THREADS}", "--file_system_poll_wait_seconds=0.1")
    with serving(store, folder, *flags, environment=environment) as server:
        yield server


def check_well(server: Server, pictures: Pictures) -> None:
    """It answers what is right, in the process that it began with."""
    answer = requests.post(server.predict_url(), data=pictures[3], timeout=PATIENCE_S)
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"][0]["class"] == "3"
    assert requests.get(f"{server.url}/readyz", timeout=PATIENCE_S).ok


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.rest_api_port), timeout=PATIENCE_S)


def everything(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


def test_a_thousand_idle_connections_keep_nobody_waiting(chaos: Server, pictures: Pictures) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < IDLE + 200:
        if hard != resource.RLIM_INFINITY and hard < IDLE + 200:
            pytest.skip(f"this host allows {hard} open files for a process")
        resource.setrlimit(resource.RLIMIT_NOFILE, (IDLE + 200, hard))
    with ExitStack() as stack:
        idle = [stack.enter_context(connect(chaos)) for _ in range(IDLE)]
        for _ in range(2 * THREADS):
            check_well(chaos, pictures)
        # And each of them is still there to be used.
        for connection in (idle[0], idle[-1]):
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert everything(connection).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("seconds", [400 * 86400, -400 * 86400])
def test_a_clock_that_jumps_changes_nothing(chaos: Server, folder: Path, pictures: Pictures, seconds: int) -> None:
    with requests.Session() as session:
        assert session.post(chaos.predict_url(), data=pictures[1], timeout=PATIENCE_S).ok
        (folder / "clock").write_text(str(seconds))
        try:
            for _ in range(3):
                assert session.post(chaos.predict_url(), data=pictures[1], timeout=PATIENCE_S).ok
            check_well(chaos, pictures)
            [worker] = children(chaos.process.pid)
            year = session.get(f"{chaos.url}/healthz", timeout=PATIENCE_S).headers["Date"].split()[3]
        finally:
            (folder / "clock").unlink()
    assert int(year) != datetime.now(UTC).year
    check_well(chaos, pictures)
    assert children(chaos.process.pid) == [worker]


def test_a_full_disk_costs_no_request(chaos: Server, pictures: Pictures) -> None:
    """No file of the service can grow any more: what every write meets on a full disk, an error."""
    pids = [chaos.process.pid, *children(chaos.process.pid)]
    before = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in pids}
    try:
        for pid in pids:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[pid][1]))
        check_well(chaos, pictures)
        # Large enough that a form's file would lie on the disk.
        padded = pictures[3] + bytes(2 * 2**20)
        answer = requests.post(chaos.predict_url(), files={"f": ("a.png", padded)}, timeout=PATIENCE_S)
        assert answer.status_code == 200, answer.text
        refused = requests.post(chaos.predict_url(), data=b"no image", timeout=PATIENCE_S)
        assert refused.status_code == 400
        assert "signpost_requests_total" in requests.get(f"{chaos.url}/metrics", timeout=PATIENCE_S).text
    finally:
        for pid in pids:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before[pid])
    check_well(chaos, pictures)
    assert children(chaos.process.pid) == pids[1:]


def test_a_version_that_is_broken_while_it_serves_goes_on(chaos: Server, store: Path, pictures: Pictures) -> None:
    version = store / "circles" / "1"
    whole = store.with_name("whole")
    shutil.copytree(version, whole)
    try:
        for path in (version / "saved_model.pb", *(version / "variables").iterdir()):
            os.truncate(path, path.stat().st_size // 2)
        check_well(chaos, pictures)
        # A version that comes broken is refused, and told of, while the first goes on.
        shutil.copytree(version, store / "circles" / ".coming")
        (store / "circles" / ".coming").rename(store / "circles" / "2")
        wait_until(lambda: states(chaos).get("2") == "END", chaos.log.read_text)
        check_well(chaos, pictures)
        for number in ("1", "2"):
            shutil.rmtree(store / "circles" / number)
        wait_until(lambda: "keeps serving" in chaos.log.read_text(), chaos.log.read_text)
        check_well(chaos, pictures)
    finally:
        shutil.rmtree(version, ignore_errors=True)
        shutil.copytree(whole, version)
    check_well(chaos, pictures)


def states(server: Server) -> dict[str, str]:
    told = requests.get(f"{server.url}/v1/models/circles", timeout=PATIENCE_S).json()
    return {each["version"]: each["state"] for each in told["model_version_status"]}


def test_after_all_this_it_stops_as_it_should(chaos: Server, pictures: Pictures) -> None:
    check_well(chaos, pictures)
    workers = children(chaos.process.pid)
    log = chaos.log.read_text()
    assert "unexpectedly" not in log, log
    assert "Traceback" not in log, log
    assert chaos.stop() == 0
    wait_until(lambda: all(map(is_gone, workers)))
