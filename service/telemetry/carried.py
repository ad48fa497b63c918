"""What goes along with a request from process to process: its ID, and where it belongs to in a trace.

A call that joins several requests carries all their IDs, with commas between them, and the trace of the first.
"""

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from service.interface import Call

Metadata = Sequence[tuple[str, str]]

REQUEST_ID: Final = "x-request-id"

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
