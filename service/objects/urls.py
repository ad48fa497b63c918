"""Addresses in object storage: `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, `az://CONTAINER/PREFIX`."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from service.errors import SettingsError

SCHEMES: Final = ("s3", "gs", "az")
# As a `Path` an address has one slash after its scheme, or none if nothing follows. A single letter is not one: `C:`.
_ADDRESS: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(?:/+(.*))?", re.DOTALL)


@dataclass(frozen=True, order=True)
class Url:
    """An address.

    Attributes:
        scheme: one of `SCHEMES`.
        bucket: the bucket, or Azure's container.
        prefix: of the names of the objects below it, without a slash at either end; empty for all of the bucket.
    """

    scheme: str
    bucket: str
    prefix: str = ""

    def __str__(self) -> str:
        """As people write it."""
        return f"{self.root}/{self.prefix}" if self.prefix else self.root

    @property
    def root(self) -> str:
        """The address of the whole bucket."""
        return f"{self.scheme}://{self.bucket}"

    @property
    def name(self) -> str:
        """The last part, as of a folder."""
        return self.prefix.rpartition("/")[2] or self.bucket

    def below(self, name: str) -> "Url":
        """The address of what lies below this one by a name, which may have several parts."""
        return Url(self.scheme, self.bucket, f"{self.prefix}/{name}".strip("/"))

    @property
    def parent(self) -> "Url":
        """The address one part higher."""
        return Url(self.scheme, self.bucket, self.prefix.rpartition("/")[0])


def is_url(where: Path | str) -> bool:
    """Whether this is an address of any scheme rather than a folder; see `parse`."""
    return _ADDRESS.fullmatch(str(where)) is not None


def are_named_in(config: Path) -> bool:
    """Whether a configuration on this host may name addresses."""
    try:
        return "://" in config.read_text()
    except (OSError, UnicodeDecodeError):  # whoever reads it next says what is wrong
        return False


def parse(where: Path | str, what: str) -> Url | None:
    """Read an address.

    Settings and configurations take it where they take a folder, so it may come as a `Path`, which keeps one slash of
    the two after the scheme.

    Args:
        where: an address or a folder.
        what: the setting that it comes from, for messages.

    Returns:
        The address; None for a folder.

    Raises:
        SettingsError: its scheme is none that can be read, or it names no bucket.
    """
    match = _ADDRESS.fullmatch(str(where))
    if match is None:
        return None
    scheme, rest = match[1].lower(), match[2] or ""
    if scheme not in SCHEMES:
        known = ", ".join(f"{each}://" for each in SCHEMES)
        raise SettingsError(f"{what} takes a folder or an address starting with {known}, not {match[1]}://.")
    parts = [part for part in rest.split("/") if part]
    if not parts:
        raise SettingsError(f"{what} is {scheme}://, which lacks a bucket; write {scheme}://BUCKET/PREFIX.")
    if {".", ".."} & set(parts) or not all(map(str.isprintable, parts)):
        raise SettingsError(f"{what} is {scheme}://{rest!r}; the parts of an address are names.")
    return Url(scheme, parts[0], "/".join(parts[1:]))


def written(where: Path | str) -> str:
    """An address or a folder as people write it."""
    match = _ADDRESS.fullmatch(str(where))
    return f"{match[1]}://{match[2] or ''}" if match is not None else str(where)
