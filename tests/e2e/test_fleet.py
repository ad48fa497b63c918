"""Several engines behind one name: real processes, and the whole way from HTTP by the system's own resolver."""

from pathlib import Path

import requests

from loadtests.faults import fleet
from tests.e2e.processes import Server, serving, wait_until


def test_engines_share_the_calls_and_one_that_is_killed_costs_what_it_ran_only() -> None:
    """Three, of which one is killed, and a fourth that joins."""
    figures = fleet.measure(clients=32, seconds=5)
    assert fleet.wrong(figures) == [], figures


def test_a_gateway_finds_an_engine_by_its_name(
    server: Server, circles_store: Path, tmp_path: Path, pictures: dict[int, bytes]
) -> None:
    with serving(circles_store, tmp_path, f"--engine=dns:localhost:{server.port}") as gateway:
        answer = requests.post(gateway.predict_url(), data=pictures[3], timeout=60)
        assert answer.json()["predictions"][0]["class"] == "3"
        assert "localhost has the addresses 127.0.0.1:" in gateway.log.read_text()


def test_a_name_without_an_address_is_told_as_the_reason(tmp_path: Path, pictures: dict[int, bytes]) -> None:
    with serving(tmp_path, tmp_path, "--engine=dns:engines.invalid:8500", ready=False) as gateway:

        def why() -> str:
            return str(requests.get(f"{gateway.url}/readyz", timeout=60).json().get("waiting", ""))

        wait_until(lambda: "engines.invalid has no address (" in why(), gateway.log.read_text)
        answer = requests.post(gateway.predict_url(), data=pictures[3], timeout=60)
        assert answer.status_code == 503
        assert answer.json()["error"].startswith("engines.invalid has no address (")
        assert requests.get(f"{gateway.url}/healthz", timeout=60).ok
