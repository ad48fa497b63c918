"""Clients of other makers, in virtual environments of their own: what they need does not fit into Signpost's.

Each environment is made once, in pytest's cache folder. Where it can't be made (no network), its tests are skipped.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# What each program needs; the versions are those against which the service was held.
PACKAGES = {
    "triton": ("tritonclient[http,grpc]==2.73.0", "ml-dtypes", "pillow"),
    "kserve_client": ("kserve==0.21.0",),
}
_INSTALL_S = 400.0
_RUN_S = 240.0

ROOT = Path(__file__).parents[3]


def python_with(name: str, cache: Path) -> Path:
    """The Python that has what a program of this folder needs; skips the test where it can't be had."""
    folder = cache / name
    if why := _install(folder, PACKAGES[name]):
        pytest.skip(why)
    return _python(folder)


def ask(name: str, cache: Path, http_port: int, grpc_port: int, packages: str = "") -> None:
    """Run a program of this folder against the ports of a service, with what another program needs, if not its own."""
    program = Path(__file__).with_name(f"{name}.py")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [python_with(packages or name, cache), program, str(http_port), str(grpc_port)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_RUN_S, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


_unavailable: dict[Path, str] = {}


def _install(folder: Path, packages: tuple[str, ...]) -> str:
    """Make an environment, or say why it can't be made; that is not tried twice."""
    if folder not in _unavailable:
        _unavailable[folder] = _try_to_install(folder, packages)
    return _unavailable[folder]


def _try_to_install(folder: Path, packages: tuple[str, ...]) -> str:
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
