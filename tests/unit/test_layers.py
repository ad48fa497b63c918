"""Who may import whom: one table, in which every folder names those below it.

The files that lie beside folders of `service/` are the ground that all stand on; of those in `training/` some are.
"""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
FILES: Final = sorted(
    path.relative_to(ROOT)
    for package in ("service", "training", "loadtests")
    for path in (ROOT / package).rglob("*.py")
)
MOST_FILES: Final = 12

# Files that stand elsewhere than their folder does.
OF_THEIR_OWN: Final = {
    **dict.fromkeys(("training/errors.py", "training/weights.py", "training/whole_files.py"), "training: ground"),
    **dict.fromkeys(("training/recipe.py", "training/schedule.py", "training/overrides.py"), "training: recipe"),
}
# Each layer and those that it may import.
TABLE: Final = """
service                     |
service/message             | service
service/telemetry           | service
service/config              | service
service/security            | service, service/config
service/oip                 | service, service/config, service/telemetry

service/hop                 | service

service/engine/batching     | service
service/engine              | service, service/engine/batching
service/engine/joining      | service, service/engine/batching
service/engine/local        | service, service/config
service/engine/remote       | service, service/telemetry, service/hop, service/engine, service/engine/batching
service/engine/runtimes     | service, service/engine/batching, service/engine/joining
service/engine/tf           | service, service/telemetry, service/engine, service/engine/batching
                            | service/engine/joining, service/engine/runtimes

service/objects             | service
service/objects/mirror      | service, service/config, service/engine/local, service/objects
service/objects/editing     | service, service/config, service/objects, service/objects/mirror

service/rpc                 | service, service/config, service/telemetry, service/security, service/oip

service/gateway/openapi     | service, service/security, service/oip
service/gateway/middleware  | service, service/message, service/config, service/telemetry, service/security
                            | service/gateway/openapi
service/gateway/bodies      | service, service/telemetry, service/gateway/middleware
service/gateway/oip         | service, service/config, service/telemetry, service/oip
                            | service/gateway/openapi, service/gateway/middleware, service/gateway/bodies
service/gateway/express     | service, service/message, service/config, service/telemetry, service/security, service/oip
                            | service/gateway/middleware, service/gateway/bodies, service/gateway/oip
service/gateway/playground  | service, service/config, service/security, service/gateway/openapi
service/gateway/routes      | service, service/config, service/telemetry
                            | service/gateway/openapi, service/gateway/middleware, service/gateway/bodies
                            | service/gateway/playground
service/gateway             | service, service/config, service/telemetry, service/security, service/oip
                            | service/gateway/middleware, service/gateway/express, service/gateway/oip
                            | service/gateway/playground, service/gateway/routes
service/http                | service, service/message, service/config, service/gateway/middleware
                            | service/gateway/express

service/parts               | service, service/config, service/telemetry, service/security, service/oip, service/rpc
                            | service/hop
                            | service/engine, service/engine/batching, service/engine/local, service/engine/remote
                            | service/engine/runtimes, service/engine/tf
service/process             | service, service/config, service/telemetry, service/security, service/rpc, service/parts
                            | service/engine, service/engine/batching, service/engine/local, service/engine/remote
                            | service/engine/tf, service/gateway, service/gateway/routes, service/gateway/middleware
                            | service/gateway/express, service/http, service/objects, service/objects/mirror
service/commands            | service, service/config, service/security, service/process
                            | service/objects, service/objects/editing
                            | service/engine/batching, service/engine/tf
service/ray_serve           | service, service/config, service/telemetry, service/security, service/oip, service/rpc
                            | service/parts, service/engine/local, service/objects, service/commands

training: ground            | service
training/data               | service, training: ground
training/data/archives      | service, training: ground, training/data
training/strangers          | training: ground, training/data, training/data/archives
training: recipe            | training: ground, training/data
training/recipes            | training: ground, training: recipe, training/data, training/data/archives
                            | training/strangers
training/network            | service, training: ground, training: recipe, training/data
training/loop               | training: ground, training: recipe, training/data, training/network, training/strangers
training/output             | service, service/config, service/objects, service/objects/editing
                            | service/engine/runtimes
                            | training: ground, training: recipe, training/data, training/loop, training/network
                            | training/strangers
training                    | service, service/telemetry, service/objects, service/objects/editing
                            | training: ground, training: recipe, training/data, training/recipes
                            | training/data/archives, training/strangers, training/network, training/loop
                            | training/output

loadtests/plan              | service
loadtests/subject           | service
loadtests/results           | service, loadtests/plan
loadtests/load              | service, loadtests/plan, loadtests/subject, loadtests/results
loadtests                   | service, loadtests/plan, loadtests/subject, loadtests/results, loadtests/load
"""
# What only the project itself runs measures its inside, and may look at all of it.
MAY_IMPORT_ALL: Final = (
    "loadtests/asking",
    "loadtests/bench",
    "loadtests/exports",
    "loadtests/faults",
    "loadtests/gpu",
    "loadtests/memory",
    "loadtests/object_storage",
    "loadtests/raw",
    "loadtests/runtimes",
)
# The files that may run TensorFlow; a list so that adding to it is a decision.
RUNS_TENSORFLOW: Final = tuple(
    Path("service/engine/tf") / name for name in ("device.py", "function_loader.py", "graph_loader.py")
)
# What training may share with the service: what prevents skew.
SHARED: Final = (
    "service.images",
    "service.store",
    "service.errors",
    "service.protocol",
    "service.version",
)


