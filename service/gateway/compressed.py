"""Bodies that clients have compressed with gzip, as TensorFlow Serving takes them; limited by what comes out."""

import zlib
from typing import Any, Final

from flask import Flask, request

from service.errors import InvalidRequest, TooLarge, UnsupportedMedia

_STEP_BYTES: Final = 64 * 1024
_GZIP: Final = 16 + zlib.MAX_WBITS


def register(app: Flask) -> None:
    """Make the application take such bodies; its limit for a body counts before and after."""

    @app.before_request
    def decompress() -> None:
        encoding = request.environ.get("HTTP_CONTENT_ENCODING", "").strip().lower()
        if encoding in ("", "identity"):
            return
        if encoding not in ("gzip", "x-gzip"):
            raise UnsupportedMedia(f"Content-Encoding {encoding} is not taken; send gzip, or the body as it is.")
        limit = request.max_content_length
        if limit is not None and (request.content_length or 0) > limit:
            raise TooLarge(f"The compressed body has more than the {limit} bytes that are taken.")
        # Its length is not known before it is read.
        length = request.environ.pop("CONTENT_LENGTH", "")
        source = request.environ["wsgi.input"]
        request.environ["wsgi.input"] = _Gunzip(source, int(length) if length else None, limit)
        request.environ["wsgi.input_terminated"] = True


class _Gunzip:
    """A stream of what a gzip stream holds; never holds more than a step of it.

    Args:
        source: the compressed stream.
        length: bytes in it; None where it ends by itself.
        limit: bytes of it at most: some hold nothing.
    """

    def __init__(self, source: Any, length: int | None, limit: int | None) -> None:
        self._source = source
        self._left = length
        self._limit = limit
        self._read = 0
        self._stream = zlib.decompressobj(_GZIP)

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; none at the end.

        Raises:
            InvalidRequest: it is no gzip, or broken off.
            TooLarge: the compressed body is.
        """
        while not self._stream.eof:
            compressed = self._stream.unconsumed_tail or self._more()
            try:
                data = self._stream.decompress(compressed, max(size, 1) if size >= 0 else _STEP_BYTES)
            except zlib.error as error:
                raise InvalidRequest(f"The body is no gzip, as Content-Encoding says that it is: {error}.") from error
            if data:
                return data
        return b""

    def _more(self) -> bytes:
        wanted = _STEP_BYTES if self._left is None else min(_STEP_BYTES, self._left)
        compressed: bytes = self._source.read(wanted) if wanted else b""
        if not compressed:
            raise InvalidRequest("The compressed body is broken off.")
        self._read += len(compressed)
        if self._left is not None:
            self._left -= len(compressed)
        if self._limit is not None and self._read > self._limit:
            raise TooLarge(f"The compressed body has more than the {self._limit} bytes that are taken.")
        return compressed
