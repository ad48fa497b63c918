"""The machine and the versions, so that a figure is not read without them."""

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from service.version import __version__

_PACKAGES: Final = ("tensorflow", "locust", "gevent", "geventhttpclient", "grpcio", "gunicorn", "pillow", "numpy")
_TIMEOUT_S: Final = 10.0


def machine() -> dict[str, Any]:
    """CPU, cores that may be used, memory, GPUs, system, and how busy it was."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "cpu_limit": _limit(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpus": _gpus(),
        "system": f"{platform.system()} {platform.release()}",
        "load_average": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Of Signpost, Python and the packages that matter, as installed here."""
    found = {"signpost": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else platform.machine()


def _limit() -> float | None:
    """Cores that the control group allows, if it limits them."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return round(int(quota) / int(period), 2)
    except (OSError, ValueError):
        return None


def _gpus() -> list[str]:
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.strip().splitlines()
