"""What `make unit` leaves out: it is to take less than a minute, and importing TensorFlow alone takes seconds."""

import re
import sys
from pathlib import Path

import pytest

_QUICK = "not slow"
_WHOLLY = re.compile(r"^pytestmark = (\[\s*)?pytest\.mark\.slow\b", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import a module that is slow as a whole."""
    is_test = config.option.markexpr == _QUICK and collection_path.name.startswith("test_")
    return True if is_test and collection_path.suffix == ".py" and _WHOLLY.search(collection_path.read_text()) else None


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """End the run at the first test that imports it without being marked."""
    if item.config.option.markexpr == _QUICK and "tensorflow.python" in sys.modules:
        pytest.exit(f"{item.nodeid}, or its module, imports TensorFlow; mark it slow.", returncode=1)
