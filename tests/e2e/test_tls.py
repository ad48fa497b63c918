"""TLS in the real service, over HTTP and gRPC, and a gateway that reaches it with a key."""

import contextlib
import json
import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import requests
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.security import keys
from tests import certificates
from tests.certificates import Pair
from tests.e2e import processes
from tests.e2e.processes import Server, serving, wait_until

pytestmark = pytest.mark.skipif(bool(certificates.MISSING), reason=certificates.MISSING)

SECRET, KEY = keys.make("gateway", "predict")
THREADS = 2


@dataclass(frozen=True)
class Secured:
    """A server that speaks TLS by a pair of files, and asks for a key."""

    server: Server
    pair: Pair

    @property
    def url(self) -> str:
        return f"https://localhost:{self.server.rest_api_port}"

    def get(self, path: str, **headers: str) -> requests.Response:
        return requests.get(f"{self.url}{path}", headers=headers, verify=str(self.pair.certificate), timeout=60)

    def health(self) -> grpc.StatusCode:
        credentials = grpc.ssl_channel_credentials(self.pair.certificate.read_bytes())
        with grpc.secure_channel(f"localhost:{self.server.port}", credentials) as channel:
            return health_pb2_grpc.HealthStub(channel).Check.future(health_pb2.HealthCheckRequest(), timeout=60).code()


@pytest.fixture(scope="module")
def secured(circles_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("tls")
    pair = certificates.make(folder, "first")
    flags = (
        f"--ssl-certificate-file={pair.certificate}", f"--ssl-key-file={pair.key}", f"--api-keys={KEY.line}",
        f"--threads={THREADS}",
    )  # fmt: skip
    with serving(circles_store, tmp_path_factory.mktemp("log"), *flags) as server:
        yield Secured(server, pair)


def test_http_and_grpc_speak_tls(secured: Secured, pictures: dict[int, bytes], files: dict[int, Path]) -> None:
    assert secured.get("/healthz").status_code == 200
    assert secured.get("/v1/models").status_code == 401
    assert secured.get("/v1/models", Authorization=f"Bearer {SECRET}").status_code == 200
    session = requests.Session()
    session.headers["X-API-Key"] = SECRET
    for count, picture in pictures.items():
        url = f"{secured.url}/v1/models/circles:predict"
        answer = session.post(url, data=picture, verify=str(secured.pair.certificate), timeout=60)
        assert answer.json()["predictions"][0]["class"] == str(count)
    assert secured.health() is grpc.StatusCode.OK
    environment = {"SIGNPOST_API_KEY": SECRET, "SSL_CERT_FILE": str(secured.pair.certificate)}
    done = processes.run("predict", files[2], "--url", secured.url, "--json", environment=environment)
    assert '"class": "2"' in done.stdout, done.stderr


def test_large_bodies_come_through(secured: Secured) -> None:
    """Larger than TLS's records and the buffers of sockets."""
    body = json.dumps({"instances": [[[[0]] * 32] * 32] * 300})
    answer = requests.post(
        f"{secured.url}/v1/models/circles:predict", data=body, headers={"X-API-Key": SECRET},
        verify=str(secured.pair.certificate), timeout=60,
    )  # fmt: skip
    assert len(answer.json()["predictions"]) == 300


def test_who_speaks_plain_http_is_told_so(secured: Secured) -> None:
    answer = requests.post(secured.url.replace("https", "http"), data=b"x" * 100_000, timeout=60)
    assert answer.status_code == 400
    assert "https://" in answer.json()["error"]


def test_who_does_not_shake_hands_holds_nobody_up(secured: Secured) -> None:
    with ExitStack() as held:
        for begun in (b"", b"\x16", b"\x16\x03\x01\x02\x00\x01") * THREADS:
            client = held.enter_context(socket.create_connection(("127.0.0.1", secured.server.rest_api_port)))
            client.sendall(begun)
        assert secured.get("/healthz").status_code == 200
    with socket.create_connection(("127.0.0.1", secured.server.rest_api_port)) as client:
        client.settimeout(60)
        client.sendall(b"\x16" + bytes(100))
        with contextlib.suppress(ConnectionResetError):
            while client.recv(100):  # an alert at most, then the end
                pass
    assert secured.get("/healthz").status_code == 200
    assert "Traceback" not in secured.server.log.read_text()


def test_a_gateway_reaches_it_with_a_key_and_without_is_not_ready(
    secured: Secured, pictures: dict[int, bytes], tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(SECRET + "\n")
    engine = f"--engine=localhost:{secured.server.port}"
    flags = (f"--engine-tls-ca-file={secured.pair.certificate}", f"--engine-api-key-file={tmp_path / 'key'}")
    with serving(tmp_path, tmp_path, engine, *flags) as gateway:
        answer = requests.post(gateway.predict_url(), data=pictures[4], timeout=60)
        assert answer.json()["predictions"][0]["class"] == "4"
        assert SECRET not in gateway.log.read_text()
    with serving(tmp_path, tmp_path, engine, flags[0], ready=False) as gateway:
        wait_until(lambda: "rejects this gateway's API key" in gateway.log.read_text(), gateway.log.read_text)
        assert requests.get(f"{gateway.url}/readyz", timeout=60).status_code == 503
        assert requests.post(gateway.predict_url(), data=pictures[4], timeout=60).status_code == 503


def test_a_renewed_certificate_is_taken_up_while_it_serves(secured: Secured, tmp_path: Path) -> None:
    """Last, as it changes the certificate."""
    renewed = certificates.make(tmp_path, "second")
    shutil.copy(renewed.key, secured.pair.key)
    shutil.copy(renewed.certificate, secured.pair.certificate)

    def is_taken_up() -> bool:
        try:
            return secured.get("/healthz").ok and secured.health() is grpc.StatusCode.OK
        except requests.exceptions.SSLError:
            return False

    wait_until(is_taken_up)
