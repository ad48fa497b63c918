"""Every way to export a model, in one service: its own answers for clients that ask together, or the reason why not."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtests.asking import clients
from loadtests.asking.service import Service, serving
from loadtests.exports import EXPORTS, cases, chosen
from loadtests.exports.export import Export, says
from tests.e2e.processes import PATIENCE_S

CLIENTS = 8
CASES = 16
REQUESTS = 48

SERVED = [pytest.param(export, id=export.name) for export in EXPORTS if not export.refused]
REFUSED = [pytest.param(export, id=export.name) for export in EXPORTS if export.refused]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models of the table that can be written here, with cases."""
    folder = tmp_path_factory.mktemp("exports")
    command = [sys.executable, "-m", "loadtests.exports", folder, f"--cases={CASES}"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    made = subprocess.run(
        command, cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True, timeout=PATIENCE_S,
        check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture(scope="module")
def service(models: Path) -> Iterator[Service]:
    """A service of all of them; some can't be loaded."""
    with serving(cases.store_of(models)) as running:
        yield running


def skip_unless_written(export: Export) -> None:
    if export not in chosen():
        pytest.skip(f"{export.name} needs the package {export.needs}")


@pytest.mark.parametrize("protocol", clients.PROTOCOLS)
@pytest.mark.parametrize("export", SERVED)
def test_each_client_gets_what_tensorflow_gives_for_its_request_alone(
    service: Service, models: Path, export: Export, protocol: str
) -> None:
    skip_unless_written(export)
    assert service.failure(export.name) == ""
    asked = cases.read(models, export.name)
    outcome = clients.ask(protocol, service.address_of(protocol), export.name, asked, CLIENTS, REQUESTS)
    assert (outcome.wrong, outcome.errors) == (0, 0), outcome.first
    assert outcome.requests in (REQUESTS, 0)  # JSON can't carry some
    assert outcome.requests == REQUESTS or not any(case.over_rest for case in asked)


@pytest.mark.parametrize("export", SERVED)
def test_the_metadata_say_of_each_signature_whether_its_requests_are_joined(service: Service, export: Export) -> None:
    skip_unless_written(export)
    said = service.joining(export.name)
    for name, asked in export.signatures.items():
        if asked.joined is not None:
            assert said[name]["joined"] is asked.joined, said[name]
        assert says(said[name].get("why", ""), asked.why), said[name]


@pytest.mark.parametrize("export", REFUSED)
def test_what_can_not_be_run_is_refused_with_the_reason(service: Service, export: Export) -> None:
    skip_unless_written(export)
    assert export.refused in service.failure(export.name)
    status, answer = service.get(f"/v1/models/{export.name}/metadata")
    assert status in (404, 503), answer