def layers() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    name = ""
    for line in TABLE.strip().splitlines():
        if line.strip():
            left, _, right = line.partition("|")
            name = left.strip() or name
            found.setdefault(name, set()).update(part.strip() for part in right.split(",") if part.strip())
    return found


LAYERS: Final = layers()


def layer(path: Path) -> str:
    return OF_THEIR_OWN.get(str(path), str(path.parent))


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


def ours(name: str) -> Path | None:
    """The file of ours that an imported name is from: a module, or what a module holds."""
    for dotted in filter(None, (name, name.rpartition(".")[0])):
        path = Path(*dotted.split("."))
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file in FILES:
                return file
    return None


def test_the_table_has_every_folder_and_no_circle() -> None:
    assert set(LAYERS) == {layer(path) for path in FILES} - set(MAY_IMPORT_ALL)
    TopologicalSorter(LAYERS).prepare()


@pytest.mark.parametrize("path", [path for path in FILES if layer(path) in LAYERS], ids=str)
def test_imports_point_one_way(path: Path) -> None:
    files = {name: ours(name) for name in imported(path)}
    found = {name: layer(file) for name, file in files.items() if file is not None}
    allowed = {layer(path), *LAYERS[layer(path)]}
    assert {name: where for name, where in found.items() if where not in allowed} == {}


@pytest.mark.parametrize("folder", sorted({path.parent for path in FILES}), ids=str)
def test_a_folder_has_few_files(folder: Path) -> None:
    assert len([path for path in FILES if path.parent == folder]) <= MOST_FILES


@pytest.mark.parametrize("path", [path for path in FILES if path.parts[0] == "service"], ids=str)
def test_in_the_service_few_files_know_tensorflow_flask_gunicorn_and_the_messages(path: Path) -> None:
    folder = str(path.parent)
    if path == Path("service/protocol.py"):
        assert all(name.startswith("tensorflow.core.") for name in reaches(path, "tensorflow"))  # messages
    else:
        assert reaches(path, "tensorflow_serving") == []
        assert path in RUNS_TENSORFLOW or reaches(path, "tensorflow", "keras") == []
    assert folder.startswith("service/gateway") or path.name == "worker.py" or reaches(path, "flask") == []
    assert folder in ("service/http", "service/process") or reaches(path, "gunicorn") == []
    knows_grpc = folder.startswith(("service/rpc", "service/engine", "service/parts", "service/ray_serve"))
    knows_grpc |= path.name == "tls.py"
    assert knows_grpc or reaches(path, "grpc") == []
    assert path == Path("service/ray_serve/app.py") or reaches(path, "ray") == []


@pytest.mark.parametrize("path", [path for path in FILES if path.parts[0] == "training"], ids=str)
def test_training_shares_with_the_service_what_prevents_skew_and_nothing_else(path: Path) -> None:
    shared = SHARED
    if path.name == "commands.py":  # what TensorFlow writes while it is imported helps nobody here either
        shared = (*SHARED, "service.telemetry.tensorflow_noise")
    if path.name == "gate.py":  # what passes the quality gate gets its label
        shared = (*SHARED, "service.config.config_edit", "service.objects")
    if path.name == "quantised.py":  # the int8 form is read and run as the service does
        shared = (*SHARED, "service.engine.runtimes")
    if path.name in ("run.py", "options.py", "judge_options.py"):  # where versions are published and read
        shared = (*SHARED, "service.objects")
    assert set(reaches(path, "service")) == set(reaches(path, *shared))


def test_there_is_something_to_look_at() -> None:
    assert len(FILES) > 200
    assert all(reaches(path, "tensorflow") for path in RUNS_TENSORFLOW)
    assert reaches(Path("service/protocol.py"), "tensorflow_serving")


@pytest.mark.slow
def test_neither_the_command_nor_a_gateway_loads_tensorflow() -> None:
    """What the files say is one thing, what comes with their imports another."""
    program = (
        "import sys, service.commands.cli, service.process.launcher, service.gateway\n"
        "heavy = {'tensorflow', 'keras', 'matplotlib'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", [path for path in FILES if path.parts[0] == "training"], ids=str)
def test_training_imports_tensorflow_only_where_it_is_used(path: Path) -> None:
    """On an accelerator Keras may run on JAX, with no TensorFlow there; only the export needs it."""
    at_import = {alias for node in ast.parse((ROOT / path).read_text()).body for alias in names(node)}
    assert not [name for name in at_import if name.startswith(("tensorflow", "service.protocol"))]


@pytest.mark.slow
def test_training_reaches_the_protocol_only_when_it_exports() -> None:
    program = "import sys, training.run, training.commands; assert 'service.protocol' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_wheel_has_what_users_run_and_nothing_that_only_the_project_does() -> None:
    chosen = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    folders = {str(path.parent).replace("/", ".") for path in FILES}
    packages = {
        name
        for name in folders
        if any(fnmatch(name, pattern) for pattern in chosen["include"])
        and not any(fnmatch(name, pattern) for pattern in chosen["exclude"])
    }
    assert folders - packages == {name.replace("/", ".") for name in MAY_IMPORT_ALL}
