"""nginx and Caddy with the files of deploy/, before a real service: HTTP and gRPC at one port over TLS."""

import http.client
import io
import json
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest
import requests
from PIL import Image

from service import protocol
from tests import certificates
from tests.certificates import Pair
from tests.e2e.processes import PATIENCE_S, Server, wait_until

DEPLOY = Path(__file__).parents[2] / "deploy"
NAMES = "DNS:localhost,IP:127.0.0.1"

pytestmark = pytest.mark.skipif(bool(certificates.MISSING), reason=certificates.MISSING)


@dataclass(frozen=True)
class Proxy:
    """A proxy before a service."""

    port: int
    pair: Pair

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def post(self, path: str, data: bytes, **headers: str) -> requests.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.post(
            self.url + path, data=data, headers=named, verify=str(self.pair.certificate), timeout=PATIENCE_S
        )

    def get(self, path: str) -> requests.Response:
        return requests.get(self.url + path, verify=str(self.pair.certificate), timeout=PATIENCE_S)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    for before, after in pairs:
        assert before in text
        text = text.replace(before, after)
    return text


@contextmanager
def nginx(folder: Path, http_port: int, grpc_port: int) -> Iterator[Proxy]:
    """The file as it is, but for names, ports and folders."""
    port, pair = free_port(), certificates.make(folder, "nginx", NAMES)
    (folder / "signpost.conf").write_text(
        replaced(
            (DEPLOY / "nginx" / "signpost.conf").read_text(),
            ("listen 443 ", f"listen 127.0.0.1:{port} "),
            ("    listen [::]:443 ssl http2;\n", ""),
            ("models.example.com;", "localhost;"),
            ("/etc/ssl/models.example.com.pem", str(pair.certificate)),
            ("/etc/ssl/models.example.com.key", str(pair.key)),
            ("/var/log/nginx/", f"{folder}/"),
            ("127.0.0.1:8501", f"127.0.0.1:{http_port}"),
            ("127.0.0.1:8500", f"127.0.0.1:{grpc_port}"),
        )
    )
    bodies = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # Its workers would else be nobody, who may not enter a folder of the tests.
    user = "user root; " if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user}daemon off; pid {folder}/pid; error_log stderr; events {{ worker_connections 256; }}\n"
        f"http {{ {bodies} include {folder}/signpost.conf; }}\n"
    )
    with started(folder, ["nginx", "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")], port):
        yield Proxy(port, pair)


@contextmanager
def caddy(folder: Path, http_port: int, grpc_port: int) -> Iterator[Proxy]:
    """The file as it is, but for names and ports, and with a certificate where it would get one by itself."""
    port, pair = free_port(), certificates.make(folder, "caddy", NAMES)
    (folder / "Caddyfile").write_text(
        "{\n\tadmin off\n\tauto_https disable_redirects\n\tstorage file_system " + str(folder) + "\n}\n"
        + replaced(
            (DEPLOY / "caddy" / "Caddyfile").read_text(),
            ("models.example.com {", f"https://localhost:{port} {{\n\ttls {pair.certificate} {pair.key}"),
            ("127.0.0.1:8501", f"127.0.0.1:{http_port}"),
            ("127.0.0.1:8500", f"127.0.0.1:{grpc_port}"),
        )
    )  # fmt: skip
    with started(folder, ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")], port):
        yield Proxy(port, pair)


@contextmanager
def started(folder: Path, command: list[str], port: int) -> Iterator[None]:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} not found")
    log = folder / "log"
    with log.open("w") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink)

    def listens() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5):
                return True
        except OSError:
            assert process.poll() is None, log.read_text()
            return False

    try:
        wait_until(listens, log.read_text)
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


PROXIES = {"nginx": nginx, "caddy": caddy}


