"""TLS by certificate files, for HTTP and gRPC: at least version 1.2, renewed without a restart.

A renewed certificate is taken up by the next handshake; a pair that does not fit, as while one of two files is written,
leaves the former one in force.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc

from service.config.settings import Settings
from service.errors import SettingsError
from service.security.renewed import Renewed

# What every handshake begins with.
_HANDSHAKE: Final = b"\x16"


@dataclass(frozen=True)
class TlsFiles:
    """What `--ssl-certificate-file`, `--ssl-key-file` and `--ssl-client-ca-file` name."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of them."""
        return tuple(path for path in (self.certificate, self.key, self.client_ca) if path is not None)


def from_settings(settings: Settings) -> TlsFiles | None:
    """The files that the settings name; None where HTTP is plain text.

    Raises:
        SettingsError: one of the pair is missing, or a file can't be used.
    """
    certificate, key, client_ca = settings.ssl_certificate_file, settings.ssl_key_file, settings.ssl_client_ca_file
    if certificate is None and key is None and client_ca is None:
        return None
    if certificate is None or key is None:
        raise SettingsError("TLS needs both --ssl-certificate-file and --ssl-key-file.")
    files = TlsFiles(certificate, key, client_ca)
    _context(files)
    return files


def http_contexts(files: TlsFiles) -> Renewed[ssl.SSLContext]:
    """What HTTP's connections are wrapped with.

    Raises:
        SettingsError: a file can't be used.
    """
    return Renewed(files.paths, lambda: _context(files), _context(files))


def grpc_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """What a gRPC server needs; made after the fork, as anything of gRPC's core.

    Raises:
        SettingsError: a file can't be used.
    """
    told = _configuration(files)
    renewed = Renewed(files.paths, lambda: _configuration(files), told)

    def changed() -> Any:
        """What there is to change before the next handshake; mostly nothing."""
        nonlocal told
        before, told = told, renewed.now()
        return None if told is before else told

    return grpc.dynamic_ssl_server_credentials(told, changed, files.client_ca is not None)


def _context(files: TlsFiles) -> ssl.SSLContext:
    """Raises SettingsError: a file can't be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    for path in files.paths:
        _read(path)  # ssl's own errors do not say which file they are about
    try:
        # A key that is encrypted would have gunicorn's workers wait for a password.
        context.load_cert_chain(files.certificate, files.key, password="")
    except (ssl.SSLError, OSError, ValueError) as error:
        raise SettingsError(
            f"{files.certificate} and {files.key} are not a certificate and its private key, both in "
            "PEM format and the key without a password."
        ) from error
    if files.client_ca is not None:
        try:
            context.load_verify_locations(files.client_ca)
        except (ssl.SSLError, OSError) as error:
            raise SettingsError(f"{files.client_ca} contains no certificate in PEM format.") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _configuration(files: TlsFiles) -> Any:
    """Raises SettingsError: a file can't be used; gRPC itself would say so at the first handshake only."""
    _context(files)
    authorities = None if files.client_ca is None else _read(files.client_ca)
    return grpc.ssl_server_certificate_configuration(
        [(_read(files.key), _read(files.certificate))], root_certificates=authorities
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path} can't be read: {error.strerror}.") from error
