"""Clients of other makers, in virtual environments of their own: what they need does not fit into Signpost's.

Each environment is made once, in pytest's cache folder. Where it can't be made (no network), its tests are skipped.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# What each program needs; the versions are those against which the service was held.
PACKAGES = {
    "triton": ("tritonclient[http,grpc]==2.73.0", "ml-dtypes"),
    "kserve_client": ("kserve==0.21.0",),
}
_INSTALL_S = 400.0
_RUN_S = 240.0

Ask = Callable[[str, int, int], None]


def asker(cache: Path) -> Ask:
    """The function that runs a program of this folder against the ports of a service."""
    unavailable: dict[str, str] = {}

    def ask(name: str, http_port: int, grpc_port: int) -> None:
        if name not in unavailable:
            unavailable[name] = _install(cache / name, PACKAGES[name])
        if unavailable[name]:
            pytest.skip(unavailable[name])
        command = [_python(cache / name), Path(__file__).with_name(f"{name}.py"), str(http_port), str(grpc_port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_RUN_S, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]

    return ask


def _install(folder: Path, packages: tuple[str, ...]) -> str:
    """Make an environment; why it can't be made, or nothing."""
    wanted = f"{sys.version}\n{' '.join(packages)}"
    made = folder / "made.txt"
    if made.is_file() and made.read_text() == wanted:
        return ""
    made.unlink(missing_ok=True)
    make = [sys.executable, "-m", "venv", "--clear", folder]
    install = [_python(folder), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    try:
        for command in (make, install):
            subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_S, check=True)
    except subprocess.TimeoutExpired:
        return f"{' '.join(packages)} could not be installed within {_INSTALL_S:.0f} s"
    except subprocess.CalledProcessError as error:
        return f"{' '.join(packages)} could not be installed: {error.stderr.strip()[-300:]}"
    made.write_text(wanted)
    return ""


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"
