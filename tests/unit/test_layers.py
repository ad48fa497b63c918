"""Who may import whom: gateway -> engine interface -> servable, and training uses only what both sides need."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(path.relative_to(ROOT) for package in ("service", "training") for path in (ROOT / package).rglob("*.py"))
SERVICE = [path for path in FILES if path.parts[0] == "service"]
TRAINING = [path for path in FILES if path.parts[0] == "training"]
# The files that may run TensorFlow; a list so that adding to it is a decision.
RUNS_TENSORFLOW = tuple(
    Path("service/engine") / name for name in ("device.py", "function_loader.py", "graph_loader.py")
)


def names(node: ast.AST) -> Iterator[str]:
    """The full names of what a statement imports; `from a import b` counts as `a.b`."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported(path: Path) -> Iterator[str]:
    """The full names of what a file imports anywhere in it."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        assert not isinstance(node, ast.ImportFrom) or node.level == 0, f"{path} imports by a relative name"
        yield from names(node)


def reaches(path: Path, *packages: str) -> list[str]:
    return [name for name in imported(path) if any(name == p or name.startswith(f"{p}.") for p in packages)]


def test_there_is_something_to_look_at() -> None:
    assert len(SERVICE) > 15
    assert len(TRAINING) > 10
    assert all(reaches(path, "tensorflow") for path in RUNS_TENSORFLOW)
    assert reaches(Path("service/protocol.py"), "tensorflow_serving")


@pytest.mark.parametrize("path", SERVICE, ids=str)
def test_in_the_service_only_some_files_run_tensorflow_and_only_the_protocol_knows_its_messages(path: Path) -> None:
    if path != Path("service/protocol.py"):
        assert reaches(path, "tensorflow_serving") == []
        if path not in RUNS_TENSORFLOW:
            assert reaches(path, "tensorflow", "keras") == []
    else:
        assert all(name.startswith("tensorflow.core.") for name in reaches(path, "tensorflow"))  # messages


@pytest.mark.parametrize("path", SERVICE, ids=str)
def test_the_service_knows_neither_training_nor_load_tests(path: Path) -> None:
    assert reaches(path, "training", "loadtests") == []


@pytest.mark.parametrize("path", [path for path in SERVICE if path.parts[1] == "gateway"], ids=str)
def test_the_gateway_knows_the_interface_of_an_engine_and_none_of_them(path: Path) -> None:
    assert [name for name in reaches(path, "service.engine") if not name.startswith("service.engine.interface")] == []


@pytest.mark.parametrize("path", [path for path in SERVICE if path.parts[1] == "engine"], ids=str)
def test_the_engine_knows_no_gateway(path: Path) -> None:
    assert reaches(path, "service.gateway", "flask", "gunicorn") == []


@pytest.mark.parametrize("path", [path for path in SERVICE if path.parts[1] == "oip"], ids=str)
def test_the_open_inference_protocol_knows_no_transport_and_no_engine(path: Path) -> None:
    assert reaches(path, "service.gateway", "flask", "gunicorn", "grpc") == []
    assert [name for name in reaches(path, "service.engine") if not name.startswith("service.engine.interface")] == []


@pytest.mark.parametrize("path", TRAINING, ids=str)
def test_training_shares_with_the_service_what_prevents_skew_and_nothing_else(path: Path) -> None:
    shared = ["service.images", "service.store", "service.errors", "service.protocol", "service.version"]
    if path.name == "gate.py":  # what passes the quality gate gets its label
        shared.append("service.config_edit")
    assert set(reaches(path, "service")) == set(reaches(path, *shared))
    assert reaches(path, "loadtests") == []


def test_neither_the_command_nor_a_gateway_loads_tensorflow() -> None:
    """What the files say is one thing, what comes with their imports another."""
    program = (
        "import sys, service.cli, service.launcher, service.gateway\n"
        "heavy = {'tensorflow', 'keras', 'matplotlib'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", TRAINING, ids=str)
def test_training_imports_tensorflow_only_where_it_is_used(path: Path) -> None:
    """On an accelerator Keras may run on JAX, with no TensorFlow there; only the export needs it."""
    at_import = {alias for node in ast.parse((ROOT / path).read_text()).body for alias in names(node)}
    assert not [name for name in at_import if name.startswith(("tensorflow", "service.protocol"))]


def test_training_reaches_the_protocol_only_when_it_exports() -> None:
    program = "import sys, training.run, training.commands; assert 'service.protocol' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
