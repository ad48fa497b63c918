"""Clients of other makers, in virtual environments of their own; see `tests.environments`."""

import os
import subprocess
from pathlib import Path

from tests import environments

# What each program needs; the versions are those against which the service was held.
PACKAGES = {
    "triton": ("tritonclient[http,grpc]==2.73.0", "ml-dtypes", "pillow"),
    "kserve_client": ("kserve==0.21.0",),
}
_RUN_S = 240.0

ROOT = Path(__file__).parents[3]


def python_with(name: str, cache: Path) -> Path:
    """The Python that has what a program of this folder needs; skips the test where it can't be had."""
    return environments.python_with(cache / name, PACKAGES[name])


def ask(name: str, cache: Path, http_port: int, grpc_port: int, packages: str = "") -> None:
    """Run a program of this folder against the ports of a service, with what another program needs, if not its own."""
    program = Path(__file__).with_name(f"{name}.py")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [python_with(packages or name, cache), program, str(http_port), str(grpc_port)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_RUN_S, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
