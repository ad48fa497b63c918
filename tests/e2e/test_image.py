"""The container image, built and run: it answers, holds nothing of its build, and drains.

Slow (minutes, gigabytes), so only with SIGNPOST_TEST_IMAGE=1; docs/deploy.md says how to run it.
"""

import http.client
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.e2e import containers
from tests.e2e.containers import Container
from tests.e2e.processes import PATIENCE_S, wait_until

pytestmark = pytest.mark.skipif(
    not os.environ.get("SIGNPOST_TEST_IMAGE"), reason="slow: SIGNPOST_TEST_IMAGE=1 builds and runs the container image"
)

HAND = containers.ROOT / "docs" / "images" / "hand_y.png"
PREDICT = "/v1/models/sign_language:predict?top_k=1"


@pytest.fixture(scope="module")
def builder() -> str:
    found = containers.builder()
    if found is None:
        pytest.skip("no docker, podman or buildah works here")
    if not containers.has_or_gets(found, containers.base_image()):
        pytest.skip(f"{found} has no base image {containers.base_image()} and can't fetch it; name one: PYTHON_IMAGE")
    return found


@pytest.fixture(scope="module")
def image(builder: str) -> str:
    return containers.build(builder, os.environ.get("VARIANT", "cpu"))


@pytest.fixture(scope="module")
def container(builder: str, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    with containers.running(builder, image, tmp_path_factory.mktemp("container")) as running:
        yield running


def test_the_image_says_what_it_is(builder: str, image: str) -> None:
    told = containers.config(builder, image)
    assert told["User"] == "10001:10001"
    assert told["StopSignal"] in ("SIGTERM", "15")
    assert set(told["ExposedPorts"]) == {"8500/tcp", "8501/tcp"}
    assert set(told["Volumes"]) == {"/models"}
    assert told["Labels"]["org.opencontainers.image.version"] != "unknown"


def test_nothing_of_the_build_is_left(builder: str, image: str) -> None:
    script = (
        "find /opt/signpost -name '*.h' -o -type d -name tests; for each in gcc cc make; do command -v $each; done; :"
    )
    assert containers.shell(builder, image, script) == ""


def test_only_temporary_files_and_models_can_be_written(builder: str, image: str) -> None:
    script = "find / -xdev -writable -not -type l -not -path '/proc/*' -not -path '/dev/*' 2>/dev/null; :"
    found = {Path("/", *Path(path).parts[1:2]) for path in containers.shell(builder, image, script).splitlines()}
    assert found <= {Path("/models"), Path("/tmp"), Path("/var"), Path("/run")}


def test_it_answers_an_image(container: Container) -> None:
    answer = requests.post(container.url + PREDICT, data=HAND.read_bytes(), timeout=PATIENCE_S)
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"][0]["class"] == "Y"


def test_its_health_check_passes(builder: str, image: str, container: Container) -> None:
    _, python, *arguments = containers.config(builder, image)["Healthcheck"]["Test"]
    assert python == "python"
    environment = {**os.environ, "SIGNPOST_REST_API_PORT": str(container.port)}
    subprocess.run([sys.executable, *arguments], env=environment, check=True, timeout=PATIENCE_S)
    environment["SIGNPOST_REST_API_PORT"] = "1"
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, check=False, timeout=9)
    assert done.returncode == 1


def test_it_finishes_what_it_accepted_and_ends_well(container: Container) -> None:
    body = HAND.read_bytes()
    with socket.create_connection(("127.0.0.1", container.port), timeout=PATIENCE_S) as connection:
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: signpost\r\nContent-Type: image/png\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n".encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 Continue")  # it is being handled
        container.begin_stop()
        wait_until(lambda: takes_no_more(container.port), container.log.read_text)
        connection.sendall(body)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 200
        assert b'"class":"Y"' in answer.read()
    assert container.wait() == 0, container.log.read_text()


def takes_no_more(port: int) -> bool:
    """Whether a new connection is refused, closed, or waits in vain."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            return connection.recv(1) == b""
    except OSError:
        return True
