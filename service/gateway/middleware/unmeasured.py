"""Bodies whose size nobody knows before they are read: in chunks, or compressed with gzip or deflate."""

import zlib
from typing import Any, Final

from flask import Flask, request

from service.errors import InvalidRequest, TooLarge, UnsupportedMedia

_STEP_BYTES: Final = 64 * 1024
# How zlib is told the format; deflate in HTTP is that of zlib (RFC 9110, 8.4.1.2).
_WINDOWS: Final = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


def register(app: Flask) -> None:
    """Make the application count such bodies as they come, and what comes out of them."""

    @app.before_request
    def count() -> None:
        encoding = request.environ.get("HTTP_CONTENT_ENCODING", "").strip().lower()
        if encoding in ("", "identity"):
            if "HTTP_TRANSFER_ENCODING" in request.environ:
                _replace(request.environ["wsgi.input"])
            return
        if encoding not in _WINDOWS:
            raise UnsupportedMedia(
                f"Content-Encoding {encoding} is not supported; send gzip or deflate, or the body uncompressed."
            )
        limit = request.max_content_length
        if limit is not None and (request.content_length or 0) > limit:
            raise TooLarge(f"The compressed body has more than the {limit} bytes that are allowed.")
        length = request.environ.pop("CONTENT_LENGTH", "")
        request.environ["wsgi.input_terminated"] = True
        _replace(_Unpacked(request.environ["wsgi.input"], encoding, int(length) if length else None, limit))


def _replace(stream: Any) -> None:
    """Have the body read from a stream, up to the limit."""
    limit = request.max_content_length
    if limit is not None:
        stream = _Counted(stream, limit)
        request.max_content_length = limit + 1  # Werkzeug takes what is longer for the end of the body
    request.environ["wsgi.input"] = stream


class _Counted:
    """A stream that is an error beyond a limit."""

    def __init__(self, source: Any, limit: int) -> None:
        self._source = source
        self._limit = limit
        self._read = 0

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; none at the end.

        Raises:
            TooLarge: there are more than the limit.
        """
        data: bytes = self._source.read(size)
        self._read += len(data)
        if self._read > self._limit:
            raise TooLarge(
                f"The body has more than the {self._limit} bytes that are allowed; send fewer or smaller images."
            )
        return data


class _Unpacked:
    """A stream of what a compressed stream holds; never holds more than a step of it.

    Args:
        source: the compressed stream.
        encoding: how it is compressed.
        length: bytes in it; None where it ends by itself.
        limit: bytes of it at most: some hold nothing.
    """

    def __init__(self, source: Any, encoding: str, length: int | None, limit: int | None) -> None:
        self._source = source
        self._encoding = encoding
        self._left = length
        self._limit = limit
        self._read = 0
        self._stream = zlib.decompressobj(_WINDOWS[encoding])

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; none at the end.

        Raises:
            InvalidRequest: it is not what it is said to be, or truncated.
            TooLarge: the compressed body is.
        """
        while not self._stream.eof:
            compressed = self._stream.unconsumed_tail or self._more()
            try:
                data = self._stream.decompress(compressed, max(size, 1) if size >= 0 else _STEP_BYTES)
            except zlib.error as error:
                raise InvalidRequest(
                    f"The body is not {self._encoding}, although Content-Encoding says so: {error}."
                ) from error
            if data:
                return data
        return b""

    def _more(self) -> bytes:
        wanted = _STEP_BYTES if self._left is None else min(_STEP_BYTES, self._left)
        compressed: bytes = self._source.read(wanted) if wanted else b""
        if not compressed:
            raise InvalidRequest("The compressed body is truncated.")
        self._read += len(compressed)
        if self._left is not None:
            self._left -= len(compressed)
        if self._limit is not None and self._read > self._limit:
            raise TooLarge(f"The compressed body has more than the {self._limit} bytes that are allowed.")
        return compressed
