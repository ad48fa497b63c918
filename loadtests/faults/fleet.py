"""Whether engines behind one name share the calls, and what is lost when one is killed and another joins.

    .venv/bin/python -m loadtests.faults.fleet

Starts three `signpost serve` on 127.0.0.2 to 127.0.0.4 that serve `sign_language`, and a gateway's remote engine before
them that asks for `dns:NAME:PORT`; the addresses of the name are the script's to change. Clients that never pause then
ask for one image at a time, while

- `shares`: of ten seconds' calls each engine should answer 25 to 42 %;
- `killed`: one engine is killed, and its address stays for three seconds more. Nothing should be lost but what it was
  running: of each client one request at most, begun before its sockets were closed;
- `joined`: a fourth engine on 127.0.0.5 gets the name too, and should answer within ten seconds.

Exits with 1 when one of these is not so.
"""

import json
import os
import re
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click
import numpy as np

from loadtests.subject.served import Served, served
from service.engine.batching.parameters import BatchingParameters
from service.engine.remote.engine import RemoteEngine
from service.errors import SignpostError
from service.interface import DEFAULT_SIGNATURE, Call, ModelSpec

STORE: Final = Path(__file__).parents[2] / "model_store"
MODEL: Final = "sign_language"
NAME: Final = "engines.test"
SHARES: Final = (0.25, 0.42)
JOIN_S: Final = 10.0
# Seconds for which the system closes the sockets of a process that was killed; what is sent to it meanwhile is lost.
DYING_S: Final = 0.5
_PATIENCE_S: Final = 60.0
_REQUEST_S: Final = 30.0
# As a gateway worker has them, see `service.parts.engines`.
_PARAMETERS: Final = BatchingParameters(num_batch_threads=2)
_CALLS: Final = re.compile(r'^signpost_requests_total\{.*PredictionService/Predict".*status="OK".*\} (\S+)$', re.M)


@dataclass
class Clients:
    """What became of the requests: when each that was lost had begun, and why."""

    answered: int = 0
    lost: list[tuple[float, str]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, engine: RemoteEngine) -> None:
        """Ask until told to stop; no request is sent again."""
        with engine.lease(ModelSpec(MODEL)) as servable:
            size = servable.signatures[DEFAULT_SIGNATURE].image
        assert size is not None
        image = np.zeros((1, size.height, size.width, size.channels), np.uint8)
        while not self.stop.is_set():
            began_s = time.monotonic()
            try:
                with engine.lease(ModelSpec(MODEL)) as servable:
                    servable.predict({"image": image}, Call(began_s + _REQUEST_S))
            except SignpostError as error:
                with self.lock:
                    self.lost.append((began_s, str(error)))
            else:
                with self.lock:
                    self.answered += 1


