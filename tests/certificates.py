"""Certificates for tests, made with openssl."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

MISSING = "" if shutil.which("openssl") else "openssl not found; it makes the certificates"


@dataclass(frozen=True)
class Pair:
    """A certificate that stands for itself as its authority, and its private key."""

    certificate: Path
    key: Path


def make(folder: Path, name: str, names: str = "DNS:localhost,IP:127.0.0.1") -> Pair:
    """Make one for these names, by default this machine's own."""
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName={names}",
            "-keyout", pair.key, "-out", pair.certificate,
        ],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return pair
