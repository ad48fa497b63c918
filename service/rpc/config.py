"""How gRPC listens: TF Serving's flags and its file for TLS, read."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc

from service.config import text_messages
from service.errors import SettingsError

# A name and a value, as gRPC's core takes them.
ChannelArgument = tuple[str, int | str]

# Of the path of a Unix socket, on Linux.
_MOST_BYTES: Final = 107


def parse_channel_arguments(text: str) -> tuple[ChannelArgument, ...]:
    """Read `--grpc_channel_arguments`: `name=value` pairs separated by commas.

    Raises:
        SettingsError: a part is not such a pair.
    """
    arguments = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not name or not equals:
            raise SettingsError(
                f"--grpc_channel_arguments takes pairs such as grpc.max_connection_age_ms=2000, not {part!r}."
            )
        arguments.append((name, _as_int(value)))
    return tuple(arguments)


def check_socket_path(path: Path | None) -> None:
    """Make sure that gRPC can listen on `--grpc_socket_path`.

    Raises:
        SettingsError: it can't; told before the workers start.
    """
    if path is None:
        return
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise SettingsError(f"--grpc_socket_path {path} can't be created; its folder is missing or read-only.")
    if path.exists() and not path.is_socket():
        raise SettingsError(f"--grpc_socket_path {path} already exists and is not a socket; choose another path.")
    if len(os.fsencode(path)) > _MOST_BYTES:
        raise SettingsError(
            f"--grpc_socket_path {path} is longer than the {_MOST_BYTES} bytes that a socket's path may have."
        )


@dataclass(frozen=True)
class TlsConfig:
    """What `--ssl_config_file` says, in PEM format."""

    key: bytes
    certificate: bytes
    client_ca: bytes
    verifies_clients: bool


def read_tls(path: Path | None) -> TlsConfig | None:
    """Read `--ssl_config_file`, which holds a `tensorflow.serving.SSLConfig` in text format.

    Raises:
        SettingsError: it can't be read, or lacks the key or the certificate.
    """
    if path is None:
        return None
    config = text_messages.read(path, "SSLConfig")
    if not config.server_key or not config.server_cert:
        raise SettingsError(f"{path} must have server_key and server_cert, both in PEM format.")
    if config.client_verify and not config.custom_ca:
        raise SettingsError(f"{path} has client_verify, so it needs custom_ca to verify clients with.")
    return TlsConfig(
        config.server_key.encode(), config.server_cert.encode(), config.custom_ca.encode(), config.client_verify
    )


def credentials(tls: TlsConfig) -> grpc.ServerCredentials:
    """What a server needs to speak TLS; made after the fork, as anything of gRPC's core."""
    return grpc.ssl_server_credentials(
        [(tls.key, tls.certificate)],
        root_certificates=tls.client_ca or None,
        require_client_auth=tls.verifies_clients,
    )


def _as_int(value: str) -> int | str:
    """What gRPC takes as a number where it is one of 32 bits, else as it is."""
    try:
        number = int(value)
    except ValueError:
        return value
    return number if -(2**31) <= number < 2**31 else value