@pytest.fixture(scope="module", params=PROXIES)
def proxy(request: pytest.FixtureRequest, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with PROXIES[request.param](tmp_path_factory.mktemp(request.param), server.rest_api_port, server.port) as running:
        yield running


def test_an_image_gets_its_class_and_the_request_its_id(proxy: Proxy, pictures: dict[int, bytes]) -> None:
    answer = proxy.post("/v1/models/circles:predict", pictures[3], X_Request_ID="from-the-edge")
    assert answer.json()["predictions"][0]["class"] == "3"
    assert answer.headers["X-Request-ID"] == "from-the-edge"
    answer = proxy.post("/v1/models/circles:predict", pictures[3])
    assert len(answer.headers["X-Request-ID"]) == 32
    assert "infer" in answer.headers["Server-Timing"]


def test_a_photograph_that_is_larger_than_a_proxy_takes_by_default_goes_through(proxy: Proxy) -> None:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    assert len(file.getvalue()) > 4 * 2**20
    assert proxy.post("/v1/models/circles:predict", file.getvalue()).status_code == 200


def test_what_is_too_large_is_413_in_json(proxy: Proxy) -> None:
    context = ssl.create_default_context(cafile=str(proxy.pair.certificate))
    connection = http.client.HTTPSConnection("localhost", proxy.port, timeout=PATIENCE_S, context=context)
    connection.putrequest("POST", "/v1/models/circles:predict")
    connection.putheader("Content-Length", str(65 * 2**20))
    connection.endheaders()
    with suppress(OSError):  # the answer may come before the end
        for _ in range(65):
            connection.send(bytes(2**20))
    answer = connection.getresponse()
    assert answer.status == 413
    assert "error" in json.loads(answer.read())
    connection.close()


def test_errors_are_signposts_own(proxy: Proxy) -> None:
    answer = proxy.post("/v1/models/nosuch:predict", b"{}", Content_Type="application/json")
    assert answer.status_code == 404
    assert answer.json()["error"].startswith("Servable not found for request: Latest(nosuch)")


def test_what_is_for_the_host_itself_is_not_there(proxy: Proxy) -> None:
    assert proxy.get("/metrics").status_code == 404
    assert proxy.post("/v1/config:reload", b"{}").status_code == 404
    assert proxy.get("/readyz").json()["ready"]


def test_whoever_comes_through_it_without_a_key_changes_nothing(proxy: Proxy) -> None:
    """The service listens on 127.0.0.1, where this machine's own programs may."""
    assert proxy.post("/v2/repository/models/circles/unload", b"{}", Content_Type="application/json").status_code == 403


def test_grpc_goes_by_the_same_port_with_its_deadline_and_its_errors(proxy: Proxy) -> None:
    credentials = grpc.ssl_channel_credentials(proxy.pair.certificate.read_bytes())
    with grpc.secure_channel(f"localhost:{proxy.port}", credentials) as channel:
        stub = protocol.prediction_service_pb2_grpc.PredictionServiceStub(channel)
        request = protocol.predict_pb2.PredictRequest()
        request.model_spec.name = "circles"
        request.inputs["image"].CopyFrom(protocol.to_tensor_proto(np.zeros((1, 32, 32, 1), np.uint8)))
        answer = stub.Predict(request, timeout=PATIENCE_S)
        assert protocol.from_tensor_proto(answer.outputs["scores"]).shape == (1, 5)
        request.model_spec.name = "nosuch"
        failed = stub.Predict.future(request, timeout=PATIENCE_S)
        assert failed.code() is grpc.StatusCode.NOT_FOUND
        assert "Servable not found" in failed.details()
        wrong = stub.Predict.future(request, timeout=PATIENCE_S, metadata=[("x-request-deadline-ms", "soon")])
        assert wrong.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("name", PROXIES)
def test_where_the_service_is_away_the_answer_is_503_in_json_and_unavailable(name: str, tmp_path: Path) -> None:
    with ExitStack() as held:
        proxy = held.enter_context(PROXIES[name](tmp_path, free_port(), free_port()))
        answer = proxy.post("/v1/models/circles:predict", b"x")
        assert answer.status_code == 503
        assert answer.json() == {"error": "The service does not answer; try again."}
        credentials = grpc.ssl_channel_credentials(proxy.pair.certificate.read_bytes())
        channel = held.enter_context(grpc.secure_channel(f"localhost:{proxy.port}", credentials))
        stub = protocol.model_service_pb2_grpc.ModelServiceStub(channel)
        asked = stub.GetModelStatus.future(protocol.get_model_status_pb2.GetModelStatusRequest(), timeout=PATIENCE_S)
        assert asked.code() is grpc.StatusCode.UNAVAILABLE
