"""The generator's own floor: the same requests, sent to a server that does nothing.

What it can't send to a server that answers at once, it can't send to any; and what it measures there is its own.
"""

import asyncio
import multiprocessing
from collections.abc import Mapping
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from loadtests.load import generator
from loadtests.plan import objective
from loadtests.plan.plan import Plan
from loadtests.plan.shapes import Stage
from loadtests.results import records
from loadtests.subject import target

_ANSWER: Final = b'{"predictions":[]}'
_ALONE: Final = Stage(0.0, 1.0, 1, 1)
_TOGETHER: Final = Stage(1.0, 1.5, 16, 16)
_SETTLED_S: Final = 0.2  # of each stage, for connections to be made
_PATIENCE_S: Final = 30.0


def measure(plan: Plan, folder: Path) -> dict[str, float] | None:
    """Run one process of the generator against a server that answers at once.

    Args:
        plan: of the real run; the same HTTP requests are sent.
        folder: an empty one for the records.

    Returns:
        `rate`, requests per second that one process sends at most, and `p50_s` and `p99_s` of a lone user; None where
        all goes over gRPC.
    """
    kinds = tuple(kind for kind in plan.kinds if kind.way != "grpc")
    if not kinds:
        return None
    pages = {
        path: target.get(plan.url, path) for path in (f"/v1/models/{quote(k.model, safe='')}/metadata" for k in kinds)
    }
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, pages), daemon=True)
    process.start()
    try:
        if not mine.poll(_PATIENCE_S):
            return None
        trivial = replace(
            plan, url=f"http://127.0.0.1:{mine.recv()}", kinds=kinds, stages=(_ALONE, _TOGETHER), arrivals="closed",
            users=int(_TOGETHER.first), processes=1, folder=str(folder),
        )  # fmt: skip
        found = generator.run(trivial, lambda *_: None)
    finally:
        process.terminate()
        process.join()
    alone = found[(found["due"] > _SETTLED_S) & (found["due"] < _ALONE.end_s)]
    together = found[found["due"] > _TOGETHER.begin_s + _SETTLED_S]
    latencies = records.latencies_s(alone)
    return {
        "rate": len(together) / (_TOGETHER.seconds - _SETTLED_S),
        "p50_s": objective.percentile(latencies, 50),
        "p99_s": objective.percentile(latencies, 99),
    }


def _serve(pipe: Connection, pages: Mapping[str, bytes]) -> None:
    asyncio.run(_listen(pipe, pages))


async def _listen(pipe: Connection, pages: Mapping[str, bytes]) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Trivial(pages), "127.0.0.1", 0)
    pipe.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


class _Trivial(asyncio.Protocol):
    """Answers any POST at once, and a GET with the page that it was given."""

    def __init__(self, pages: Mapping[str, bytes]) -> None:
        self._pages = pages
        self._came = bytearray()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._came += data
        while (end := self._came.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._came[:end])
            at = head.lower().find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._came) < end + 4 + length:
                return
            del self._came[: end + 4 + length]
            verb, path = head.decode("latin-1").split(" ", 2)[:2]
            body = _ANSWER if verb == "POST" else self._pages.get(path, b"{}")
            self._transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
            )
