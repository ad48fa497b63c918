"""A service of a store on free ports, started for a measurement, and what its processes take of the machine."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

SIGNPOST: Final = (str(Path(sys.executable).with_name("signpost")),)
_PATIENCE_S: Final = 120.0
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Served:
    """A running service.

    Attributes:
        pid: of the command.
        port: for HTTP.
        grpc_port: for gRPC; 0 where it has none, as its models are elsewhere.
        ready_s: from the start of the command until it was ready.
        log: what it has logged.
    """

    pid: int
    port: int
    grpc_port: int
    ready_s: float
    log: Path

    @property
    def url(self) -> str:
        """Where it answers HTTP."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def grpc_address(self) -> str:
        """Where it answers gRPC."""
        return f"127.0.0.1:{self.grpc_port}"

    def cpu_s(self) -> float:
        """Seconds of CPU that its processes have taken so far."""
        return sum(_cpu_s(pid) for pid in self.processes())

    def pss_mb(self) -> dict[int, float]:
        """Proportional set size of each of its processes, in MiB: shared pages count in parts."""
        return {pid: pss_mb(pid) for pid in self.processes()}

    def processes(self) -> list[int]:
        """The command and all below it."""
        found = [self.pid]
        for pid in found:
            found += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return found


@contextmanager
def served(store: Path, arguments: Sequence[str] = (), *, signpost: Sequence[str] = SIGNPOST) -> Iterator[Served]:
    """Run `signpost serve` with these arguments until the context ends.

    Args:
        store: of the models.
        arguments: further ones.
        signpost: what `signpost` is, if not the command of this environment.

    Raises:
        click.ClickException: it does not get ready.
    """
    with tempfile.TemporaryDirectory() as folder:
        ready, log = Path(folder, "ready.json"), Path(folder, "log")
        command = [*signpost, "serve", "--store", str(store), "--port=0", "--rest_api_port=0"]
        command += ["--ready-file", str(ready), *arguments]
        began_s = time.monotonic()
        with log.open("w") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            while not ready.exists():
                if process.poll() is not None or time.monotonic() > began_s + _PATIENCE_S:
                    raise click.ClickException(f"`{' '.join(command)}` did not become ready:\n{log.read_text()}")
                time.sleep(0.01)
            ready_s = time.monotonic() - began_s
            ports = json.loads(ready.read_text())
            yield Served(process.pid, int(ports["rest_api_port"]), int(ports["port"] or 0), ready_s, log)
        finally:
            process.terminate()
            process.wait(_PATIENCE_S)


def pss_mb(pid: int) -> float:
    """Proportional set size of a process in MiB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _cpu_s(pid: int) -> float:
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has just ended
        return 0.0
    return (int(after_name[11]) + int(after_name[12])) / _TICKS_PER_S
