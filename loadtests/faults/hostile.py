"""Requests that nobody should send: malformed in every part, drawn from a seed so that each can be sent again.

Most are nearly right, since what is wholly wrong is refused at the door. Nothing is sent from here.
"""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from loadtests.faults.hostile_infer import HostileInfer

_TYPES: Final = (
    "image/png", "image/jpeg", "image/", "application/json", "application/json; charset=utf-16", "application/x+json",
    "multipart/form-data; boundary=b", "multipart/form-data", "multipart/form-data; boundary=", "text/plain", "",
    "application/x-www-form-urlencoded", "application/octet-stream", "video/mp4", "a/b/c", "\xe4/\xf6", "x" * 300,
)  # fmt: skip
_NUMBERS: Final = (
    0, -1, 1, 255, 256, 2**31, -(2**63), 2**64, 10**400, 1e308, -0.0, 5e-324, float("nan"), float("inf"), 0.5, True,
)  # fmt: skip
_TEXTS: Final = (
    "", "a", "\x00", "\ud800", "\u202e", "ä" * 50, "1", "NaN", "../../etc/passwd", "x" * 5000, "AAAA", "{}", "\r\n",
    "serving_default", "instances", "b64",
)  # fmt: skip
_WORDS: Final = (
    "instances", "inputs", "b64", "signature_name", "examples", "context", "image", "scores", "x", "", "parameters",
    "datatype", "shape", "data", "outputs", "name",
)  # fmt: skip
_NAMES: Final = (
    "x", "..", "%00", "%2e%2e%2f", "a%0d%0ab", "%ff", "99999999999999999999999", "-1", "0", "%F0%9F%98%80", "x" * 1500,
    "{}", "$(id)", "'", "<script>", "a b", ":predict", "",
)  # fmt: skip


@dataclass(frozen=True)
class Request:
    """A request over HTTP; `path` and headers may hold anything that can be written as Latin-1."""

    method: str
    path: str
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = field(default=b"", repr=False)

    def raw(self) -> bytes:
        """It as it goes over the wire; the connection is closed after it."""
        head = f"{self.method} {self.path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        named = {name.lower() for name, _ in self.headers}
        if "content-length" not in named and "transfer-encoding" not in named:
            head += f"Content-Length: {len(self.body)}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in self.headers)
        return head.encode("latin-1", "replace") + b"\r\n" + self.body


