"""What the packages import is what `pyproject.toml` declares for them: no more, no less."""

import ast
import re
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest

import setup as wheel

ROOT: Final = Path(__file__).parents[2]
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: Final[dict[str, list[str]]] = PROJECT["optional-dependencies"]
OURS: Final = ("service", "training", "loadtests")
# Distributions whose packages have other names.
IMPORTED_AS: Final = {
    "google.protobuf": "protobuf",
    "grpc": "grpcio",
    "grpc_health": "grpcio-health-checking",
    "PIL": "pillow",
    "opentelemetry": "opentelemetry-sdk",
    "tensorflow_serving": "tensorflow-serving-api",
}
# Extras of other packages and of development; `gpu` only has more of TensorFlow.
NOT_OF_THE_SERVICE: Final = {"dev", "gpu", "loadtest", "quantize", "train"}
# What stands behind another package that is imported, and is never imported itself.
NEVER_IMPORTED: Final = {"opentelemetry-exporter-otlp-proto-http"}
# What only the project runs; it may use all the tools of development.
NOT_IN_THE_WHEEL: Final = ("asking", "bench", "exports", "faults", "raw", "runtimes")


def name_of(package: str) -> str:
    """A distribution's name as packaging compares it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;]", package)[0]).lower()


def declared(*extras: str) -> set[str]:
    return {name_of(each) for each in (*PROJECT["dependencies"], *(one for extra in extras for one in EXTRAS[extra]))}


def imported(package: str) -> set[str]:
    """The distributions that the files of a package import anywhere."""
    found = set()
    for path in (ROOT / package).rglob("*.py"):
        if package == "loadtests" and path.relative_to(ROOT / package).parts[0] in NOT_IN_THE_WHEEL:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                found.add(str(node.module))
    return {distribution(name) for name in found if name.split(".")[0] not in {*sys.stdlib_module_names, *OURS}}


def distribution(module: str) -> str:
    """The distribution that a module comes in."""
    known = next((IMPORTED_AS[name] for name in IMPORTED_AS if f"{module}.".startswith(f"{name}.")), "")
    return name_of(known or module.split(".")[0])


def test_the_service_needs_what_it_imports_and_nothing_else() -> None:
    optional = declared(*EXTRAS.keys() - NOT_OF_THE_SERVICE) - declared()
    assert imported("service") - optional == declared()
    assert optional - imported("service") == NEVER_IMPORTED


@pytest.mark.parametrize(
    ("package", "extras"), [("training", ("train", "quantize")), ("loadtests", ("loadtest",))], ids=str
)
def test_extras_have_what_their_package_imports_beyond_the_service(package: str, extras: tuple[str, ...]) -> None:
    # What quantises is run by OpenVINO as the service runs it.
    assert imported(package) - declared() == declared(*extras) - declared("openvino")


def test_the_wheels_description_leads_somewhere_from_anywhere() -> None:
    address = PROJECT["urls"]["Homepage"]
    text = wheel.absolute_links((ROOT / "README.md").read_text(), address)
    links = re.findall(r'(?:\]\(|<img src=")([^)"]+)', text)
    assert len(links) > 20
    assert [link for link in links if not link.startswith(("https://", "http://", "#"))] == []
    assert f"[`docs/api.md`]({address}/blob/main/docs/api.md)" in text
    assert all("raw.githubusercontent.com" in link for link in links if link.endswith(".png"))


def test_every_address_of_the_project_is_below_its_homepage() -> None:
    home = PROJECT["urls"]["Homepage"]
    assert all(url.startswith(home) for url in PROJECT["urls"].values())


def test_what_the_wheel_adds_is_there_and_in_the_source_distribution() -> None:
    manifest = (ROOT / "MANIFEST.in").read_text()
    for source in wheel.FIRST_MODEL:
        assert (ROOT / source).exists()
        assert source in manifest
