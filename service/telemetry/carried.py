"""What goes along with a request from process to process: its ID, what is left of its time, its place in a trace.

A call that joins several requests carries all their IDs, separated by commas, and the trace of the first.
"""

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from service.errors import InvalidRequest
from service.interface import Call

Metadata = Sequence[tuple[str, str]]

REQUEST_ID: Final = "x-request-id"
# gRPC has a deadline of its own; a proxy that ends the call and makes another one may not pass it on.
DEADLINE: Final = "x-request-deadline-ms"

_ONE: Final = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)
_SEVERAL: Final = re.compile(r"[\w.:/+=@-]{1,128}(?:,[\w.:/+=@-]{1,128})*", re.ASCII)
# gRPC takes 8 KB of metadata; the IDs of a large batch may take half of it.
_LONGEST: Final = 4096


def request_id_of(sent: str) -> str:
    """The ID that an HTTP client sent, or a new one where it could do harm in a log or a header."""
    return sent if _ONE.fullmatch(sent) else secrets.token_hex(16)


def request_id_in(metadata: Mapping[str, str]) -> str:
    """The ID of a gRPC call, or the IDs of the requests that it joins; a new one where it brings none."""
    sent = metadata.get(REQUEST_ID, "")
    return sent if len(sent) <= _LONGEST and _SEVERAL.fullmatch(sent) else secrets.token_hex(16)


def time_left(seconds: float) -> tuple[str, str]:
    """What tells a peer how many seconds are left of a call that is sent now."""
    return DEADLINE, str(max(1, int(seconds * 1e3)))


def milliseconds_in(text: str, name: str) -> int:
    """What a client says in a header or in metadata of this name, about how long it waits.

    Raises:
        InvalidRequest: it is not a whole number of at least 1.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 12 and int(text) > 0):
        raise InvalidRequest(f"{name} must be a whole number of milliseconds, at least 1, not {text[:40]!r}.")
    return int(text)


def as_mapping(metadata: Iterable[Any] | None) -> dict[str, str]:
    """A call's metadata that are text, by name; of several with one name the last."""
    return {key: value for key, value in metadata or () if isinstance(value, str)}


def carried(calls: Iterable[Call]) -> list[tuple[str, str]]:
    """What goes along with a call that joins these: as many of their IDs as fit, and the first trace."""
    ids: dict[str, None] = {}  # a request may be in it with several slices
    trace: Metadata = ()
    length = 0
    for call in calls:
        trace = trace or call.trace
        if call.request_id and call.request_id not in ids and length + len(call.request_id) < _LONGEST:
            ids[call.request_id] = None
            length += len(call.request_id) + 1
    return [*([(REQUEST_ID, ",".join(ids))] if ids else []), *trace]
