"""A service of a store in which some models may not load: started, waited for, and what it says of each model."""

import http.client
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

_SIGNPOST: Final = Path(sys.executable).with_name("signpost")
_PATIENCE_S: Final = 300.0
_QUIET_S: Final = 5.0


@dataclass(frozen=True)
class Service:
    """A running service whose models have all loaded, or failed.

    Attributes:
        address: of HTTP, host and port.
        grpc_address: of gRPC.
        log: what it has logged.
    """

    address: str
    grpc_address: str
    log: Path

    def address_of(self, protocol: str) -> str:
        """Where it answers HTTP or gRPC."""
        return self.grpc_address if protocol == "gRPC" else self.address

    def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON of a GET."""
        connection = http.client.HTTPConnection(self.address, timeout=30.0)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def failure(self, model: str) -> str:
        """Why version 1 of a model can't be served; an empty string where it can."""
        status, document = self.get(f"/v1/models/{model}")
        if status != 200:
            return str(document["error"])
        [version] = document["model_version_status"]
        return "" if version["state"] == "AVAILABLE" else str(version["status"]["error_message"])

    def joining(self, model: str) -> Mapping[str, Any]:
        """For each signature whether its requests are joined, and if not, why."""
        _, document = self.get(f"/v1/models/{model}/metadata?joining=true")
        said: Mapping[str, Any] = document["metadata"]["joining"]
        return said


@contextmanager
def serving(store: Path, flags: Sequence[str] = ()) -> Iterator[Service]:
    """Run `signpost serve` until the context ends, and wait until each model is available or has failed.

    Args:
        store: what to serve.
        flags: further flags.

    Raises:
        click.ClickException: the service ends, or does not get so far.
    """
    port, rest_api_port = _free_ports(2)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        command = [str(_SIGNPOST), "serve", f"--store={store}", f"--port={port}", f"--rest_api_port={rest_api_port}"]
        command += ["--workers=1", "--engine=local", "--max-queue-ms=60000", *flags]  # nobody is refused for being many
        with log.open("w") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            service = Service(f"127.0.0.1:{rest_api_port}", f"127.0.0.1:{port}", log)
            _wait(service, process, " ".join(command))
            yield service
        finally:
            process.terminate()
            process.wait(_PATIENCE_S)


def _wait(service: Service, process: subprocess.Popen[bytes], command: str) -> None:
    """Wait until it knows what became of each model. Of one without a version it may never say more than that."""
    until_s = time.monotonic() + _PATIENCE_S
    quiet_s = time.monotonic()  # since when nothing loads
    while True:
        versions = _versions(service)
        now = time.monotonic()
        if not versions or any(each not in ("AVAILABLE", "END") for states in versions for each in states):
            quiet_s = now
        elif all(versions) or now > quiet_s + _QUIET_S:
            return
        if process.poll() is not None or now > until_s:
            raise click.ClickException(f"`{command}` did not load its models:\n{service.log.read_text()}")
        time.sleep(0.1)


def _versions(service: Service) -> list[list[str]]:
    """The states of the versions of each model."""
    try:
        _, document = service.get("/v1/models")
    except (OSError, http.client.HTTPException):
        return []
    return [[version["state"] for version in model["model_version_status"]] for model in document["models"]]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()
