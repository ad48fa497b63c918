"""What a service has and how it is reached: asked over HTTP, before any load."""

import json
import os
import urllib.error
import urllib.request
from typing import Any, Final
from urllib.parse import quote, urlsplit

from google.protobuf import json_format

from service import protocol, signature_messages
from service.errors import NotFound, SettingsError, Unavailable
from service.interface import Signature

API_KEY: Final = "SIGNPOST_API_KEY"  # environment variable; a key is not for command lines and files
_TIMEOUT_S: Final = 30.0


def key_headers() -> dict[str, str]:
    """What a request carries where the service wants an API key."""
    key = os.environ.get(API_KEY, "")
    return {"Authorization": f"Bearer {key}"} if key else {}


def get(url: str, path: str) -> bytes:
    """Ask for a page.

    Raises:
        NotFound: the service has none there.
        Unavailable: it does not answer, or does not want to.
    """
    try:
        request = urllib.request.Request(url.rstrip("/") + path, headers=key_headers())
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
            content: bytes = response.read()
            return content
    except urllib.error.HTTPError as error:
        said = error.read().decode("utf-8", "replace").strip()[:300]
        if error.code == 404:
            raise NotFound(f"{url}{path} does not exist: {said}") from error
        hint = f" Set {API_KEY} or --api-key." if error.code in (401, 403) else ""
        raise Unavailable(f"{url}{path} answers {error.code}: {said}{hint}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise Unavailable(f"No service answers at {url}: {reason}. `signpost serve` starts one.") from error


def models(url: str) -> list[str]:
    """Names of the models that the service has."""
    found = _json(url, "/v1/models").get("models", [])
    return [str(each["name"]) for each in found if "error" not in each]


def states(url: str, model: str) -> dict[str, str]:
    """The state of each version of a model."""
    found = _json(url, f"/v1/models/{quote(model, safe='')}").get("model_version_status", [])
    return {str(each["version"]): str(each["state"]) for each in found}


def signature(url: str, model: str) -> Signature:
    """The serving signature of a model: what it takes."""
    found = _json(url, f"/v1/models/{quote(model, safe='')}/metadata")
    definitions = protocol.get_model_metadata_pb2.SignatureDefMap()
    try:
        json_format.ParseDict(found["metadata"]["signature_def"], definitions, ignore_unknown_fields=True)
    except (KeyError, TypeError, json_format.ParseError) as error:
        raise Unavailable(f"{url} does not report the signatures of {model} as TensorFlow Serving does.") from error
    if "serving_default" not in definitions.signature_def:
        raise SettingsError(f"{model} has no signature serving_default, the only one that load tests use.")
    return signature_messages.read_signature(definitions.signature_def["serving_default"])


def checked(url: str) -> str:
    """The URL of a service, without a slash at its end.

    Raises:
        SettingsError: it is none.
    """
    text = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise SettingsError(f"--url takes http://HOST:PORT, not {url!r}.")
    return text.rstrip("/")


def _json(url: str, path: str) -> Any:
    try:
        found = json.loads(get(url, path))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Unavailable(f"{url} does not answer like TensorFlow Serving or Signpost.")
    return found
