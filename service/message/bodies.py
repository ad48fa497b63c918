"""The body of a request, read as it comes: by its length, or in chunks (RFC 9112, 6 and 7.1)."""

import re
from collections.abc import Callable, Iterator
from typing import Final

from service.errors import InvalidRequest

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_QUOTED: Final = rb"\"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*+\""
_SIZE: Final = re.compile(
    rb"([0-9A-Fa-f]{1,15})(?:[ \t]*+;[ \t]*+" + _TOKEN + rb"++"
    rb"(?:[ \t]*+=[ \t]*+(?:" + _TOKEN + rb"++|" + _QUOTED + rb"))?+)*+\r\n"
)
_TRAILERS: Final = re.compile(rb"(?:" + _TOKEN + rb"++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+\r\n")
# Bytes of a chunk's first line, and of all trailers, at most.
_LONGEST_LINE: Final = 4096
_LONGEST_TRAILERS: Final = 8192
_STEP: Final = 128 * 1024

# Receives up to so many bytes; none if the client sends no more.
Receive = Callable[[int], bytes]


class Body:
    """A stream of a request's body, as WSGI (PEP 3333) has them; waits for the client by `receive`.

    Args:
        came: what was received of it, and perhaps of what follows it.
        length: bytes of it; None if it comes in chunks.
        receive: called for more.
        before_waiting: called once, before the first wait for more; None if the client sends it all by itself.

    Attributes:
        rest: what was received beyond its end, once it has ended.
        broken: whether nobody knows where the next request begins.
    """

    def __init__(
        self, came: bytes, length: int | None, receive: Receive, before_waiting: Callable[[], None] | None = None
    ) -> None:
        """Read nothing yet."""
        self.broken = False
        self.rest = b""
        self._came = came
        self._left = length  # None: in chunks
        self._receive = receive
        self._before_waiting = before_waiting
        self._pieces = self._of_chunks() if length is None else self._of_length(length)
        self._piece: bytes | memoryview = b""
        self._ended = False

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, or all; none at its end.

        Raises:
            InvalidRequest: it can't be read, or the client closed the connection before its end.
            TooSlow: the client takes longer than it may.
        """
        if size is None or size < 0:
            return b"".join(self._all())
        if not self._piece:
            self._piece = next(self._pieces, b"")
        taken = self._piece[:size]
        self._piece = memoryview(self._piece)[size:]
        return bytes(taken)

    def readline(self, size: int = -1) -> bytes:
        """Up to the next line's end; PEP 3333 wants it."""
        line = bytearray()
        while len(line) != size and (byte := self.read(1)):
            line += byte
            if byte == b"\n":
                break
        return bytes(line)

    def readlines(self, hint: int = -1) -> list[bytes]:
        """All lines; PEP 3333 wants it."""
        del hint
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        """Line by line."""
        while line := self.readline():
            yield line

    def ends_within(self, most: int) -> bool:
        """Whether at most so many bytes of it are still to be received, and the client is sending them."""
        if self._ended or self.broken or self._left is None:
            return self._ended
        missing = self._left - len(self._came)
        return missing <= 0 or (missing <= most and self._before_waiting is None)

    def skip(self, most: int) -> bool:
        """Receive what is left of it, if that is at most so many bytes; whether its end was met."""
        if not self.ends_within(most):
            return False
        for _ in self._pieces:
            pass
        return self._ended

    def _all(self) -> Iterator[bytes | memoryview]:
        if self._piece:
            yield self._piece
            self._piece = b""
        yield from self._pieces

    def _more(self, size: int) -> bytes:
        if self._before_waiting is not None:
            self._before_waiting()
            self._before_waiting = None
        try:
            data = self._receive(size)
        except BaseException:
            self.broken = True
            raise
        if not data:
            raise self._wrong("is truncated")
        return data

    def _wrong(self, how: str) -> InvalidRequest:
        self.broken = True
        return InvalidRequest(f"The request's body {how}.")

    def _of_length(self, length: int) -> Iterator[bytes]:
        data, self._came = self._came, b""
        if len(data) > length:
            data, self.rest = data[:length], data[length:]
        while True:
            length -= len(data)
            self._left = length
            self._ended = not length
            if data:
                yield data
            if not length:
                return
            data = self._more(min(length, _STEP))

    def _of_chunks(self) -> Iterator[bytes]:
        data, self._came = self._came, b""
        while True:
            while (found := _SIZE.match(data)) is None:
                if b"\n" in data[:_LONGEST_LINE] or len(data) >= _LONGEST_LINE:
                    raise self._wrong("has a chunk whose first line can't be read")
                data += self._more(_STEP)
            data = data[found.end() :]
            left = int(found[1], 16)
            if not left:
                break
            while left:
                piece = data[:left] or self._more(min(left, _STEP))
                data = data[left:]
                left -= len(piece)
                yield piece
            while len(data) < 2:
                data += self._more(_STEP)
            if data[:2] != b"\r\n":
                raise self._wrong("has a chunk whose size is not the one it declares")
            data = data[2:]
        while (found := _TRAILERS.match(data)) is None:
            if len(data) >= _LONGEST_TRAILERS or b"\r\n\r\n" in data or re.search(rb"(?<!\r)\n", data):
                raise self._wrong("has trailers that can't be read")
            data += self._more(_STEP)
        self.rest = data[found.end() :]
        self._ended = True
