"""API keys: made at random, kept as SHA-256 digests, compared in constant time.

A key is 256 random bits, so one pass of SHA-256 is all that its digest needs: there is nothing to guess as with
passwords (decision 0050). Who reads the file of digests can't send a key.
"""

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from service.errors import SettingsError
from service.security.renewed import Renewed

# What a key lets its holder do: ask models, or also change what is served.
Role = Literal["predict", "admin"]
ROLES: Final[tuple[Role, ...]] = ("predict", "admin")

# Says what it is where it turns up in places where it should not be: scanners for secrets look for such words.
_PREFIX: Final = "signpost_"
_NAME: Final = re.compile(r"[\w.@-]{1,64}", re.ASCII)
_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.IGNORECASE)
_FORM: Final = "ROLE SHA256 NAME (predict or admin, 64 hexadecimal digits, a name)"


@dataclass(frozen=True)
class Key:
    """What is kept of a key.

    Attributes:
        name: whose it is, for people and logs.
        role: what it is good for.
        digest: SHA-256 of the key, 32 bytes.
    """

    name: str
    role: Role
    digest: bytes

    @property
    def line(self) -> str:
        """How it stands in a file."""
        return f"{self.role} {self.digest.hex()} {self.name}"


def make(name: str, role: Role) -> tuple[str, Key]:
    """Make a key: the key itself, which is told once, and what is kept of it.

    Raises:
        SettingsError: the name has other characters than letters, digits and `_.@-`, or more than 64.
    """
    if not _NAME.fullmatch(name):
        raise SettingsError("A key's name has 1 to 64 letters, digits, and _ . @ or -.")
    secret = _PREFIX + secrets.token_urlsafe(32)
    return secret, Key(name, role, digest(secret))


def digest(secret: str) -> bytes:
    """What is kept of a key."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def parse(lines: Iterable[str], source: str) -> tuple[Key, ...]:
    """Read keys, one in a line; blank lines and those that begin with # are skipped.

    Raises:
        SettingsError: a line has another form. It is not shown: a key itself may stand there by mistake.
    """
    keys: list[Key] = []
    for number, line in enumerate(lines, start=1):
        parts = line.split()
        if not parts or parts[0].startswith("#"):
            continue
        role = next((each for each in ROLES if each == parts[0]), None)
        if role is None or len(parts) != 3 or not _DIGEST.fullmatch(parts[1]) or not _NAME.fullmatch(parts[2]):
            raise SettingsError(f"Entry {number} of {source} is not {_FORM}; `signpost keys new` writes such a line.")
        keys.append(Key(parts[2], role, bytes.fromhex(parts[1])))
        if len({key.name for key in keys}) < len(keys):
            raise SettingsError(f"Entry {number} of {source} has the name of an earlier one; names must be unique.")
    return tuple(keys)


def read(path: Path) -> tuple[Key, ...]:
    """Read `--api-keys-file`.

    Raises:
        SettingsError: it can't be read, or see `parse`.
    """
    try:
        return parse(path.read_text().splitlines(), str(path))
    except OSError as error:
        raise SettingsError(f"The file of API keys {path} can't be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"The file of API keys {path} is not text; each line is {_FORM}.") from error


def append(path: Path, key: Key) -> None:
    """Add a key to a file, which is made where there is none, for this user only.

    Raises:
        SettingsError: the file has an error, has a key of that name, or can't be written.
    """
    if path.exists() and any(each.name == key.name for each in read(path)):
        raise SettingsError(f"{path} already has a key named {key.name}; choose another --name.")
    try:
        before = path.read_bytes() if path.exists() else b""
        line = ("\n" if before and not before.endswith(b"\n") else "") + key.line + "\n"
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, line.encode())  # at once, so that nobody reads half a line
        finally:
            os.close(file)
    except OSError as error:
        raise SettingsError(f"{path} can't be written: {error.strerror}.") from error


class Keys:
    """The keys in force; the file is read again when it changes.

    A file that has an error, or is gone, changes nothing: the keys before it still count, and the log tells. A process
    that starts meanwhile knows none of its keys and lets nobody in.

    Args:
        path: the file; None where there is none.
        fixed: keys that stay whatever the file says.
    """

    def __init__(self, path: Path | None, fixed: Iterable[Key] = ()) -> None:
        """Read the file."""
        kept = tuple(fixed)
        files = () if path is None else (path,)
        self._keys = Renewed(files, lambda: (*kept, *(key for file in files for key in read(file))), kept)
        self._keys.now()

    def find(self, secret: str) -> Key | None:
        """The key of this secret, if it is one; takes as long whether it is or not."""
        wanted = digest(secret)
        found = None
        for key in self._keys.now():
            if hmac.compare_digest(key.digest, wanted):
                found = key
        return found
