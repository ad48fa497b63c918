"""A service under mixed traffic for minutes: right and wrong requests, reloads and a canary; nothing lost, memory flat.

    .venv/bin/python -m loadtests.faults.soak --minutes 10

Serves two versions of `sign_language` with a tenth of the traffic on the canary. Clients ask over HTTP (plain images,
forms, JSON, and what is wrong on purpose) and gRPC without a pause, while the labels are moved and a third version
comes and goes. Prints memory and answers each minute, and in the end the growth by a straight line after the warm-up.
Exits with 1 when a request was lost (any answer but the one that was due) or the memory grew beyond its bound.
"""

import base64
import http.client
import json
import shutil
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any, Final

import click
import grpc
import numpy as np

from loadtests.faults.memory_growth import Growth
from loadtests.subject.pictures import drawings
from loadtests.subject.served import Served, served
from service import protocol
from service.config.config_edit import ConfigFile, with_label

MODEL: Final = "sign_language"
_PATH: Final = f"/v1/models/{MODEL}:predict"
_PATIENCE_S: Final = 60.0
# Seconds between two changes of what is served.
_CHANGE_S: Final = 5.0
_FLAGS: Final = ("--canary-share=0.1", "--file_system_poll_wait_seconds=0.5")
_CONFIG: Final = """model_config_list { config {
  name: "%s" base_path: "%s" model_platform: "tensorflow"
  model_version_policy { all {} }
  version_labels { key: "stable" value: 1 }
  version_labels { key: "canary" value: 2 }
} }
"""

# What is sent: path, content type, body, and the status that is due.
Kind = tuple[str, str, bytes, int]


