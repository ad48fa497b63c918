"""Virtual environments of their own for programs of other makers, whose packages do not fit into Signpost's.

Each is made once, in pytest's cache folder. Where one can't be made (no network), its tests are skipped.
"""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

_INSTALL_S = 400.0


def python_with(folder: Path, packages: tuple[str, ...], borrows: bool = False) -> Path:
    """The Python of an environment that has the packages; skips the test where it can't be had.

    Args:
        folder: where the environment is, or will be.
        packages: what pip installs.
        borrows: it also sees the packages of this environment, so that what both need is installed once.
    """
    if folder not in _unavailable:  # it is not tried twice
        _unavailable[folder] = _make(folder, packages, borrows)
    if why := _unavailable[folder]:
        pytest.skip(why)
    return _python(folder)


_unavailable: dict[Path, str] = {}


def _make(folder: Path, packages: tuple[str, ...], borrows: bool) -> str:
    """Make an environment, or say why it can't be made."""
    own = sysconfig.get_path("purelib")
    wanted = "\n".join((sys.version, *packages, *([own] if borrows else [])))
    made = folder / "made.txt"
    if made.is_file() and made.read_text() == wanted:
        return ""
    made.unlink(missing_ok=True)
    try:
        _run([sys.executable, "-m", "venv", "--clear", folder])
        if borrows:
            (site,) = folder.glob("lib/python*/site-packages")
            (site / "borrowed.pth").write_text(own)
        _run([_python(folder), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages])
    except subprocess.TimeoutExpired:
        return f"{' '.join(packages)} could not be installed within {_INSTALL_S:.0f} s"
    except subprocess.CalledProcessError as error:
        return f"{' '.join(packages)} could not be installed: {error.stderr.strip()[-300:]}"
    made.write_text(wanted)
    return ""


def _run(command: list[str | Path]) -> None:
    subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_S, check=True)


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"
