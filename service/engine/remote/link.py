"""How calls reach an engine elsewhere: in plain text or over TLS, with an API key or without."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc

from service.errors import SettingsError

_OPTIONS: Final = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A peer that comes back is found again within a second, not within gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # One process may hold several engines (tests do); they must not share broken connections.
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(frozen=True)
class Link:
    """What all channels of an engine have in common.

    Attributes:
        secret: the API key that goes with every call; none where it is empty.
        authorities: certificates in PEM format that the engine's must come from; without them it is plain text.
        name: what the engine's certificate must be made out for; without it the host of its address.
        hop: the socket of the hop, where the engine is another process of this service.
    """

    secret: str = field(default="", repr=False)
    authorities: bytes | None = None
    name: str = ""
    hop: Path | None = None

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with every call."""
        return (("authorization", f"Bearer {self.secret}"),) if self.secret else ()

    def open(self, address: str) -> Any:
        """A channel to an address; it connects by itself. To be made after any fork."""
        if self.authorities is None:
            return grpc.insecure_channel(address, options=_OPTIONS)
        options = (*_OPTIONS, ("grpc.ssl_target_name_override", self.name)) if self.name else _OPTIONS
        return grpc.secure_channel(address, grpc.ssl_channel_credentials(self.authorities), options=options)


def read(key_file: Path | None, authorities_file: Path | None) -> Link:
    """Read `--engine-api-key-file` and `--engine-tls-ca-file`.

    Raises:
        SettingsError: one can't be read, the first holds no key, or the second no certificate.
    """
    secret = "" if key_file is None else _read(key_file).decode("utf-8", "replace").strip()
    if key_file is not None and not (secret.isascii() and secret.isprintable() and len(secret.split()) == 1):
        raise SettingsError(f"--engine-api-key-file {key_file} must contain one key and nothing else.")
    authorities = None if authorities_file is None else _read(authorities_file)
    if authorities is not None and b"-----BEGIN CERTIFICATE-----" not in authorities:
        raise SettingsError(f"--engine-tls-ca-file {authorities_file} contains no certificate in PEM format.")
    return Link(secret, authorities)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path} can't be read: {error.strerror}.") from error