def kinds(image: bytes) -> list[Kind]:
    """What clients send over HTTP."""
    encoded = base64.b64encode(image).decode()
    part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n' + image + b"\r\n"
    whole = json.dumps({"instances": [{"b64": encoded}] * 3}).encode()
    return [
        *[(_PATH, "image/png", image, 200)] * 6,
        (f"/v1/models/{MODEL}/versions/1:predict", "image/png", image, 200),
        (f"/v1/models/{MODEL}/labels/stable:predict", "image/png", image, 200),
        (_PATH, "multipart/form-data; boundary=b", part * 4 + b"--b--\r\n", 200),
        (_PATH, "application/json", whole, 200),
        (_PATH, "image/png", image[: len(image) // 2], 400),
        (_PATH, "application/json", whole[:-5], 400),
        ("/v1/models/nosuch:predict", "image/png", image, 404),
        (f"/v1/models/{MODEL}/versions/99:predict", "image/png", image, 404),
        (_PATH, "video/mp4", image, 415),
    ]


class Soak:
    """What clients have seen."""

    def __init__(self, service: Served, image: bytes) -> None:
        """Ask nothing yet."""
        self._service = service
        self._kinds = kinds(image)
        self.answers: Counter[str] = Counter()
        self.lost: list[str] = []
        self.stop = threading.Event()
        self._lock = threading.Lock()

    def http(self, seed: int) -> None:
        """Ask over HTTP, over one connection, until told to stop."""
        random = Random(seed)
        connection = http.client.HTTPConnection("127.0.0.1", self._service.port, timeout=_PATIENCE_S)
        while not self.stop.is_set():
            path, content_type, body, due = random.choice(self._kinds)
            try:
                connection.request("POST", path, body, {"Content-Type": content_type})
                response = connection.getresponse()
                said = response.read()
                self._note(f"HTTP {response.status}", response.status == due, f"due {due}: {said[:200]!r}")
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                self._note(f"HTTP {type(error).__name__}", False, repr(error))
        connection.close()

    def grpc(self, seed: int) -> None:
        """Ask over gRPC until told to stop; every tenth call is wrong."""
        random = Random(seed)
        request = protocol.predict_pb2.PredictRequest()
        with grpc.insecure_channel(self._service.grpc_address) as channel:
            stub = protocol.prediction_service_pb2_grpc.PredictionServiceStub(channel)
            while not self.stop.is_set():
                wrong = random.random() < 0.1
                request.model_spec.name = "nosuch" if wrong else MODEL
                request.inputs["image"].CopyFrom(protocol.to_tensor_proto(np.zeros((2, 28, 28, 1), np.uint8)))
                try:
                    stub.Predict(request, timeout=_PATIENCE_S)
                    self._note("gRPC OK", not wrong, "due NOT_FOUND")
                except grpc.RpcError as error:
                    due = wrong and error.code() is grpc.StatusCode.NOT_FOUND
                    self._note(f"gRPC {error.code().name}", due, error.details() or "")

    def _note(self, answer: str, is_due: bool, said: str) -> None:
        with self._lock:
            self.answers[answer] += 1
            if not is_due:
                self.lost.append(f"{answer}: {said}")


def change(store: Path, stop: threading.Event) -> int:
    """Move the canary's label and publish and remove a third version, again and again; how often."""
    config, folder, changes = ConfigFile(store), store / MODEL, 0
    while not stop.wait(_CHANGE_S):
        number = changes % 4
        if number == 0:
            shutil.copytree(folder / "1", folder / ".coming")
            (folder / ".coming").rename(folder / "3")
        elif number == 3:
            shutil.rmtree(folder / "3")
        else:
            config.change(MODEL, lambda each: with_label(each, "canary", 4 - number))  # noqa: B023 - called at once
        changes += 1
    return changes


def wait_for_both(service: Served) -> None:
    """Wait until both versions serve: the service is ready with one."""
    until_s = time.monotonic() + _PATIENCE_S
    states: list[str] = []
    while states != ["AVAILABLE"] * 2 and time.monotonic() < until_s:
        time.sleep(0.1)
        with urllib.request.urlopen(f"{service.url}/v1/models/{MODEL}", timeout=_PATIENCE_S) as answer:
            states = [each["state"] for each in json.load(answer)["model_version_status"]]


def soak(minutes: float, clients: int, flags: tuple[str, ...], tell: Callable[[str], None]) -> dict[str, Any]:
    """Soak a service.

    Args:
        minutes: how long.
        clients: over HTTP; half as many over gRPC.
        flags: for `signpost serve`.
        tell: given a line each minute.

    Returns:
        What was answered, what was lost, and how the memory grew.
    """
    [image] = drawings(1)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder, "store")
        for version in ("1", "2"):
            shutil.copytree(Path(__file__).parents[2] / "model_store" / MODEL / "2", store / MODEL / version)
        (store / "models.config").write_text(_CONFIG % (MODEL, store / MODEL))
        with served(store, (*_FLAGS, *flags)) as service:
            wait_for_both(service)
            seen = Soak(service, image)
            growth = Growth(service)
            until_s = time.monotonic() + minutes * 60
            tell("| minute | memory, MB | answers | lost |")
            tell("| --- | --- | --- | --- |")
            with ThreadPoolExecutor(2 * clients + 1) as pool:
                running = [pool.submit(seen.http, number) for number in range(clients)]
                running += [pool.submit(seen.grpc, number) for number in range(max(1, clients // 2))]
                changing = pool.submit(change, store, seen.stop)
                try:
                    minute = 0
                    while time.monotonic() < until_s:
                        memory_mb = growth.look()
                        if time.monotonic() - until_s + minutes * 60 >= minute * 60:
                            tell(f"| {minute} | {memory_mb:.0f} | {seen.answers.total():,} | {len(seen.lost)} |")
                            minute += 1
                        time.sleep(min(5.0, minutes * 6))
                finally:
                    seen.stop.set()
                for each in running:
                    each.result()
                changes = changing.result()
            memory_mb = growth.look()
            tell(f"| {minutes:g} | {memory_mb:.0f} | {seen.answers.total():,} | {len(seen.lost)} |")
            unforeseen = [line for line in service.log.read_text().splitlines() if "unexpectedly" in line]
    return {
        "minutes": minutes,
        "changes": changes,
        "answers": dict(sorted(seen.answers.items())),
        "lost": len(seen.lost),
        "examples": seen.lost[:5] + unforeseen[:5],
        "memory": growth.told(),
    }


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--minutes", default=10.0, show_default=True)
@click.option("--clients", default=4, show_default=True, help="Clients over HTTP; half as many over gRPC.")
@click.option("--most-growth-mb", default=32.0, show_default=True, help="Memory growth that still counts as flat.")
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
def main(minutes: float, clients: int, most_growth_mb: float, flags: tuple[str, ...]) -> None:
    """Soak a service in mixed traffic; FLAGS go to `signpost serve`."""
    found = soak(minutes, clients, flags, click.echo)
    click.echo(json.dumps(found, indent=1))
    if found["lost"] or found["memory"]["growth_mb"] > most_growth_mb:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
