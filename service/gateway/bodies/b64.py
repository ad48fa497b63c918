"""Bytes in JSON: TF Serving's `{"b64": "…"}`, and `data:` URLs as web pages make them."""

import base64
import binascii
import re
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from service.errors import InvalidRequest

# What `FileReader.readAsDataURL` and `canvas.toDataURL` give: a type, parameters, the word base64, and the bytes.
_DATA_URL: Final = re.compile(r"\s*data:([^,;]*)((?:;[^,;]*)*),(.*)", re.IGNORECASE | re.DOTALL)
# A browser that does not know a file's type says one of these.
_UNKNOWN_TYPES: Final = ("", "application/octet-stream")
_MOST_SHOWN: Final = 40
_DATA: Final = "The data: URL"


def is_b64(value: Any) -> bool:
    """Whether a JSON value stands for bytes: an object that has `b64` and nothing else."""
    return isinstance(value, dict) and value.keys() == {"b64"}


def is_data_url(value: Any) -> bool:
    """Whether a JSON value is a string that holds a `data:` URL."""
    return isinstance(value, str) and value[:64].lstrip()[:5].lower() == "data:"


def decode_b64(text: Any) -> bytes:
    """Decode the text of a `{"b64": …}`: base64, or a `data:` URL of any type that holds some.

    Raises:
        InvalidRequest: it is neither.
    """
    if not isinstance(text, str):
        raise InvalidRequest('"b64" must be a string of base64.')
    return _decode(_split(text)[1], _DATA) if is_data_url(text) else _decode(text, '"b64"')


def decode_image(value: Any) -> bytes:
    """Decode what stands for an encoded image: a `{"b64": …}`, or a string that is a `data:` URL of an image.

    Raises:
        InvalidRequest: it holds no base64, or something that is said to be no image.
    """
    text = value["b64"] if is_b64(value) else value
    if not is_data_url(text):
        return decode_b64(text)
    kind, content = _split(text)
    if kind not in _UNKNOWN_TYPES and not kind.startswith("image/"):
        raise InvalidRequest(f"{_DATA} contains {kind[:_MOST_SHOWN]}; send an image: data:image/png;base64,…")
    return _decode(content, _DATA)


def text_or_b64(data: bytes) -> str | dict[str, str]:
    """Write bytes as JSON: as text where they are UTF-8, otherwise as `{"b64": "…"}`, so that nothing is lost."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return encode_b64(data)


def encode_b64(data: bytes) -> dict[str, str]:
    """Write bytes as `{"b64": "…"}`."""
    return {"b64": base64.b64encode(data).decode()}


def _split(url: str) -> tuple[str, str]:
    """The type and the base64 of a `data:` URL."""
    found = _DATA_URL.fullmatch(url)
    if found is None or "base64" not in found[2].lower().replace(" ", "").split(";"):
        raise InvalidRequest(f"{_DATA} is not base64; send something like data:image/png;base64,…")
    content = found[3]
    return found[1].strip().lower(), unquote_to_bytes(content).decode("ascii", "replace") if "%" in content else content


def _decode(text: str, what: str) -> bytes:
    try:
        # The alphabet for URLs, line breaks (the command base64 writes them) and missing padding are taken too.
        text = "".join(text.replace("-", "+").replace("_", "/").split()).rstrip("=")
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"{what} is not base64; encode the bytes with the standard alphabet.") from error
