"""Processes at either end are killed in the middle of a call, fifty times: the other end goes on and keeps nothing."""

import subprocess
import sys

# What both programs begin with. They are programs as they fork, which a process with threads should not.
_BEGIN = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
from service.hop import client
from service.hop.client import Hop
from service.hop.messages import HopError
from service.hop.server import HopServer

client._AGAIN_S = 0.0
path = Path(sys.argv[1])
until_s = time.monotonic() + 60

def run(request, inputs, has_left):
    if request.outputs == ("die",):
        os.kill(os.getpid(), signal.SIGKILL)
    if request.outputs == ("wait",):
        while not has_left():
            time.sleep(0.001)
    return {"y": inputs["x"] + 1}

def ask(hop, value, *outputs):
    return hop.call("m", 1, "s", outputs, {"x": np.full(50_000, value)}, (), 20.0)

def kept():
    return len(os.listdir("/proc/self/fd")), sorted(os.listdir("/dev/shm")), count_maps()

def count_maps():
    return Path("/proc/self/maps").read_text().count("signpost-hop")

def wait_for(condition):
    while not condition():
        assert time.monotonic() < until_s, kept()
        time.sleep(0.002)
"""

_ENGINE_DIES = """
hop = Hop(path)
for number in range(50):
    engine = os.fork()
    if not engine:
        HopServer(path, run).start()
        signal.pause()
    wait_for(lambda: (answer := ask(hop, number)) is not None and (answer["y"] == number + 1).all())
    if number == 0:
        before = kept()
    try:
        ask(hop, number, "die")
        raise SystemExit("a dead engine answered")
    except HopError as error:
        assert (error.code, error.text) == ("UNAVAILABLE", "Socket closed"), error
    os.waitpid(engine, 0)
    assert ask(hop, number) is None
hop.close()
fds, shared, maps = kept()
assert (shared, maps) == (before[1], 0), (shared, maps)
assert fds <= before[0], (fds, before)
"""

_GATEWAY_DIES = """
told, tell = os.pipe()
engine = os.fork()
if not engine:
    server = HopServer(path, run)
    server.start()
    wait_for(lambda: count_maps() == 0)
    before = kept()
    os.write(tell, b"r")
    signal.sigwait({signal.SIGUSR1})
    wait_for(lambda: kept() == before)
    server.close()
    os._exit(0)
os.read(told, 1)
for number in range(50):
    gateway = os.fork()
    if not gateway:
        hop = Hop(path)
        assert (ask(hop, number)["y"] == number + 1).all()
        os.write(tell, b"g")
        ask(hop, number, "wait")
    os.read(told, 1)
    os.kill(gateway, signal.SIGKILL)
    os.waitpid(gateway, 0)
os.kill(engine, signal.SIGUSR1)
_, status = os.waitpid(engine, 0)
assert status == 0, status
"""


def run(program: str, socket: object) -> None:
    begin = _BEGIN + "\nsignal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})\n"
    command = [sys.executable, "-c", begin + program, str(socket)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_an_engine_that_is_killed_again_and_again_leaves_nothing(tmp_path: object) -> None:
    run(_ENGINE_DIES, f"{tmp_path}/hop.sock")


def test_gateways_that_are_killed_again_and_again_leave_nothing(tmp_path: object) -> None:
    run(_GATEWAY_DIES, f"{tmp_path}/hop.sock")
