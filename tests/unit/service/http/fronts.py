"""A front in a thread of this process, with an engine that needs no TensorFlow, and clients that speak raw bytes."""

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from service.admission import FrontQueue
from service.config.settings import Settings
from service.gateway import create_app
from service.gateway.middleware.unrouted import Unrouted
from service.http.front import Front, Parts
from service.parts.connection_counts import ConnectionCounts
from service.security import access
from service.telemetry.metrics import Metrics
from tests.fakes import FakeEngine

PATIENCE_S = 60.0


@dataclass
class Service:
    """What workers share."""

    connections: ConnectionCounts = field(default_factory=lambda: ConnectionCounts(1))
    draining: bool = False


@dataclass
class Running:
    """A front that runs, and what it is made of."""

    port: int
    front: Front
    service: Service
    metrics: Metrics
    queue: FrontQueue
    engine: FakeEngine
    stop: threading.Event

    @contextlib.contextmanager
    def client(self) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S) as made:
            yield made

    def ask(self, *sent: bytes) -> list["Told"]:
        """Send bytes, and read answers until the service closes; the last request should have it do so."""
        with self.client() as client:
            for each in sent:
                client.sendall(each)
            return read_answers(client)

    def counted(self, name: str) -> dict[tuple[str, ...], float]:
        """The samples of a metric that are not 0, by the values of their labels."""
        return {
            tuple(value for _, value in sorted(sample.labels.items())): sample.value
            for family in self.metrics.collect()
            for sample in family.samples
            if sample.name == name and sample.value
        }


@dataclass
class Told:
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str:
        return str(json.loads(self.body)["error"])


def read_answers(client: socket.socket, most: int | None = None) -> list[Told]:
    """Answers up to the end of the connection, or so many."""
    found: list[Told] = []
    with client.makefile("rb") as file, contextlib.suppress(ConnectionResetError):
        while len(found) != most and (line := file.readline()):
            status = int(line.split()[1])
            headers: dict[str, str] = {}
            while (line := file.readline().strip()) != b"":
                name, _, value = line.decode("latin-1").partition(": ")
                headers[name.lower()] = value
            if status != 100:
                found.append(Told(status, headers, file.read(int(headers.get("content-length", 0)))))
    return found


@contextlib.contextmanager
def running(
    engine: FakeEngine,
    settings: Settings,
    *,
    has_express: bool = True,
    tls: Callable[[], ssl.SSLContext] | None = None,
    queue: FrontQueue | None = None,
) -> Iterator[Running]:
    """A front that takes connections at 127.0.0.1."""
    metrics, service, stop = Metrics(engine), Service(), threading.Event()
    app = create_app(settings, engine, metrics, admits=access.read(settings).access())
    queue = queue or FrontQueue(settings.threads)
    parts = Parts(
        settings=settings,
        service=service,
        app=app,
        queue=queue,
        unrouted=Unrouted(metrics, settings.access_log),
        express=app.extensions["express"] if has_express else None,
        tls=tls,
        most_connections=settings.max_connections,
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        front = Front(parts, [listening], service.connections.reserve())

        def run() -> None:
            while not stop.is_set():
                front.turn(0.05)
            front.stop()
            for _ in range(100):
                front.turn(0.05)
                if not front.is_busy:
                    break
            front.close()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield Running(listening.getsockname()[1], front, service, metrics, queue, engine, stop)
        finally:
            stop.set()
            front.wake()
            thread.join(PATIENCE_S)
        assert not thread.is_alive()
