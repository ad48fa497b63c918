"""Files of a form, kept in memory: they are no larger than a body may be, and a full disk must not cost a request."""

from io import BytesIO
from typing import IO, Any

from flask import Request


class InMemory(Request):
    """A request whose files never lie on the disk."""

    def _get_file_stream(self, *_: Any, **__: Any) -> IO[bytes]:
        return BytesIO()
