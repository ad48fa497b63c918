"""A client of a running Signpost: images out, predictions in, errors in our own words.

Only the standard library and Click: a program that asks a service need not load what the service needs. Each thread
has a connection of its own, kept alive.
"""

import http.client
import json
import ssl
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import click

from service.errors import InvalidRequest, NotFound, SettingsError, SignpostError, Unavailable

Json = dict[str, Any]

# The option --cacert of the commands that ask a service.
CA_FILE: Final = click.Path(path_type=Path, exists=True, dir_okay=False, readable=True)

# Seconds. A model may take long; a service that is full says when to come back.
_TIMEOUT_S: Final = 120.0
_LONGEST_PAUSE_S: Final = 10.0
_ATTEMPTS: Final = 8


@dataclass(frozen=True)
class Target:
    """Which servable to ask: a model, and at most one of version and label."""

    model: str
    version: int | None = None
    label: str | None = None

    @property
    def path(self) -> str:
        """Its path in the API."""
        at = f"/versions/{self.version}" if self.version is not None else ""
        at = f"/labels/{quote(self.label, safe='')}" if self.label is not None else at
        return f"/v1/models/{quote(self.model, safe='')}{at}"


class Client:
    """Asks the service at a URL; may be shared by threads.

    Args:
        url: `http://host:port`, or `https://`, also with a path before the service's own.
        api_key: goes with every request, where the service needs one.
        timeout_s: seconds for which the service may be silent.
        ca_file: certificates to trust besides the system's, in PEM format.

    Raises:
        SettingsError: `url` is none, the key can't be sent, or the file holds no certificate.
    """

    def __init__(self, url: str, api_key: str = "", timeout_s: float = _TIMEOUT_S, ca_file: Path | None = None) -> None:
        """Connect to nothing yet."""
        if not (api_key.isascii() and api_key.isprintable()) or " " in api_key:
            raise SettingsError("The API key contains a character that no key contains; was it copied in full?")
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            self._host, self._port = parts.hostname, parts.port
        except ValueError:
            self._host = None
        if not self._host or parts.scheme not in ("http", "https"):
            raise SettingsError(f"--url takes http://HOST:PORT, not {url!r}.")
        self._trusted = _trusted(ca_file) if parts.scheme == "https" else None
        self._prefix = parts.path.rstrip("/")
        self._url = url
        self._timeout_s = timeout_s
        self._local = threading.local()

    def models(self) -> list[str]:
        """Names of the models that the service has, without those whose folders are laid out wrongly."""
        return [str(model["name"]) for model in self.status() if "error" not in model]

    def status(self) -> list[Json]:
        """Of each model its name, the states of its versions, and what is wrong with a folder that holds none.

        Raises:
            NotFound, Unavailable: nobody answers as Signpost does, or not without another key.
        """
        models = self._ask("GET", "/v1/models").get("models")
        if not isinstance(models, list):
            raise Unavailable(f"{self._url} does not answer like a Signpost service.")
        return models

    def default_version(self, model: str) -> int:
        """The version that answers where none is named; raises as `status`."""
        return int(self._ask("GET", f"{Target(model).path}/metadata")["model_spec"]["version"])

    def labels(self, model: str) -> dict[str, int]:
        """The labels of a model; raises as `status`."""
        return {
            str(name): int(version)
            for name, version in self._ask("GET", f"{Target(model).path}/labels")["labels"].items()
        }

    def predict(self, target: Target, image: bytes, top_k: int | None = None) -> Json:
        """Ask for one image.

        Returns:
            `model`, and `class`, `score` and `scores` of the image.

        Raises:
            InvalidRequest: the service takes no such image; the message is its own.
            NotFound: there is no such model, version or label, or it takes no images.
            Unavailable: nobody answers, or the service can't answer now.
        """
        query = f"?{urlencode({'top_k': top_k})}" if top_k is not None else ""
        answer = self._ask("POST", f"{target.path}:predict{query}", image)
        try:
            return {"model": answer["model"], **answer["predictions"][0]}
        except (KeyError, IndexError, TypeError) as error:
            raise Unavailable(f"{self._url} does not answer like a Signpost service.") from error

    def _ask(self, method: str, path: str, body: bytes | None = None) -> Json:
        """One request, repeated while the service is full or not ready."""
        for attempt in range(_ATTEMPTS):
            status, pause_s, answer = self._exchange(method, path, body)
            if status < 400:
                return answer
            error = _in_our_words(status, str(answer.get("error") or f"{self._url}{path} answers {status}."))
            if status != 429 or attempt == _ATTEMPTS - 1:
                raise error
            time.sleep(min(pause_s, _LONGEST_PAUSE_S))
        raise AssertionError  # the loop ends by return or raise

    def _exchange(self, method: str, path: str, body: bytes | None) -> tuple[int, float, Json]:
        """Status, seconds after which to come back, and the document of one answer."""
        headers = self._headers | ({"Content-Type": "image/*"} if body is not None else {})
        for is_last in (False, True):
            connection = self._connection()
            try:
                connection.request(method, self._prefix + path, body, headers)
                response = connection.getresponse()
                content = response.read()
                break
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                # A connection that was kept alive may have been closed meanwhile; a new one tells.
                if is_last or isinstance(error, ConnectionRefusedError | ssl.SSLCertVerificationError):
                    raise Unavailable(self._why_no_answer(error)) from error
        try:
            answer = json.loads(content)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise Unavailable(
                f"{self._url} does not answer like a Signpost service (status {response.status}, not JSON)."
            )
        pause = response.headers.get("Retry-After", "1")
        return response.status, float(pause) if pause.isdigit() else 1.0, answer

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            host, port, timeout_s = str(self._host), self._port, self._timeout_s
            connection = self._local.connection = (
                http.client.HTTPConnection(host, port, timeout_s)
                if self._trusted is None
                else http.client.HTTPSConnection(host, port, timeout=timeout_s, context=self._trusted)
            )
        return connection

    def _why_no_answer(self, error: Exception) -> str:
        if isinstance(error, ssl.SSLCertVerificationError):
            return (
                f"The certificate of {self._url} is not trusted: {error.verify_message}. If it is yours, pass it, "
                "or the certificate of the authority that issued it, with --cacert FILE."
            )
        if isinstance(error, ssl.SSLError):
            return f"{self._url} did not complete a TLS handshake ({_reason(error)}); does it listen on http://?"
        if self._trusted is None and isinstance(error, http.client.BadStatusLine | ConnectionResetError):
            return f"{self._url} does not answer in HTTP ({_reason(error)}); does it listen on https://?"
        return f"No service answers at {self._url}: {_reason(error)}."

    def close(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()


def _trusted(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(
                f"--cacert {ca_file} contains no certificate in PEM format: {_reason(error)}."
            ) from error
    return context


def _in_our_words(status: int, message: str) -> SignpostError:
    if status in (400, 413):
        return InvalidRequest(message)
    if status in (401, 403, 404, 405, 415):
        return NotFound(message)
    return Unavailable(message)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
