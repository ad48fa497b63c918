"""Memory is laid out in few arenas, and given back once after load."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from service.process.memory import AfterLoad

# Eight threads that take memory of the C library at the same time; prints in how many arenas it lies.
_ARENAS = """
import ctypes, os, threading
from service.process.memory import limit_arenas
os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])
LIMIT
together = threading.Barrier(8)
def take():
    kept = bytearray(100_000)
    together.wait(30)
    kept = bytearray(100_000)
    together.wait(30)
threads = [threading.Thread(target=take) for _ in range(8)]
for each in threads: each.start()
for each in threads: each.join()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
reading, writing = os.pipe()
stream = ctypes.c_void_p(libc.fdopen(writing, b"w"))
libc.malloc_info(0, stream)
libc.fclose(stream)
print(os.fdopen(reading).read().count("<heap nr="))
"""


def arenas(limit: str, **environment: str) -> int:
    code = _ARENAS.replace("LIMIT", limit)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path), **environment},
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="arenas are glibc's")
def test_threads_share_an_arena_for_each_core() -> None:
    assert arenas("") > 1
    assert arenas("limit_arenas()") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="arenas are glibc's")
def test_whoever_sets_their_number_gets_it() -> None:
    assert arenas("limit_arenas()", MALLOC_ARENA_MAX="3") == 3


def test_memory_is_given_back_once_when_load_has_ended() -> None:
    now = SimpleNamespace(s=0.0, cpu_s=0.0)
    given_back: list[float] = []
    after_load = AfterLoad(lambda: given_back.append(now.s), clock=lambda: now.s, cpu_clock=lambda: now.cpu_s)

    def live(seconds: int, cpu_share: float) -> None:
        for _ in range(4 * seconds):
            now.s += 0.25
            now.cpu_s += 0.25 * cpu_share
            after_load.look()

    live(60, 0.01)
    assert not given_back  # there was no load
    live(60, 0.8)
    assert not given_back  # it goes on
    live(60, 0.01)
    assert len(given_back) == 1
    assert 125 <= given_back[0] <= 131
    live(60, 0.8)
    live(60, 0.01)
    assert len(given_back) == 2
