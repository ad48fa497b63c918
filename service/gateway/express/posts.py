"""Which requests the express lane takes: a posted image, or a tensor of one, about which nothing is unusual."""

import re
from dataclasses import dataclass
from typing import Final

from service.interface import ModelSpec
from service.message.heads import Head

_TARGET: Final = re.compile(
    r"/v1/models/([\w.-]+)(?:/versions/(\d{1,18})|/labels/([\w.-]+))?:predict"
    r"|/v2/models/([\w.-]+)(?:/versions/(?:(\d{1,18})|([\w.-]+)))?/infer",
    re.ASCII,
)
# Headers that change how a body is read, or ask for something besides an answer.
_UNUSUAL: Final = frozenset(("content-encoding", "expect", "upgrade", "te", "trailer", "origin", "range"))
# Of the Open Inference Protocol's requests those are taken whose bytes stand behind a JSON no longer than this, with
# one tensor that has one row.
_JSON_LENGTH: Final = "inference-header-content-length"
_LENGTH: Final = re.compile(r"[1-9]\d{0,9}", re.ASCII)
_LONGEST_JSON: Final = 2048
_ONE_ROW: Final = re.compile(rb'"shape" ?: ?\[ ?1 ?[,\]]')
_COMPRESSED: Final = ("gzip", "deflate")
# Content types under which clients send both images and JSON; these first bytes may be those of JSON.
_VAGUE: Final = ("application/x-www-form-urlencoded", "application/octet-stream", "binary/octet-stream")
_OF_JSON: Final = b" \t\r\n{["


@dataclass(slots=True)
class Post:
    """A posted image, or a request with the tensor of one.

    Attributes:
        name: of the model.
        version: its number, where the client names one.
        label: the same for a label.
        head: of the request.
        json_length: bytes of the JSON at the beginning of a request's body; None for a posted image.
        body: the encoded image; of a request the whole body.
    """

    name: str
    version: int | None
    label: str | None
    head: Head
    json_length: int | None
    body: bytes = b""

    def header(self, name: str) -> str:
        """The value of a header, by its name in lower case; empty where there is none."""
        return self.head.headers.get(name, "")

    def spec(self, request_id: str | None) -> ModelSpec:
        """Which servable it asks for."""
        return ModelSpec(self.name, self.version, self.label, request_id)

    def is_usual(self, body: bytes) -> bool:
        """Whether its body, or what has come of it, looks like what its head announces."""
        if self.json_length is None:
            kind = self.header("content-type")
            return kind.startswith("image/") or body[:1] not in _OF_JSON
        return len(body) < self.json_length or len(_ONE_ROW.findall(body, 0, self.json_length)) == 1


def read(head: Head, max_body_bytes: int) -> Post | None:
    """Read what a head announces.

    Args:
        head: of a request.
        max_body_bytes: larger bodies are Flask's to refuse.

    Returns:
        The post, without its body; None for anything else.
    """
    if head.method != "POST" or not head.length or head.length > max_body_bytes:
        return None
    found = _TARGET.fullmatch(head.target)
    headers = head.headers
    if found is None or not _UNUSUAL.isdisjoint(headers):
        return None
    *of_image, name, version, label = found.groups()
    json_length = None
    if name is None:
        name, version, label = of_image
        kind = headers.get("content-type", "")
        if not kind.startswith("image/") and kind not in _VAGUE:
            return None
    else:
        stated = headers.get(_JSON_LENGTH, "")
        if not _LENGTH.fullmatch(stated) or headers.get("accept-encoding", "").lower() in _COMPRESSED:
            return None
        json_length = int(stated)
        if json_length > min(_LONGEST_JSON, head.length):
            return None
    return Post(name, None if version is None else int(version), label, head, json_length)