@contextmanager
def asking(engine: RemoteEngine, count: int) -> Iterator[Clients]:
    """So many clients ask while the context lasts."""
    clients = Clients()
    threads = [threading.Thread(target=clients.run, args=(engine,)) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield clients
    finally:
        clients.stop.set()
        for thread in threads:
            thread.join(_PATIENCE_S)


class Fleet:
    """Engines behind a name."""

    def __init__(self, held: ExitStack, flags: tuple[str, ...]) -> None:
        """None runs yet; `held` stops them."""
        self._held = held
        self._flags = flags
        with socket.create_server(("127.0.0.2", 0)) as free:
            self.port = free.getsockname()[1]
        self.engines: dict[str, Served] = {}
        self.addresses: list[str] = []

    def add(self, host: str, to_name: bool = True) -> None:
        """Start an engine; the name has its address from then on, or once it is added to `addresses`."""
        only = (f"--model_name={MODEL}", f"--model_base_path={STORE / MODEL}")
        flags = (f"--host={host}", f"--port={self.port}", "--workers=1", "--engine=local", *only, *self._flags)
        self.engines[host] = self._held.enter_context(served(STORE, flags))
        if to_name:
            self.addresses.append(self.at(host))

    def at(self, host: str) -> str:
        """The address of an engine."""
        return f"{host}:{self.port}"

    def resolve(self, _name: str, _port: int) -> list[str]:
        """The addresses of the name now."""
        return list(self.addresses)

    def calls(self, host: str) -> int:
        """Predict calls that an engine has answered."""
        url = f"http://{host}:{self.engines[host].port}/metrics"
        with urllib.request.urlopen(url, timeout=_PATIENCE_S) as answer:
            return sum(int(float(number)) for number in _CALLS.findall(answer.read().decode()))


def shares(fleet: Fleet, seconds: float) -> dict[str, float]:
    """The part of the calls that each engine answers, in so many seconds."""
    before = {host: fleet.calls(host) for host in fleet.engines}
    time.sleep(seconds)
    calls = {host: fleet.calls(host) - before[host] for host in fleet.engines}
    return {host: round(count / max(1, sum(calls.values())), 3) for host, count in calls.items()}


def killed(fleet: Fleet, clients: Clients, host: str) -> dict[str, Any]:
    """What is lost when an engine is killed."""
    before = len(clients.lost)
    killed_s = time.monotonic()
    for pid in fleet.engines[host].processes():  # the command first, so that it starts no other worker
        os.kill(pid, signal.SIGKILL)
    time.sleep(3.0)
    fleet.addresses.remove(fleet.at(host))
    time.sleep(3.0)
    lost = clients.lost[before:]
    for reason in sorted({reason for _, reason in lost}):
        click.echo(f"lost: {reason}", err=True)
    latest_s = max((began_s - killed_s for began_s, _ in lost), default=0.0)
    return {"lost": len(lost), "latest_began_s_after": round(latest_s, 3)}


def joined(fleet: Fleet, host: str) -> float:
    """Seconds from when the name has one engine more until that has answered a call."""
    added_s = time.monotonic()
    fleet.addresses.append(fleet.at(host))
    wait_until(lambda: fleet.calls(host) > 0)
    return round(time.monotonic() - added_s, 1)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, a bounded time."""
    until_s = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > until_s:
            raise click.ClickException("The fleet did not reach the expected state in time.")
        time.sleep(0.1)


def measure(clients: int, seconds: float, flags: tuple[str, ...] = ()) -> dict[str, Any]:
    """All figures.

    Args:
        clients: that never pause.
        seconds: in which the shares are counted.
        flags: of each `signpost serve`.
    """
    with ExitStack() as held:
        fleet = Fleet(held, flags)
        for host in ("127.0.0.2", "127.0.0.3", "127.0.0.4"):
            fleet.add(host)
        engine = RemoteEngine([f"dns:{NAME}:{fleet.port}"], _PARAMETERS, resolve=fleet.resolve)
        with closing(engine):
            engine.start()
            wait_until(lambda: engine.status().ready)
            with asking(engine, clients) as asked:
                shared = shares(fleet, seconds)
                fell = killed(fleet, asked, "127.0.0.4")
                fleet.add("127.0.0.5", to_name=False)
                after_s = joined(fleet, "127.0.0.5")
    return {
        "clients": clients,
        "answered": asked.answered,
        "shares": shared,
        "killed": fell,
        "lost_else": len(asked.lost) - fell["lost"],
        "joined_after_s": after_s,
    }


def wrong(figures: dict[str, Any]) -> list[str]:
    """Which of the figures are not what they should be."""
    fell, shared = figures["killed"], figures["shares"].values()
    is_right = {
        "shares": all(SHARES[0] <= share <= SHARES[1] for share in shared),
        "killed": fell["lost"] <= figures["clients"] and fell["latest_began_s_after"] < DYING_S,
        "lost_else": figures["lost_else"] == 0,
        "joined_after_s": figures["joined_after_s"] <= JOIN_S,
    }
    return [name for name, right in is_right.items() if not right]


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--clients", default=32, show_default=True)
@click.option("--seconds", default=10.0, show_default=True, help="Seconds over which the shares are counted.")
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
def main(clients: int, seconds: float, flags: tuple[str, ...]) -> None:
    """Measure a fleet behind a name; FLAGS go to each `signpost serve`."""
    figures = measure(clients, seconds, flags)
    click.echo(json.dumps(figures, indent=1))
    if failed := wrong(figures):
        raise click.ClickException(f"Not as it should be: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