class Hostile:
    """Draws requests.

    Args:
        random: what is drawn from.
        routes: methods and paths of the service, with `<…>` where anything may stand.
        model: a model that is served.
        image: an image that it takes.
    """

    def __init__(self, random: Random, routes: Sequence[tuple[str, str]], model: str, image: bytes) -> None:
        """Draw nothing yet."""
        self.random = random
        self._routes = routes
        self._model = model
        self._image = image
        self.infer = HostileInfer(random, model, image)
        self._bodies: tuple[Callable[[], tuple[str, bytes]], ...] = (
            self._noise, self._broken_image, self._broken_image, self._json, self._json, self._broken_json, self._form,
        )  # fmt: skip

    def request(self) -> Request:
        """A request; most go to the routes that run the model."""
        random = self.random
        if random.random() < 0.3:
            return self._of_infer()
        kind, body = random.choice(self._bodies)()
        if random.random() < 0.1:
            kind = random.choice(_TYPES)
        method, path = random.choice(self._routes) if random.random() < 0.25 else self._running()
        if random.random() < 0.05:
            method = random.choice(("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "X"))
        headers = [("Content-Type", kind)] if kind else []
        if random.random() < 0.3:
            headers.append(self._header())
        return Request(method, self._filled(path) + self._query(), headers, body)

    def raw(self) -> bytes:
        """Bytes as they go over the wire: mostly a request, sometimes broken before its body."""
        random = self.random
        raw = self.request().raw()
        if random.random() < 0.5:
            return raw
        head, _, body = raw.partition(b"\r\n\r\n")
        breaks: tuple[Callable[[], bytes], ...] = (
            lambda: self.mutated(head, 3) + b"\r\n\r\n" + body,
            lambda: head[: random.randrange(len(head))],
            lambda: head.replace(b"\r\n", b"\n") + b"\n\n" + body,
            lambda: (
                head + b"\r\nContent-Length: " + random.choice((b"-1", b"x", b"99999999999", b"5, 5")) + b"\r\n\r\n"
            ),
            lambda: head + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + self._chunks(body),
            lambda: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            lambda: random.randbytes(random.randrange(200)),
            lambda: head + b"\r\n" + b"X: y\r\n" * random.choice((10, 200, 2000)) + b"\r\n" + body,
        )
        return random.choice(breaks)()

    def mutated(self, data: bytes, most: int = 8) -> bytes:
        """A few bytes changed, cut out, repeated or put in."""
        random = self.random
        changed = bytearray(data)
        for _ in range(random.randint(1, most)):
            at = random.randrange(len(changed) + 1)
            way = random.randrange(4)
            if way == 0 and at < len(changed):
                changed[at] = random.randrange(256)
            elif way == 1:
                del changed[at : at + random.choice((1, 2, 20, len(changed)))]
            elif way == 2:
                changed[at:at] = changed[at : at + random.randrange(64)]
            else:
                changed[at:at] = random.randbytes(random.randrange(8))
        return bytes(changed)

    def value(self, depth: int = 4) -> Any:
        """A value of JSON."""
        random = self.random
        way = random.randrange(7 if depth else 4)
        if way <= 1:
            return random.choice(_NUMBERS)
        if way == 2:
            return random.choice(_TEXTS)
        if way == 3:
            return random.choice((None, True, False, [], {}))
        if way == 4:
            return {"b64": random.choice((self._encoded(self._image), self._encoded(b"x"), "!", 1, None, "é"))}
        if way == 5:
            return [self.value(depth - 1) for _ in range(random.randrange(4))]
        return {random.choice(_WORDS): self.value(depth - 1) for _ in range(random.randrange(4))}

    def _of_infer(self) -> Request:
        """A request of the Open Inference Protocol."""
        headers, body = self.infer.body()
        at = self.random.choice(("",) * 6 + ("/versions/<v>", "/versions/1"))
        sent = list(headers.items())
        if self.random.random() < 0.1:
            sent.append(self._header())
        if self.random.random() < 0.3:
            body = self.mutated(body)
        return Request("POST", self._filled(f"/v2/models/{self._model}{at}/infer"), sent, body)

    def _running(self) -> tuple[str, str]:
        at = self.random.choice(("",) * 6 + ("/versions/<v>", "/labels/<l>", "/versions/1"))
        verb = self.random.choice(("predict",) * 8 + ("classify", "regress", "explain", ""))
        return "POST", f"/v1/models/{self._model}{at}:{verb}"

    def _filled(self, path: str) -> str:
        while "<" in path:
            before, _, rest = path.partition("<")
            after = rest.partition(">")[2]
            name = self._model if self.random.random() < 0.5 else self.random.choice(_NAMES)
            path = before + name.replace("<", "%3C") + after
        return path.replace("%3C", "<")

    def _query(self) -> str:
        if self.random.random() < 0.8:
            return ""
        names = ("top_k", "key", "", "top_k&top_k")
        return f"?{self.random.choice(names)}={self.random.choice((*_NAMES, '1', '3', '1e5', '%C2%B2', '%D9%A3'))}"

    def _header(self) -> tuple[str, str]:
        names = (
            "X-Request-ID", "X-Request-Deadline-Ms", "Content-Encoding", "Accept", "Range", "Authorization",
            "X-API-Key", "If-None-Match", "Inference-Header-Content-Length", "traceparent", "Origin", "Host", "Expect",
        )  # fmt: skip
        values = ("", "-1", "0", "1", "nan", "1e400", "gzip", "*/*", "bytes=0-", "Bearer x", "\xff", "a" * 4000, "a,b")
        return self.random.choice(names), self.random.choice(values)

    def _noise(self) -> tuple[str, bytes]:
        return self.random.choice(_TYPES), self.random.randbytes(self.random.choice((0, 1, 10, 3000, 60_000)))

    def _broken_image(self) -> tuple[str, bytes]:
        return "image/png", self.mutated(self._image)

    def _json(self) -> tuple[str, bytes]:
        random = self.random
        document = (
            self.value() if random.random() < 0.3 else {random.choice(_WORDS[:6]): self.value() for _ in range(2)}
        )
        if random.random() < 0.1:
            depth = random.choice((50, 100, 5000))
            return "application/json", b'{"instances":' + b"[" * depth + b"]" * depth + b"}"
        return "application/json", json.dumps(document if random.random() < 0.7 else self.value()).encode()

    def _broken_json(self) -> tuple[str, bytes]:
        encoded = json.dumps({"instances": [{"b64": self._encoded(self._image)}, self.value()]}).encode()
        return "application/json", self.mutated(encoded)

    def _form(self) -> tuple[str, bytes]:
        random = self.random
        end = random.choice((b"\r\n", b"\r\n", b"\n"))
        parts = []
        for _ in range(random.choice((0, 1, 2, 5, 400))):
            kind = random.choice(
                (b'form-data; name="f"; filename="a"', b'form-data; name="f"', b"", b'x; filename="\xff')
            )
            content = random.choice((self._image, b"", random.randbytes(50), self.mutated(self._image)))
            parts.append(b"--b" + end + b"Content-Disposition: " + kind + end + end + content + end)
        body = b"".join(parts) + random.choice((b"--b--" + end, b"--b", b""))
        return "multipart/form-data; boundary=b", body if random.random() < 0.5 else self.mutated(body)

    def _chunks(self, body: bytes) -> bytes:
        size = self.random.choice((b"%x" % len(body), b"-1", b"zz", b"ffffffffffffffff", b""))
        return size + b"\r\n" + body + b"\r\n" + self.random.choice((b"0\r\n\r\n", b"0\r\n", b"0\r\nX: y\r\n\r\n"))

    @staticmethod
    def _encoded(data: bytes) -> str:
        return base64.b64encode(data).decode()
