"""Who asks: closed loops from several processes, for rates, and clients that note every answer, for faults."""

import http.client
import multiprocessing
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np

from loadtests.raw import client

PATIENCE_S: Final = 60.0
_PAUSE_S: Final = 0.02


@dataclass(frozen=True)
class Load:
    """What a closed loop found: answers a second, their latencies, and requests that were answered 429."""

    rate: float
    p50_ms: float
    p99_ms: float
    refused: int

    def __str__(self) -> str:
        """In words."""
        refused = f", {self.refused} refused" if self.refused else ""
        return f"{self.rate:,.0f}/s, p50 {self.p50_ms:.1f} ms, p99 {self.p99_ms:.1f} ms{refused}"


class Generator:
    """Processes that load a service together, started once.

    Args:
        processes: how many; one makes some 30,000 requests a second.
    """

    def __init__(self, processes: int) -> None:
        """Start nothing yet."""
        self._processes = processes
        self._pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"))

    def load(self, port: int, requests: Sequence[bytes], connections: int, seconds: float) -> Load:
        """Keep so many requests on their way for so many seconds.

        Raises:
            GeneratorError: an answer other than 200 and 429, or none.
        """
        shares = [connections // self._processes + (n < connections % self._processes) for n in range(self._processes)]
        begun = [self._pool.submit(client.run, port, requests, share, seconds) for share in shares if share]
        runs = [each.result(PATIENCE_S + seconds) for each in begun]
        taken_ms = np.concatenate([np.array(run.latencies_s) * 1e3 for run in runs])
        if not len(taken_ms):
            raise client.GeneratorError(f"Nothing was answered within {seconds:g} s.")
        p50_ms, p99_ms = np.percentile(taken_ms, [50, 99])
        return Load(sum(run.rate for run in runs), float(p50_ms), float(p99_ms), sum(run.refused for run in runs))

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown(cancel_futures=True)


class Clients:
    """Clients that ask without a pause and note whatever is answered.

    Their threads end with `stop`, each after its answer; one that died would only ask no more.

    Args:
        port: of the service.
        path: that they post to.
        body: that they post.
        kind: its content type.
        number: of clients.
    """

    def __init__(self, port: int, *, path: str, body: bytes, kind: str, number: int) -> None:
        """Begin to ask."""
        self.seen: list[tuple[float, int, str]] = []  # when it was answered; status, 0 for none; what it said
        self._port, self._path, self._body, self._kind = port, path, body, kind
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(number)]
        for thread in self._threads:
            thread.start()

    def statuses(self, since_s: float = 0.0) -> Counter[int]:
        """How many answers of each status there were; 0 stands for connections that broke."""
        return Counter(status for at_s, status, _ in list(self.seen) if at_s >= since_s)

    def complaint(self) -> str:
        """What one of the answers said that were not 200; empty if all were."""
        return next((text for _, status, text in list(self.seen) if status != 200), "")

    def first(self, status: int, after_s: float) -> float | None:
        """When an answer of a status first came after a moment."""
        return next((at_s for at_s, each, _ in list(self.seen) if each == status and at_s > after_s), None)

    def stop(self) -> None:
        """Ask no more, and wait for what is on its way."""
        self._ending.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)
        while not self._ending.is_set():
            try:
                connection.request("POST", self._path, self._body, {"Content-Type": self._kind})
                response = connection.getresponse()
                text, status = response.read()[:200].decode("utf-8", "replace"), response.status
            except (OSError, http.client.HTTPException) as error:
                connection.close()  # it connects anew by itself
                text, status = repr(error), 0
            self.seen.append((time.monotonic(), status, "" if status == 200 else text))
            if status != 200:
                time.sleep(_PAUSE_S)
        connection.close()
