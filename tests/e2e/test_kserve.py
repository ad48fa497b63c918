"""The command line of the runtime for KServe, rendered, starts a service that KServe's clients and probes can ask."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.contract import stock_clients
from tests.e2e.processes import Server, serving

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "model_store" / "sign_language" / "2"


@pytest.fixture(scope="module")
def container() -> Any:
    [only] = yaml.safe_load((ROOT / "deploy" / "kserve" / "runtime-cpu.yaml").read_text())["spec"]["containers"]
    return only


@pytest.fixture(scope="module")
def mounted(container: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """What runs in a pod of the service `letters`, whose storageUri is one level too deep."""
    folder = tmp_path_factory.mktemp("kserve")
    shutil.copytree(MODEL, folder / "mnt" / "models")
    rendered = {
        "{{.Name}}": "letters",
        "/mnt/models": str(folder / "mnt" / "models"),
        "0.0.0.0": "127.0.0.1",
        "8080": "0",
        "9000": "0",
    }
    subcommand, *flags = container["args"]
    assert subcommand == "serve"
    for before, after in rendered.items():
        assert any(before in flag for flag in flags)
        flags = [flag.replace(before, after) for flag in flags]
    with serving(folder, folder, *flags) as server:
        yield server


def test_a_base_path_that_is_itself_a_saved_model_is_told_everywhere_as_version_1(mounted: Server) -> None:
    [version] = requests.get(f"{mounted.url}/v1/models/letters", timeout=60).json()["model_version_status"]
    assert (version["version"], version["state"]) == ("1", "AVAILABLE")
    [listed] = requests.get(f"{mounted.url}/v1/models", timeout=60).json()["models"]
    assert (listed["name"], [each["version"] for each in listed["model_version_status"]]) == ("letters", ["1"])
    assert requests.get(f"{mounted.url}/v1/models/letters/extra/model_card.json", timeout=60).ok
    assert requests.get(f"{mounted.url}/v2/models/letters", timeout=60).json()["versions"] == ["1"]
    assert "mnt/models is itself a SavedModel; it is served as letters, version 1." in mounted.log.read_text()


def test_its_probes_are_answered(mounted: Server, container: Any) -> None:
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        http = container[probe]["httpGet"]
        assert http["port"] == 8080
        answer = requests.get(f"{mounted.url}{http['path']}", timeout=container[probe].get("timeoutSeconds", 1))
        assert answer.status_code == 200


def test_kserves_clients_get_the_letter(mounted: Server, request: pytest.FixtureRequest) -> None:
    assert request.config.cache is not None
    cache = request.config.cache.mkdir("stock_clients")
    stock_clients.ask("kserve_service", cache, mounted.rest_api_port, mounted.port, packages="kserve_client")
