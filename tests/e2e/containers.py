"""The container image: built by the real script, run by docker, podman or buildah, whichever works here."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.processes import PATIENCE_S, wait_until

ROOT = Path(__file__).parents[2]
BUILD_S = 3600.0
GRACE_S = 90  # the stop_grace_period of deploy/compose.yaml


@dataclass
class Container:
    """A running container of the image.

    Attributes:
        port: where its HTTP port is published on 127.0.0.1.
        log: a file with what it has printed so far.
        process: of the builder that runs it in the foreground.
        name: what docker and podman call it; empty where buildah runs it.
        builder: who runs it.
    """

    port: int
    log: Path
    process: subprocess.Popen[str]
    name: str
    builder: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def begin_stop(self) -> None:
        """Send what stops a container, without waiting."""
        if self.name:
            subprocess.run([self.builder, "kill", "--signal", "TERM", self.name], check=True, capture_output=True)
        else:
            # A chroot is no namespace: the service is the youngest of what the builder has started before it forks.
            os.kill(_service(self.process.pid), signal.SIGTERM)

    def wait(self) -> int:
        """Wait for its end; the exit code."""
        return self.process.wait(GRACE_S)


def builder() -> str | None:
    """Docker, podman or buildah, the first that works; the variable BUILDER overrules."""
    if os.environ.get("BUILDER"):
        return os.environ["BUILDER"]
    if shutil.which("docker") and not subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        return "docker"
    return next((name for name in ("podman", "buildah") if shutil.which(name)), None)


def base_image() -> str:
    """The base of the image: the variable PYTHON_IMAGE, or what the Dockerfile names."""
    named = re.search(r"^ARG PYTHON_IMAGE=(\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert named
    return os.environ.get("PYTHON_IMAGE") or named[1]


def has_or_gets(builder: str, image: str) -> bool:
    """Whether an image is here or can be fetched."""
    here = [builder, "inspect", "--type", "image", image]
    return any(
        not subprocess.run(command, capture_output=True, check=False, timeout=BUILD_S).returncode
        for command in (here, [builder, "pull", image])
    )


def build(builder: str, variant: str) -> str:
    """Build the image by `make image`'s script; its name."""
    done = subprocess.run(
        [ROOT / "deploy" / "build-image", variant],
        env={**os.environ, "BUILDER": builder},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return f"signpost:{variant}"


def config(builder: str, image: str) -> dict[str, Any]:
    """What the image says of itself: User, Env, Labels, Healthcheck and more."""
    told = subprocess.run([builder, "inspect", "--type", "image", image], capture_output=True, text=True, check=True)
    found: Any = json.loads(told.stdout)
    if isinstance(found, dict):  # buildah
        return dict(found["Docker"]["config"])
    # Podman has it beside the rest.
    return {"Healthcheck": found[0].get("Healthcheck"), **found[0]["Config"]}


def shell(builder: str, image: str, script: str) -> str:
    """What a shell script in a container of the image prints."""
    if builder == "buildah":
        with _working_container(image) as name:
            command = ["buildah", "run", "--isolation", "chroot", name, "--", "sh", "-c", script]
            return subprocess.run(command, capture_output=True, text=True, check=True, timeout=BUILD_S).stdout
    command = [builder, "run", "--rm", "--network", "none", "--entrypoint", "sh", image, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=BUILD_S).stdout


@contextmanager
def running(builder: str, image: str, folder: Path) -> Iterator[Container]:
    """Run a container of the image as docs/deploy.md says, until it is ready; ended in the end.

    With buildah alone it runs in a chroot: as its user, but with a root file system that is not read-only.
    """
    if builder == "buildah":
        with _working_container(image) as name, _chrooted(name, image, folder) as container:
            yield container
        return
    name = f"signpost-test-{uuid.uuid4().hex[:8]}"
    command = [builder, "run", "--name", name, "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"]
    command += ["--security-opt", "no-new-privileges", "--publish", "127.0.0.1::8501", image]
    log = folder / "container.log"
    with log.open("w") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, text=True)
    try:
        wait_until(lambda: "INFO Ready" in log.read_text() or process.poll() is not None, log.read_text)
        assert process.poll() is None, log.read_text()
        told = subprocess.run([builder, "port", name, "8501/tcp"], capture_output=True, text=True, check=True).stdout
        yield Container(int(told.strip().rpartition(":")[2]), log, process, name, builder)
    finally:
        subprocess.run([builder, "rm", "--force", name], capture_output=True, check=False, timeout=PATIENCE_S)
        process.wait(PATIENCE_S)


@contextmanager
def _chrooted(name: str, image: str, folder: Path) -> Iterator[Container]:
    shared = folder / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    told = config("buildah", image)
    ready, log = shared / "ready.json", folder / "container.log"
    command = ["buildah", "run", "--isolation", "chroot", "--network", "host", "--volume", f"{shared}:/run/signpost"]
    command += [name, "--", *told["Entrypoint"], *told["Cmd"]]
    command += ["--port=0", "--rest_api_port=0", "--ready-file=/run/signpost/ready.json"]
    with log.open("w") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, text=True)
    try:
        wait_until(lambda: ready.exists() or process.poll() is not None, log.read_text)
        assert process.poll() is None, f"{shlex.join(command)}\n{log.read_text()}"
        yield Container(json.loads(ready.read_text())["rest_api_port"], log, process, "", "buildah")
    finally:
        if process.poll() is None:
            os.kill(_service(process.pid), signal.SIGKILL)
            process.wait(PATIENCE_S)


@contextmanager
def _working_container(image: str) -> Iterator[str]:
    made = subprocess.run(["buildah", "from", "--pull-never", image], capture_output=True, text=True, check=True)
    name = made.stdout.strip()
    try:
        yield name
    finally:
        subprocess.run(["buildah", "rm", name], capture_output=True, check=False)


def _service(pid: int) -> int:
    """The first Python under a process: what the builder's own processes have started."""
    while "buildah" in Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0]:
        # Any thread of it may have started the next.
        children = [each for file in Path(f"/proc/{pid}/task").glob("*/children") for each in file.read_text().split()]
        pid = int(children[0])
    return pid
