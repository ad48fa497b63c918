"""TLS by certificate files: what is refused at the start, who may shake hands, and certificates that are renewed."""

import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.config.settings import Settings
from service.errors import SettingsError
from service.rpc.server import GrpcServer
from service.security import renewed, tls
from service.security.tls import TlsFiles
from tests import certificates
from tests.certificates import Pair
from tests.fakes import FakeEngine, classifier

pytestmark = pytest.mark.skipif(bool(certificates.MISSING), reason=certificates.MISSING)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return certificates.make(tmp_path_factory.mktemp("ours"), "ours")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return certificates.make(tmp_path_factory.mktemp("theirs"), "theirs")


@pytest.fixture(autouse=True)
def _look_at_each_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewed, "LOOK_S", 0.0)


def test_without_files_there_is_no_tls() -> None:
    assert tls.from_settings(Settings()) is None


@pytest.mark.parametrize("given", [("ssl_certificate_file",), ("ssl_key_file",), ("ssl_client_ca_file",)])
def test_half_a_pair_is_refused(given: tuple[str, ...], ours: Pair) -> None:
    with pytest.raises(SettingsError, match="needs both"):
        tls.from_settings(Settings(**dict.fromkeys(given, ours.certificate)))  # type: ignore[arg-type]


def test_files_that_do_not_fit_are_refused_and_not_shown(ours: Pair, theirs: Pair, tmp_path: Path) -> None:
    encrypted = tmp_path / "encrypted.key"
    encrypted.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIGjMF8G\n-----END ENCRYPTED PRIVATE KEY-----\n")
    for certificate, key in (
        (ours.certificate, theirs.key),
        (ours.key, ours.key),
        (ours.certificate, ours.certificate),
        (ours.certificate, encrypted),
    ):
        with pytest.raises(SettingsError, match="not a certificate and its private key") as caught:
            tls.from_settings(Settings(ssl_certificate_file=certificate, ssl_key_file=key))
        assert "BEGIN" not in str(caught.value)
    with pytest.raises(SettingsError, match="can't be read"):
        tls.from_settings(Settings(ssl_certificate_file=tmp_path / "missing", ssl_key_file=ours.key))
    with pytest.raises(SettingsError, match="contains no certificate"):
        tls.http_contexts(TlsFiles(ours.certificate, ours.key, ours.key))


def shake(files: TlsFiles, client: ssl.SSLContext) -> str:
    """The name on the certificate that a client meets."""
    context = tls.http_contexts(files).now()
    return meet(context, client)


def meet(context: ssl.SSLContext, client: ssl.SSLContext) -> str:
    near, far = socket.socketpair()
    failed: list[Exception] = []

    def serve() -> None:
        try:
            with context.wrap_socket(far, server_side=True) as wrapped:
                wrapped.sendall(wrapped.recv(1))
        except OSError as error:
            failed.append(error)
            far.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with near, client.wrap_socket(near, server_hostname="localhost") as wrapped:
            wrapped.settimeout(30)
            wrapped.sendall(b"x")
            assert wrapped.recv(1) == b"x"  # a refused client is told after its own handshake
            subject: Any = wrapped.getpeercert()
            return str(subject["subject"][0][0][1])
    finally:
        thread.join(30)


def trusting(pair: Pair) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=pair.certificate)


def test_a_client_that_trusts_the_certificate_is_served(ours: Pair, theirs: Pair) -> None:
    files = TlsFiles(ours.certificate, ours.key)
    assert shake(files, trusting(ours)) == "ours"
    with pytest.raises(ssl.SSLError, match="certificate verify failed"):
        shake(files, trusting(theirs))


def test_old_versions_of_the_protocol_are_refused(ours: Pair) -> None:
    context = tls.http_contexts(TlsFiles(ours.certificate, ours.key)).now()
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_with_an_authority_for_clients_each_must_show_a_certificate(ours: Pair, theirs: Pair) -> None:
    files = TlsFiles(ours.certificate, ours.key, theirs.certificate)
    for pair in (None, ours, theirs):
        client = trusting(ours)
        if pair is not None:
            client.load_cert_chain(pair.certificate, pair.key)
        if pair is theirs:
            assert shake(files, client) == "ours"
        else:
            with pytest.raises((OSError, AssertionError)):
                shake(files, client)


def test_a_renewed_certificate_is_taken_up_and_a_broken_one_is_not(ours: Pair, theirs: Pair, tmp_path: Path) -> None:
    files = TlsFiles(tmp_path / "certificate.pem", tmp_path / "key.pem")
    contexts = None
    for pair, met in ((ours, ours), (theirs, theirs), (None, theirs), (ours, ours)):
        for path, source in ((files.certificate, pair and pair.certificate), (files.key, pair and pair.key)):
            path.unlink(missing_ok=True)
            path.write_bytes(source.read_bytes() if source else b"half a file")
        contexts = contexts or tls.http_contexts(files)
        assert meet(contexts.now(), trusting(met)) == met.certificate.stem


@contextmanager
def serving(files: TlsFiles) -> Iterator[str]:
    server = GrpcServer(
        FakeEngine(classifier("m")),
        threads=1,
        default_deadline_s=60.0,
        max_message_bytes=1 << 20,
        credentials=tls.grpc_credentials(files),
    )
    yield f"localhost:{server.start('127.0.0.1:0')}"
    server.close(0)


def check(address: str, *credentials: bytes | None) -> grpc.StatusCode:
    with grpc.secure_channel(address, grpc.ssl_channel_credentials(*credentials)) as channel:
        return health_pb2_grpc.HealthStub(channel).Check.future(health_pb2.HealthCheckRequest(), timeout=30).code()


def test_grpc_serves_the_same_certificate_and_its_renewal(ours: Pair, theirs: Pair, tmp_path: Path) -> None:
    files = TlsFiles(tmp_path / "certificate.pem", tmp_path / "key.pem")
    shutil.copy(ours.certificate, files.certificate)
    shutil.copy(ours.key, files.key)
    with serving(files) as address:
        for _ in range(2):
            assert check(address, ours.certificate.read_bytes()) is grpc.StatusCode.OK
        shutil.copy(theirs.certificate, files.certificate)
        shutil.copy(theirs.key, files.key)
        assert check(address, theirs.certificate.read_bytes()) is grpc.StatusCode.OK
        files.key.write_text("half a file")
        assert check(address, theirs.certificate.read_bytes()) is grpc.StatusCode.OK


def test_grpc_asks_its_clients_for_a_certificate_too(ours: Pair, theirs: Pair) -> None:
    with serving(TlsFiles(ours.certificate, ours.key, theirs.certificate)) as address:
        authority, (key, certificate) = ours.certificate.read_bytes(), (theirs.key, theirs.certificate)
        assert check(address, authority) is grpc.StatusCode.UNAVAILABLE
        assert check(address, authority, key.read_bytes(), certificate.read_bytes()) is grpc.StatusCode.OK
