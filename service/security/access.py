"""Who may do what, over HTTP and gRPC alike.

With API keys on, everything but health and the pages needs a key, and what changes the service one of role `admin`.
With keys off anybody may ask models, and only a service that other machines can't reach lets itself be changed.
"""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from service.config.settings import Settings
from service.errors import Forbidden, SettingsError, Unauthenticated
from service.security import keys
from service.security.keys import Key, Keys, Role

NO_KEY = "This service needs an API key; send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`."
WRONG_KEY = "This API key is not known; it may be mistyped or revoked."
ADMIN_IS_OFF = (
    "Changing what is served is off: it needs API keys (--api-keys-file), or a service that listens on 127.0.0.1 only."
)


class Access:
    """Decides about each request.

    Args:
        known: the keys; None where none are needed.
        only_local: whether nobody but this machine reaches the service.
    """

    def __init__(self, known: Keys | None = None, only_local: bool = True) -> None:
        """Keep what decides."""
        self._known = known
        self._only_local = only_local

    @property
    def needs_key(self) -> bool:
        """Whether keys are on."""
        return self._known is not None

    def admit(self, secret: str | None, needed: Role) -> str:
        """Let a request in, or not.

        Args:
            secret: the key as it was sent; None where none was.
            needed: what the request needs.

        Returns:
            The name of the key; nothing where keys are off.

        Raises:
            Unauthenticated: no key, or one that is not known.
            Forbidden: its role does not suffice, or what is asked for is off.
        """
        if self._known is None:
            if needed == "admin" and not self._only_local:
                raise Forbidden(ADMIN_IS_OFF)
            return ""
        if not secret:
            raise Unauthenticated(NO_KEY)
        key = self._known.find(secret)
        if key is None:
            raise Unauthenticated(WRONG_KEY, was_sent=True)
        if needed == "admin" and key.role != "admin":
            raise Forbidden(f"The API key {key.name} is for predictions; this needs one with the role admin.")
        return key.name


@dataclass(frozen=True)
class KeyRules:
    """Who is let in, as the settings say it.

    Attributes:
        file: of keys, read again when it changes; None where there is none.
        listed: the keys that the settings hold themselves.
        only_local: whether nobody but this machine reaches the service.
    """

    file: Path | None
    listed: tuple[Key, ...]
    only_local: bool

    @property
    def needs_key(self) -> bool:
        """Whether keys are on."""
        return self.file is not None or bool(self.listed)

    def access(self, link_secret: str = "") -> Access:
        """What decides in one process, which reads the file for itself.

        Args:
            link_secret: what this service's own gateways send to its engine process.
        """
        if not self.needs_key:
            return Access(None, self.only_local)
        own = [Key("this-service", "admin", keys.digest(link_secret))] if link_secret else []
        return Access(Keys(self.file, [*own, *self.listed]), self.only_local)


def read(settings: Settings) -> KeyRules:
    """Read what the settings say of keys, and make sure that there is one where they turn keys on.

    Raises:
        SettingsError: the keys can't be read, or there is none.
    """
    listed = keys.parse(settings.api_keys.replace(",", "\n").splitlines(), "--api-keys")
    found = [*listed, *(keys.read(settings.api_keys_file) if settings.api_keys_file else ())]
    if (settings.api_keys_file is not None or settings.api_keys) and not found:
        raise SettingsError(
            "There is no API key in --api-keys-file or --api-keys, so nobody could use this service; `signpost "
            "keys new` creates one."
        )
    return KeyRules(settings.api_keys_file, listed, is_local(settings.host))


def advice(settings: Settings, needs_key: bool) -> list[str]:
    """What an operator should know of the settings, as sentences: who is let in, and who could read a key."""
    found = []
    is_open, is_plain = not is_local(settings.host), settings.ssl_certificate_file is None
    if is_open and not needs_key:
        found.append(
            f"Anyone who reaches {settings.host} may use the models; --api-keys-file admits only those with a key."
        )
    elif is_open and is_plain:
        found.append(
            "API keys arrive in plain text; --ssl-certificate-file, or a TLS proxy, protects them on the network."
        )
    if settings.engine_api_key_file is not None and settings.engine_tls_ca_file is None:
        found.append("The key for --engine is sent in plain text; --engine-tls-ca-file protects it on the network.")
    return found


def is_local(host: str) -> bool:
    """Whether an address to listen on is of this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def secret_of(authorization: str, api_key: str) -> str | None:
    """The key that a client sent.

    Args:
        authorization: its `Authorization`; nothing but `Bearer …` counts.
        api_key: its `X-API-Key`, which comes first: a proxy may have use for the other.
    """
    if api_key:
        return api_key.strip()
    scheme, _, secret = authorization.partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None
