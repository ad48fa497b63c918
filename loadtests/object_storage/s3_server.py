"""An S3 server for tests and load tests: moto's, as a process of its own, in an environment that uv keeps.

It is a real server of the protocol, whose objects lie in memory. What it needs has no place beside Signpost's packages.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PACKAGES: Final = ("--from", "moto[s3]==5.2.5", "--with", "flask", "--with", "flask-cors")
# It looks who asks, not whether the signature is right.
_SIGNED: Final = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=, Signature="
}
# Seconds: installing it once, from the network.
_START_S: Final = 300.0
_STOP_S: Final = 10.0


class CanNotStart(Exception):
    """It could not be installed or started; the message says why."""


@dataclass(frozen=True)
class S3Server:
    """A running server.

    Attributes:
        endpoint: where it listens.
    """

    endpoint: str

    def environment(self, endpoint: str = "") -> dict[str, str]:
        """The variables by which a program finds it, or a proxy before it."""
        return {
            "AWS_ENDPOINT_URL": endpoint or self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        }

    def make_bucket(self, name: str) -> None:
        """Make a bucket."""
        self._ask("PUT", f"/{name}")

    def put(self, bucket: str, name: str, content: bytes) -> None:
        """Write an object, without any of Signpost's own code."""
        self._ask("PUT", f"/{bucket}/{name}", content, {"Content-Type": "application/octet-stream"})

    def put_folder(self, bucket: str, prefix: str, folder: Path) -> None:
        """Write all files of a folder, `saved_model.pb` last."""
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        for path in sorted(files, key=lambda path: path.name == "saved_model.pb"):
            self.put(bucket, f"{prefix}/{path.relative_to(folder)}", path.read_bytes())

    def delete(self, bucket: str, name: str) -> None:
        """Delete an object."""
        self._ask("DELETE", f"/{bucket}/{name}")

    def names(self, bucket: str, prefix: str = "") -> list[str]:
        """The names of the objects below a prefix."""
        answer = self._ask("GET", f"/{bucket}?list-type=2&prefix={prefix}").decode()
        return re.findall(r"<Key>([^<]*)</Key>", answer)

    def forbid(self, forbidden: bool) -> None:
        """Refuse whoever asks, or nobody."""
        # Of requests that are signed by somebody whom nobody knows, so many are answered.
        self._ask("POST", "/moto-api/reset-auth", b"0" if forbidden else b"1000000000", {"Content-Type": "text/plain"})

    def _ask(self, method: str, path: str, content: bytes = b"", headers: Mapping[str, str] = {}) -> bytes:
        request = urllib.request.Request(
            self.endpoint + path, content if method in ("PUT", "POST") else None, {**_SIGNED, **headers}, method=method
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            body: bytes = answer.read()
        return body


@contextmanager
def s3_server(log: Path) -> Iterator[S3Server]:
    """Start a server on a free port and stop it in the end.

    Args:
        log: a file for what it prints.

    Raises:
        CanNotStart: there is no network, or no uv.
    """
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if uv is None:
        raise CanNotStart("uv, which keeps moto's environment, is not installed: pip install 'signpost-serving[dev]'.")
    command = [uv, "tool", "run", *_PACKAGES, "moto_server", "-H", "127.0.0.1", "-p", "0"]
    with log.open("w") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield S3Server(_endpoint(process, log))
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(_STOP_S)


def _endpoint(process: "subprocess.Popen[bytes]", log: Path) -> str:
    until_s = time.monotonic() + _START_S
    while time.monotonic() < until_s and process.poll() is None:
        if found := re.search(r"Running on (http://[\d.]+:\d+)", log.read_text()):
            return found[1]
        time.sleep(0.05)
    raise CanNotStart(f"moto's server did not start: {log.read_text()[-300:].strip() or 'no output'}")
