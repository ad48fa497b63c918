"""Requests that servers are known to read differently, and what a strict reader does with each.

`expected` follows RFC 9110 and RFC 9112 read strictly; where they leave a choice (two equal lengths, a length beside
Transfer-Encoding), it is the one under which no proxy can see another request than we do. A coding that does not end in
`chunked` is 400 even if it is unknown: RFC 9112, 6.3 is a MUST, the 501 of 6.1 a SHOULD.
"""

from typing import Final, NamedTuple

# The connection closes after each answer to a head that is refused, whatever its status.
REFUSED: Final = "400 and close"
# The request is read, and the answer is the routes' to give.
TAKEN: Final = "taken"


class Case(NamedTuple):
    """One request.

    Attributes:
        name: what is unusual about it.
        data: all bytes that the client sends.
        expected: `REFUSED`, `TAKEN`, or the status of the answer.
        closes: of a request that is taken, whether the connection closes after its answer.
    """

    name: str
    data: bytes
    expected: str
    closes: bool = False


def _post(fields: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    """A POST with a Host, these field lines and this body."""
    return b"POST /v1/models/m:predict HTTP/" + version + b"\r\nHost: a\r\n" + fields + b"\r\n" + body


def _get(fields: bytes = b"Host: a\r\n", line: bytes = b"GET /v1/models/m HTTP/1.1") -> bytes:
    """A GET with this request line and these field lines."""
    return line + b"\r\n" + fields + b"\r\n"


def _chunked(body: bytes) -> bytes:
    """A POST with this body, framed as it stands."""
    return _post(b"Transfer-Encoding: chunked\r\n", body)


_TLS_HELLO: Final = bytes.fromhex("1603010200010001fc0303") + bytes(range(256)) + b"\x00\x20" + bytes(245)

LENGTHS: Final = [
    Case("a length", _post(b"Content-Length: 5\r\n", b"hello"), TAKEN),
    Case("no length", _post(b""), TAKEN),
    Case("length zero", _post(b"Content-Length: 0\r\n"), TAKEN),
    Case("length with a leading zero", _post(b"Content-Length: 05\r\n", b"hello"), TAKEN),
    Case("length after several spaces", _post(b"Content-Length:  \t5 \r\n", b"hello"), TAKEN),
    Case("length without a space", _post(b"Content-Length:5\r\n", b"hello"), TAKEN),
    Case("two equal lengths", _post(b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello"), REFUSED),
    Case("two lengths, larger first", _post(b"Content-Length: 5\r\nContent-Length: 1\r\n", b"hello"), REFUSED),
    Case("two lengths, smaller first", _post(b"Content-Length: 1\r\nContent-Length: 5\r\n", b"hello"), REFUSED),
    Case("length given as a list", _post(b"Content-Length: 5, 5\r\n", b"hello"), REFUSED),
    Case("length with a plus", _post(b"Content-Length: +5\r\n", b"hello"), REFUSED),
    Case("length below zero", _post(b"Content-Length: -1\r\n", b"hello"), REFUSED),
    Case("length in hexadecimal", _post(b"Content-Length: 0x5\r\n", b"hello"), REFUSED),
    Case("length with an underscore", _post(b"Content-Length: 1_0\r\n", b"hellohello"), REFUSED),
    Case("length with a fraction", _post(b"Content-Length: 5.0\r\n", b"hello"), REFUSED),
    Case("length of two words", _post(b"Content-Length: 5 5\r\n", b"hello"), REFUSED),
    Case("length in superscript", _post(b"Content-Length: \xb2\r\n", b"hello"), REFUSED),
    Case("empty length", _post(b"Content-Length:\r\n", b"hello"), REFUSED),
    Case("length of 10 TB", _post(b"Content-Length: 10000000000000\r\n", b"hello"), "413"),
    Case("length of 2**64 + 5", _post(b"Content-Length: 18446744073709551621\r\n", b"hello"), "413"),
    Case("length of 5,000 digits", _post(b"Content-Length: " + b"9" * 5000 + b"\r\n", b"hello"), "413"),
]

CODINGS: Final = [
    Case("chunks", _chunked(b"5\r\nhello\r\n0\r\n\r\n"), TAKEN),
    Case("coding in capitals", _post(b"Transfer-Encoding: CHUNKED\r\n", b"5\r\nhello\r\n0\r\n\r\n"), TAKEN),
    Case(
        "Transfer-Encoding, then a length",
        _post(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n"),
        REFUSED,
    ),
    Case(
        "a length, then Transfer-Encoding",
        _post(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
        REFUSED,
    ),
    Case("unknown coding", _post(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"), REFUSED),
    Case("coding in quotes", _post(b'Transfer-Encoding: "chunked"\r\n', b"0\r\n\r\n"), REFUSED),
    Case("coding after a vertical tab", _post(b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n"), REFUSED),
    Case("identity", _post(b"Transfer-Encoding: identity\r\n", b"hello"), REFUSED),
    Case("chunked twice in a field", _post(b"Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n"), REFUSED),
    Case(
        "chunked twice in two fields",
        _post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
        REFUSED,
    ),
    Case("chunked is not last", _post(b"Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n"), REFUSED),
    Case("unknown coding, then chunked", _post(b"Transfer-Encoding: x, chunked\r\n", b"0\r\n\r\n"), "501"),
    Case("gzip, then chunked", _post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"), "501"),
    Case("gzip only", _post(b"Transfer-Encoding: gzip\r\n", b"hello"), REFUSED),
    Case("empty coding", _post(b"Transfer-Encoding:\r\n", b"0\r\n\r\n"), REFUSED),
    Case("chunks in HTTP/1.0", _post(b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", b"1.0"), REFUSED),
]

CHUNKS: Final = [
    Case("chunk extensions", _chunked(b'5;a=b ; c="d;e"\r\nhello\r\n0;f\r\n\r\n'), TAKEN),
    Case("trailers", _chunked(b"5\r\nhello\r\n0\r\nDigest: x\r\n\r\n"), TAKEN),
    Case("chunk size in both cases", _chunked(b"00aA\r\n" + b"x" * 170 + b"\r\n0\r\n\r\n"), TAKEN),
    Case("chunk size with 0x", _chunked(b"0x5\r\nhello\r\n0\r\n\r\n"), REFUSED),
    Case("chunk size below zero", _chunked(b"-5\r\nhello\r\n0\r\n\r\n"), REFUSED),
    Case("chunk size with a plus", _chunked(b"+5\r\nhello\r\n0\r\n\r\n"), REFUSED),
    Case("chunk size with an underscore", _chunked(b"0_5\r\nhello\r\n0\r\n\r\n"), REFUSED),
    Case("space before a chunk size", _chunked(b" 5\r\nhello\r\n0\r\n\r\n"), REFUSED),
    Case("space after a chunk size", _chunked(b"5 \r\nhello\r\n0\r\n\r\n"), REFUSED),
    Case("empty chunk size", _chunked(b"\r\nhello\r\n0\r\n\r\n"), REFUSED),
    Case("chunk size of 2**64 + 5", _chunked(b"10000000000000005\r\nhello\r\n0\r\n\r\n"), REFUSED),
    Case("no CRLF after a chunk", _chunked(b"5\r\nhello0\r\n\r\n"), REFUSED),
    Case("two other bytes after a chunk", _chunked(b"5\r\nhelloXX0\r\n\r\n"), REFUSED),
    Case("bare LF after a chunk size", _chunked(b"5\nhello\r\n0\r\n\r\n"), REFUSED),
    Case("bare LF after a chunk", _chunked(b"5\r\nhello\n0\r\n\r\n"), REFUSED),
    Case("bare LF in an extension", _chunked(b"5;a\nb\r\nhello\r\n0\r\n\r\n"), REFUSED),
    Case("bare CR in an extension", _chunked(b"5;a\rb\r\nhello\r\n0\r\n\r\n"), REFUSED),
    Case("trailer without a colon", _chunked(b"5\r\nhello\r\n0\r\nDigest\r\n\r\n"), REFUSED),
    Case("space before a trailer's colon", _chunked(b"5\r\nhello\r\n0\r\nDigest : x\r\n\r\n"), REFUSED),
]

FIELDS: Final = [
    Case("space before the colon", _post(b"Content-Length : 5\r\n", b"hello"), REFUSED),
    Case(
        "length, and another one with a space before the colon",
        _post(b"Content-Length: 1\r\nContent-Length : 5\r\n", b"hello"),
        REFUSED,
    ),
    Case(
        "length, and bare LF before Transfer-Encoding",
        _post(b"Content-Length: 5\r\nX: b\nTransfer-Encoding: chunked\r\n", b"hello"),
        REFUSED,
    ),
    Case(
        "length, and bare CR before Transfer-Encoding",
        _post(b"Content-Length: 5\r\nX: b\rTransfer-Encoding: chunked\r\n", b"hello"),
        REFUSED,
    ),
    Case("length in a fold", _post(b"X: b\r\n Content-Length: 1\r\nContent-Length: 5\r\n", b"hello"), REFUSED),
    Case("length, and a folded field", _post(b"Content-Length: 5\r\nX: b\r\n c\r\n", b"hello"), REFUSED),
    Case("length, and NUL in a name", _post(b"Content-Length: 5\r\nX\x00: b\r\n", b"hello"), REFUSED),
    Case("length, and a line without a colon", _post(b"Content-Length: 5\r\nX\r\n", b"hello"), REFUSED),
    Case("tab before the colon", _post(b"Content-Length\t: 5\r\n", b"hello"), REFUSED),
    Case("bare LF at every line", b"GET /v1/models/m HTTP/1.1\nHost: a\n\n", REFUSED),
    Case("bare LF after the request line", b"GET /v1/models/m HTTP/1.1\nHost: a\r\n\r\n", REFUSED),
    Case("bare LF after a field", _get(b"Host: a\nX: b\r\n"), REFUSED),
    Case("bare LF as the empty line", b"GET /v1/models/m HTTP/1.1\r\nHost: a\r\n\n", REFUSED),
    Case("bare CR after a field", _get(b"Host: a\rX: b\r\n"), REFUSED),
    Case("bare CR in a value", _get(b"Host: a\r\nX: b\rc\r\n"), REFUSED),
    Case("CR twice", _get(b"Host: a\r\r\n"), REFUSED),
    Case("folded value", _get(b"Host: a\r\nX: b\r\n c\r\n"), REFUSED),
    Case("folded length", _post(b"Content-Length:\r\n 5\r\n", b"hello"), REFUSED),
    Case("first field begins with a space", _get(b" Host: a\r\n"), REFUSED),
    Case("NUL in a name", _get(b"Host: a\r\nX\x00Y: b\r\n"), REFUSED),
    Case("NUL in a value", _get(b"Host: a\r\nX: b\x00c\r\n"), REFUSED),
    Case("escape character in a value", _get(b"Host: a\r\nX: b\x1bc\r\n"), REFUSED),
    Case("DEL in a value", _get(b"Host: a\r\nX: b\x7fc\r\n"), REFUSED),
    Case("high byte in a name", _get(b"Host: a\r\nX\xe9: b\r\n"), REFUSED),
    Case("high bytes in a value", _get(b"Host: a\r\nX: caf\xc3\xa9 \xff\r\n"), TAKEN),
    Case("tab in a value", _get(b"Host: a\r\nX: b\tc\r\n"), TAKEN),
    Case("empty value", _get(b"Host: a\r\nX:\r\n"), TAKEN),
    Case("empty name", _get(b"Host: a\r\n: b\r\n"), REFUSED),
    Case("no colon", _get(b"Host: a\r\nX\r\n"), REFUSED),
    Case("parentheses in a name", _get(b"Host: a\r\nX(Y): b\r\n"), REFUSED),
    Case("same field twice", _get(b"Host: a\r\nX: b\r\nX: c\r\n"), TAKEN),
    Case("10,000 fields", _get(b"Host: a\r\n" + b"X: b\r\n" * 10_000), "431"),
    Case("field of 100 kB", _get(b"Host: a\r\nX: " + b"b" * 100_000 + b"\r\n"), "431"),
    Case("no Host", _get(b""), REFUSED),
    Case("no Host in HTTP/1.0", _get(b"", b"GET /v1/models/m HTTP/1.0"), TAKEN, closes=True),
    Case("empty Host", _get(b"Host:\r\n"), TAKEN),
    Case("two equal Hosts", _get(b"Host: a\r\nHost: a\r\n"), REFUSED),
    Case("two Hosts", _get(b"Host: a\r\nHost: b\r\n"), REFUSED),
    Case("Host of two words", _get(b"Host: a b\r\n"), REFUSED),
    Case("Host with a path", _get(b"Host: a/b\r\n"), REFUSED),
    Case("Connection: close", _get(b"Host: a\r\nConnection: close\r\n"), TAKEN, closes=True),
    Case("Connection: close, keep-alive", _get(b"Host: a\r\nConnection: close, keep-alive\r\n"), TAKEN, closes=True),
    Case("Connection: keep-alive, Close", _get(b"Host: a\r\nConnection: keep-alive, Close\r\n"), TAKEN, closes=True),
    Case("Connection twice", _get(b"Host: a\r\nConnection: x\r\nConnection: close\r\n"), TAKEN, closes=True),
    Case("HTTP/1.0", _get(line=b"GET /v1/models/m HTTP/1.0"), TAKEN, closes=True),
    Case("HTTP/1.0, keep-alive", _get(b"Host: a\r\nConnection: keep-alive\r\n", b"GET /v1/models/m HTTP/1.0"), TAKEN),
    Case("Expect with a body", _post(b"Expect: 100-continue\r\nContent-Length: 5\r\n", b"hello"), TAKEN),
    Case("Expect without a body", _get(b"Host: a\r\nExpect: 100-continue\r\n"), TAKEN),
    Case("Expect of something else", _get(b"Host: a\r\nExpect: tea\r\n"), "417"),
    Case("Upgrade", _get(b"Host: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"), TAKEN),
    Case(
        "Upgrade with a body",
        _post(b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n", b"hello"),
        TAKEN,
    ),
]

LINES: Final = [
    Case("absolute form", _get(line=b"GET http://a/v1/models/m HTTP/1.1"), TAKEN),
    Case("absolute form without a host", _get(line=b"GET http:///v1/models/m HTTP/1.1"), REFUSED),
    Case("absolute form of another scheme", _get(line=b"GET ftp://a/v1/models/m HTTP/1.1"), REFUSED),
    Case("asterisk", _get(line=b"OPTIONS * HTTP/1.1"), TAKEN),
    Case("asterisk for GET", _get(line=b"GET * HTTP/1.1"), REFUSED),
    Case("authority", _get(line=b"GET a:80 HTTP/1.1"), REFUSED),
    Case("CONNECT", _get(line=b"CONNECT a:80 HTTP/1.1"), "501"),
    Case("relative target", _get(line=b"GET v1/models/m HTTP/1.1"), REFUSED),
    Case("fragment in the target", _get(line=b"GET /v1/models/m#a HTTP/1.1"), REFUSED),
    Case("high byte in the target", _get(line=b"GET /v1/models/\xe9 HTTP/1.1"), REFUSED),
    Case("NUL in the target", _get(line=b"GET /v1/models/\x00 HTTP/1.1"), REFUSED),
    Case("tab in the target", _get(line=b"GET /v1/models/m\tx HTTP/1.1"), REFUSED),
    Case("space in the target", _get(line=b"GET /v1/models/m x HTTP/1.1"), REFUSED),
    Case("two spaces before the target", _get(line=b"GET  /v1/models/m HTTP/1.1"), REFUSED),
    Case("two spaces after the target", _get(line=b"GET /v1/models/m  HTTP/1.1"), REFUSED),
    Case("tabs for spaces", _get(line=b"GET\t/v1/models/m\tHTTP/1.1"), REFUSED),
    Case("space after the version", _get(line=b"GET /v1/models/m HTTP/1.1 "), REFUSED),
    Case("space before the method", _get(line=b" GET /v1/models/m HTTP/1.1"), REFUSED),
    Case("no target", _get(line=b"GET HTTP/1.1"), REFUSED),
    Case("target of 100 kB", _get(line=b"GET /" + b"a" * 100_000 + b" HTTP/1.1"), "414"),
    Case("unknown method", _get(line=b"FROBNICATE /v1/models/m HTTP/1.1"), TAKEN),
    Case("method in lower case", _get(line=b"get /v1/models/m HTTP/1.1"), TAKEN),
    Case("method of strange characters", _get(line=b"G!#~T /v1/models/m HTTP/1.1"), TAKEN),
    Case("method of characters not allowed", _get(line=b"G(E)T /v1/models/m HTTP/1.1"), REFUSED),
    Case("high byte in the method", _get(line=b"G\xc9T /v1/models/m HTTP/1.1"), REFUSED),
    Case("empty line before", b"\r\n" + _get(), TAKEN),
    Case("bare LF before", b"\n" + _get(), REFUSED),
    Case("HTTP/0.9", b"GET /v1/models/m\r\n", REFUSED),
    Case("HTTP/0.9 with fields", _get(line=b"GET /v1/models/m"), REFUSED),
    Case("HTTP/1.2", _get(line=b"GET /v1/models/m HTTP/1.2"), TAKEN),
    Case("HTTP/2.0", _get(line=b"GET /v1/models/m HTTP/2.0"), "505"),
    Case("HTTP/2's preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"),
    Case("version of two digits", _get(line=b"GET /v1/models/m HTTP/1.10"), REFUSED),
    Case("version in lower case", _get(line=b"GET /v1/models/m http/1.1"), REFUSED),
    Case("another protocol", _get(line=b"GET /v1/models/m ICAP/1.0"), REFUSED),
    Case("TLS", _TLS_HELLO, REFUSED),
    Case("PROXY protocol", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + _get(), REFUSED),
]

CASES: Final = [*LENGTHS, *CODINGS, *CHUNKS, *FIELDS, *LINES]
