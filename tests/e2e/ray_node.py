"""One node of Ray, in a virtual environment of its own, with the application that `deploy/ray/serve.yaml` describes."""

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests import environments
from tests.e2e.processes import PATIENCE_S, wait_until

ROOT = Path(__file__).parents[2]
# The version against which the application was held.
PACKAGES = ("ray[serve]==2.60.0",)
# `serve run FILE` on a node of its own, whose CPUs are a number only. Ray gives itself 30 s for the start of a node; on
# a loaded machine that may be too short, and then it begins once more.
_RUN = """
import sys, ray
from ray.serve.scripts import cli
for attempt in range(3):
    try:
        ray.init(address="local", num_cpus=4, include_dashboard=False, object_store_memory=100 * 2**20)
        break
    except Exception as error:
        print(error, flush=True)
        ray.shutdown()
cli(["run", sys.argv[1]])
"""
_ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "PYTHONPATH": str(ROOT),
    "RAY_AUTH_MODE": "disabled",  # it would write a token to the home folder
    "RAY_DEDUP_LOGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}


@dataclass
class Node:
    """A running node.

    Attributes:
        port: of gRPC.
        log: of `serve run`, with what the replicas say.
    """

    process: psutil.Process
    port: int
    log: Path

    def wait_for_replicas(self, started: int) -> None:
        """Wait until so many replicas have started since the node has."""
        wait_until(
            lambda: self.log.read_text().count("INFO Ready: ") >= started or not self.process.is_running(),
            self.log.read_text,
        )
        assert self.process.is_running(), self.log.read_text()

    def replicas(self) -> list[psutil.Process]:
        """The processes of the replicas."""
        return [each for each in self.process.children(recursive=True) if "ServeReplica" in _name(each)]


@contextmanager
def running(cache: Path, store: Path, folder: Path, replicas: int) -> Iterator[Node]:
    """Run the shipped application with so many replicas over a store; skips the test where Ray can't be had.

    Args:
        cache: where the virtual environment is kept.
        store: of the models.
        folder: for its file and its log.
        replicas: how many there are, always.
    """
    python = environments.python_with(cache / "ray", PACKAGES, borrows=True)
    port, http_port = _free_ports()
    config = _config(port, http_port, store, replicas)
    file, log = folder / "serve.yaml", folder / "serve.log"
    file.write_text(yaml.safe_dump(config))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SIGNPOST_", "RAY_"))}
    own = Path(tempfile.mkdtemp(prefix="ray-"))  # the paths of Ray's sockets are long
    with log.open("w") as sink:
        process = psutil.Popen(
            [python, "-c", _RUN, file],
            env={**inherited, **_ENVIRONMENT, "RAY_TMPDIR": str(own)},
            cwd=folder,
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    node = Node(process, port, log)
    try:
        node.wait_for_replicas(replicas)
        yield node
    finally:
        family = process.children(recursive=True) if process.is_running() else []
        process.send_signal(signal.SIGINT)
        _, running = psutil.wait_procs([process, *family], timeout=PATIENCE_S)
        left = [each for each in running if not _has_ended(each)]
        for each in left:
            each.kill()
        psutil.wait_procs(left, timeout=PATIENCE_S)
        shutil.rmtree(own, ignore_errors=True)
    assert not left, [_name(each) for each in left]


def _has_ended(process: psutil.Process) -> bool:
    """Whether nothing is left of a process but its number, which nobody has asked for yet."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _config(port: int, http_port: int, store: Path, replicas: int) -> dict[str, Any]:
    """The shipped file with other ports, another store, quick looks and replicas that do not come and go."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "deploy/ray/serve.yaml").read_text())
    config["grpc_options"]["port"], config["http_options"]["port"] = port, http_port
    [application] = config["applications"]
    application["args"] |= {"store": str(store), "file_system_poll_wait_seconds": 0.2}
    [deployment] = application["deployments"]
    deployment["ray_actor_options"] = {"num_cpus": 0.5}
    del deployment["autoscaling_config"]
    deployment["num_replicas"] = replicas
    return config


def _free_ports() -> tuple[int, int]:
    """Two ports that are free, and that no connection takes while Ray starts: the system gives those from 32768 on."""
    found: list[int] = []
    # Ray's own workers take those below 20000.
    for port in random.sample(range(20000, 32000), 200):
        with suppress(OSError), socket.create_server(("", port)):
            found.append(port)
        if len(found) == 2:
            break
    first, second = found
    return first, second


def _name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()[:1])
    except psutil.Error:
        return ""
