"""Whether a service loses a request while it stops or its workers change, under clients that never pause.

    .venv/bin/python -m loadtests.faults.drain

Serves `sign_language` and prints for each way how many requests were sent, answered with 200, and lost, over HTTP (with
connections kept alive and without) and over gRPC:

- `term`: one of two services behind a balancer that looks at `/readyz` is told to stop and drains;
- `hup`: SIGHUP replaces the workers;
- `usr2`: SIGUSR2 starts a successor on the same sockets, and the old process is told to stop once that is ready.

Exits with 1 when a request was lost, or a process did not end with 0.
"""

import contextlib
import http.client
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import click
import grpc

from loadtests.subject.pictures import drawings
from loadtests.subject.served import Served, served
from service import protocol

STORE: Final = Path(__file__).parents[2] / "model_store"
MODEL: Final = "sign_language"
DRAIN_S: Final = 2.0
_PATIENCE_S: Final = 120.0


class Balancer:
    """Sends to those services that say they are ready, one after the other."""

    def __init__(self, services: list[Served]) -> None:
        """Look at once, then five times a second until `stop`."""
        self._services = services
        self._ready = services
        self._turn = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def port(self) -> int:
        """Where the next connection goes."""
        self._turn += 1
        ready = self._ready
        return ready[self._turn % len(ready)].port

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(0.2):
            self._ready = [each for each in self._services if _is_ready(each.port)] or self._services


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class Clients:
    """Clients that never pause, and what became of their requests."""

    def __init__(self) -> None:
        """None has begun."""
        self.seen: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self._stop = threading.Event()
        self._lock = threading.Lock()

    def over_http(self, port: Callable[[], int], keep_alive: bool, picture: bytes) -> None:
        """Ask until told to stop; a connection that the service ended is made again, no request is sent again."""
        headers = {} if keep_alive else {"Connection": "close"}
        connection = http.client.HTTPConnection("127.0.0.1", port(), timeout=60)
        while not self._stop.is_set():
            try:
                connection.request("POST", f"/v1/models/{MODEL}:predict", picture, headers)
                response = connection.getresponse()
                response.read()
                self._note(response.status == 200, f"status {response.status}")
                if response.will_close:
                    connection = http.client.HTTPConnection("127.0.0.1", port(), timeout=60)
            except (OSError, http.client.HTTPException) as error:
                self._note(False, repr(error))
                connection.close()
                connection = http.client.HTTPConnection("127.0.0.1", port(), timeout=60)

    def over_grpc(self, address: str) -> None:
        """Ask for the state of the model until told to stop."""
        request = protocol.get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = MODEL
        while not self._stop.is_set():
            with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
                stub = protocol.model_service_pb2_grpc.ModelServiceStub(channel)
                for _ in range(200):
                    try:
                        stub.GetModelStatus(request, timeout=60)
                        self._note(True, "")
                    except grpc.RpcError as error:
                        self._note(False, f"gRPC: {error.code().name}: {error.details()}")

    def _note(self, answered: bool, reason: str) -> None:
        with self._lock:
            self.seen["sent"] += 1
            self.seen["answered" if answered else "lost"] += 1
            if not answered:
                self.reasons[reason] += 1

    @contextmanager
    def asking(self, count: int, port: Callable[[], int], keep_alive: bool, address: str = "") -> Iterator[None]:
        """So many of them ask by HTTP, and four by gRPC where there is an address, while the context lasts."""
        (picture,) = drawings(1)
        threads = [threading.Thread(target=self.over_http, args=(port, keep_alive, picture)) for _ in range(count)]
        if address:
            threads += [threading.Thread(target=self.over_grpc, args=(address,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            time.sleep(1.0)
            yield
            time.sleep(1.0)
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(_PATIENCE_S)


def term(clients: int, keep_alive: bool, flags: tuple[str, ...]) -> dict[str, object]:
    """Stop one of two services."""
    flags = (*flags, f"--drain-seconds={DRAIN_S}")
    asked = Clients()
    with ExitStack() as held:
        going, staying = (held.enter_context(served(STORE, flags)) for _ in range(2))
        balancer = Balancer([going, staying])
        held.callback(balancer.stop)
        with asked.asking(clients, balancer.port, keep_alive):
            began_s = time.monotonic()
            os.kill(going.pid, signal.SIGTERM)
            _wait_until(lambda: _state(going.pid) in ("Z", ""))
            took_s = time.monotonic() - began_s
    return _told(asked, stopped_after_s=round(took_s, 1))


def hup(clients: int, keep_alive: bool, flags: tuple[str, ...]) -> dict[str, object]:
    """Replace the workers, twice."""
    asked = Clients()
    with served(STORE, flags) as service, asked.asking(clients, lambda: service.port, keep_alive, service.grpc_address):
        for number in (1, 2):
            os.kill(service.pid, signal.SIGHUP)
            _wait_until(lambda: service.log.read_text().count("the old ones are stopping") == number)  # noqa: B023 - called at once
            time.sleep(4.0)
    return _told(asked)


def usr2(clients: int, keep_alive: bool, flags: tuple[str, ...]) -> dict[str, object]:
    """Start a successor, and stop the first process."""
    asked = Clients()
    with ExitStack() as held:
        service = held.enter_context(served(STORE, flags))
        clean = held.enter_context(ExitStack())
        held.enter_context(asked.asking(clients, lambda: service.port, keep_alive, service.grpc_address))
        os.kill(service.pid, signal.SIGUSR2)
        _wait_until(lambda: bool(_successors(service.pid)))
        (successor,) = _successors(service.pid)
        clean.callback(_end, successor)
        _wait_until(lambda: service.log.read_text().count(" Ready: ") == 2)
        os.kill(service.pid, signal.SIGTERM)
        _wait_until(lambda: _state(service.pid) in ("Z", ""))
        time.sleep(2.0)
    return _told(asked)


def _told(asked: Clients, **more: object) -> dict[str, object]:
    for reason, times in asked.reasons.most_common(5):
        click.echo(f"lost {times}: {reason}", err=True)
    return {"sent": asked.seen["sent"], "answered": asked.seen["answered"], "lost": asked.seen["lost"], **more}


def _successors(pid: int) -> list[int]:
    """Processes that another has started to follow it: gunicorn names it in their environment."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if f"GUNICORN_PID={pid}".encode() in _environment(int(child))]


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def _end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    _wait_until(lambda: _state(pid) in ("Z", ""))


def _state(pid: int) -> str:
    """`Z` for a process that has ended and is not waited for yet, nothing for one that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def _wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > until:
            raise click.ClickException("The service did not reach the expected state in time.")
        time.sleep(0.05)


WAYS: Final = {"term": term, "hup": hup, "usr2": usr2}


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--clients", default=32, show_default=True)
@click.option("--way", "ways", multiple=True, type=click.Choice(list(WAYS)), help="Only this one; all by default.")
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
def main(clients: int, ways: tuple[str, ...], flags: tuple[str, ...]) -> None:
    """Count the requests that are lost while a service stops or is replaced; FLAGS go to `signpost serve`."""
    lost = 0
    for way in ways or WAYS:
        for keep_alive in (True, False):
            found = WAYS[way](clients, keep_alive, flags)
            click.echo(json.dumps({"way": way, "keep_alive": keep_alive, "clients": clients, **found}))
            lost += int(str(found["lost"]))
    if lost:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
