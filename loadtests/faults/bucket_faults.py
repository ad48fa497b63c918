"""Interruptions, drawn from a seed, while versions come in from a bucket: is anything loaded that is not whole?

    .venv/bin/python -m loadtests.faults.bucket_faults

Publishes one version after the other in a bucket of an S3 server of its own, each under another fault: answers that are
cut off, slow or silent, a network that is away, a mirror that is killed, uploads that stop half way, objects that are
replaced while they are fetched, versions that leave. A service serves what comes; whatever its engine can see is
compared byte by byte with what was published, and a client asks all the time. Prints how often what happened; exits
with 1 when something partial was seen or loaded, a request was lost, or the last version did not come through.
"""

import http.client
import json
import os
import random
import re
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click

from loadtests.faults.swaps import Service, serving, wait_until
from loadtests.object_storage.cutting_proxy import CuttingProxy, cutting_proxy
from loadtests.object_storage.s3_server import S3Server, s3_server
from service import store
from service.errors import StoreError

_BUCKET: Final = "models"
_STORE: Final = Path(f"s3://{_BUCKET}/store")
_MODEL: Final = "sign_language"
_KEPT: Final = 3  # versions that stay in the bucket
_THROUGH_S: Final = 10.0
_JOIN_S: Final = 30.0


@dataclass
class Bucket:
    """The versions of a model in a bucket, all but their number the same.

    Attributes:
        files: what each consists of.
        number: of the last one.
        there: those that have not been deleted.
        withdrawn: those that were deleted while they were the latest, perhaps while an engine read them.
    """

    s3: S3Server
    files: dict[str, bytes]
    number: int = 0
    there: list[int] = field(default_factory=list)
    withdrawn: set[int] = field(default_factory=set)

    def content(self, number: int) -> dict[str, bytes]:
        """What a version consists of."""
        return {**self.files, "assets.extra/number.txt": str(number).encode()}

    def put(self, number: int, *names: str, cut: bool = False) -> None:
        """Write some objects of a version, or half of each."""
        for name in names:
            content = self.content(number)[name]
            self.s3.put(_BUCKET, f"store/{_MODEL}/{number}/{name}", content[: len(content) // 2] if cut else content)

    def begin(self) -> tuple[int, list[str]]:
        """The next number, and the names of its objects, `saved_model.pb` last."""
        self.number += 1
        return self.number, sorted(self.content(self.number), key=lambda name: name == store.SAVED_MODEL)

    def publish(self) -> None:
        """Write the next version."""
        number, names = self.begin()
        self.put(number, *names)
        self.there.append(number)
        while len(self.there) > _KEPT:
            self.remove(self.there[0])

    def remove(self, number: int) -> None:
        """Delete a version, in the order of its names."""
        self.there.remove(number)
        for name in self.content(number):
            self.s3.delete(_BUCKET, f"store/{_MODEL}/{number}/{name}")


@dataclass
class Seen:
    """What the engine could see, and what clients got."""

    bucket: Bucket
    copies: Path
    versions: set[int] = field(default_factory=set)
    partial: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    def watch(self, stop: threading.Event) -> None:
        """Look at the copy all the time, as the engine does."""
        while not stop.wait(0.01):
            for folder in self.copies.glob(f"*/{_MODEL}"):
                with suppress(StoreError):
                    for number, version in store.versions(folder).items():
                        if number not in self.versions:
                            self._compare(number, version)

    def _compare(self, number: int, version: Path) -> None:
        # Through a handle: a version that leaves the copy while it is compared is none that was partial.
        handle = os.open(version, os.O_RDONLY | os.O_DIRECTORY)
        try:
            here = Path(f"/proc/self/fd/{handle}")
            found = {
                str(path.relative_to(here)): path.read_bytes()
                for path in here.rglob("*")
                if path.is_file() and not path.name.startswith(".")
            }
        except OSError:
            found = {}
        finally:
            os.close(handle)
        if not version.exists():
            return
        self.versions.add(number)
        if found != self.bucket.content(number):
            self.partial.append(f"version {number} was seen with files other than those published")

    def ask(self, service: Service, body: bytes, stop: threading.Event) -> None:
        """Ask without a pause."""
        connection = service.connect()
        while not stop.wait(0.005):
            try:
                status, _, _ = service.ask(connection, f"/v1/models/{_MODEL}:predict", body)
            except (OSError, http.client.HTTPException):
                connection.close()
                status = 0
            self.statuses[status] += 1


class Faults:
    """One fault after the other, each while a version is published.

    Args:
        seed: of which they are drawn.
        bucket: where versions are published.
        proxy: the network before it.
        service: what serves them.
        seen: the versions that have come through.
    """

    def __init__(
        self, seed: int, *, bucket: Bucket, proxy: CuttingProxy, service: Service, seen: Collection[int]
    ) -> None:
        """Break nothing yet."""
        self._seen = seen
        self._rng = random.Random(seed)
        self._bucket = bucket
        self._proxy = proxy
        self._service = service
        self.count: Counter[str] = Counter()
        self._kinds: dict[str, Callable[[], None]] = {
            "cut off": lambda: proxy.cut_by_chance(self._rng.uniform(0.05, 0.5), self._rng),
            "cut off in large objects": lambda: setattr(proxy, "cut_larger_than", 100_000),
            "away": lambda: setattr(proxy, "away", True),
            "silent": lambda: setattr(proxy, "silent", True),
            "slow": lambda: setattr(proxy, "delay_s", self._rng.uniform(0.01, 0.1)),
            "mirror killed": self._kill,
            "half uploaded": self._upload_by_halves,
            "replaced": self._replace,
            "left the bucket": self._withdraw,
        }

    def next(self) -> None:
        """One fault, for a while."""
        kind = self._rng.choice(sorted(self._kinds))
        self.count[kind] += 1
        before = self._bucket.number
        self._kinds[kind]()
        if self._bucket.number == before:
            self._pause()
            self._bucket.publish()
        self._pause()
        if kind == "mirror killed" and self._rng.random() < 0.5:
            self._kill()
        self._proxy.heal()
        if self._rng.random() < 0.5:  # let it come through before the next fault
            until_s = time.monotonic() + _THROUGH_S
            while self._bucket.there[-1] not in self._seen and time.monotonic() < until_s:
                time.sleep(0.05)

    def _pause(self) -> None:
        time.sleep(self._rng.uniform(0.0, 1.2))

    def _kill(self) -> None:
        """Kill the process that fetches: a child of a child of the service's first process, without children."""
        with suppress(OSError, ValueError):
            for guard in _children(self._service.process.pid):
                for child in _children(guard):
                    if not _children(child):
                        os.kill(child, signal.SIGKILL)

    def _upload_by_halves(self) -> None:
        number, names = self._bucket.begin()
        kept = self._rng.randrange(1, len(names))
        self._bucket.put(number, *names[:kept])
        self._pause()
        self._pause()
        self._bucket.put(number, *names[kept:])
        self._bucket.there.append(number)

    def _replace(self) -> None:
        """Write halves of the objects, `saved_model.pb` among the first, and the whole ones before a second is over."""
        number, names = self._bucket.begin()
        some = self._rng.sample(names, self._rng.randrange(1, len(names)))
        self._bucket.put(number, *some, cut=True)
        self._bucket.put(number, *(name for name in reversed(names) if name not in some))
        time.sleep(self._rng.uniform(0.0, 0.5))
        self._bucket.put(number, *some)
        self._bucket.there.append(number)

    def _withdraw(self) -> None:
        if len(self._bucket.there) > 1:
            self._bucket.withdrawn.add(self._bucket.there[-1])
            self._bucket.remove(self._bucket.there[-1])


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def _threads(*targets: Callable[[threading.Event], None]) -> Iterator[None]:
    """Threads that run as long as the block."""
    stop = threading.Event()
    threads = [threading.Thread(target=target, args=(stop,), daemon=True) for target in targets]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(_JOIN_S)


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--interruptions", default=200, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
def main(interruptions: int, seed: int, flags: tuple[str, ...]) -> None:
    """Interrupt the way of versions out of a bucket; FLAGS go to `signpost serve`."""
    version = Path(__file__).parents[2] / "model_store" / _MODEL / "2"
    files = {str(path.relative_to(version)): path.read_bytes() for path in version.rglob("*") if path.is_file()}
    body = json.dumps({"instances": [[[[0]] * 28] * 28]}).encode()
    with tempfile.TemporaryDirectory() as name, s3_server(Path(name) / "s3.log") as s3:
        s3.make_bucket(_BUCKET)
        bucket, copies = Bucket(s3, files), Path(name) / "cache"
        bucket.publish()
        with cutting_proxy(s3.endpoint) as proxy:
            os.environ.update(s3.environment(proxy.endpoint))
            quick = ("--store-poll-seconds=0.1", f"--store-cache={copies}", "--workers=1", "--engine=local")
            with (
                (Path(name) / "serve.log").open("w") as log,
                serving(_STORE, Path(name), (*quick, *flags), log) as service,
            ):
                seen = Seen(bucket, copies)
                faults = Faults(seed, bucket=bucket, proxy=proxy, service=service, seen=seen.versions)
                with _threads(seen.watch, lambda stop: seen.ask(service, body, stop)):
                    for _ in range(interruptions):
                        faults.next()
                    bucket.publish()
                    wait_until(lambda: service.serves_only(_MODEL, bucket.number))
            said = (Path(name) / "serve.log").read_text()
    failed = {int(number) for number in re.findall(rf"{_MODEL}/(\d+) can't be loaded", said)}
    measured = {
        "seed": seed,
        "interruptions": dict(sorted(faults.count.items())),
        "versions_published": bucket.number,
        "versions_copied": len(seen.versions),
        "versions_loaded": said.count(f"Loaded {_MODEL}"),
        "partial": len(seen.partial),
        "loads_failed": len(failed - bucket.withdrawn),
        "loads_failed_as_it_left_the_bucket": len(failed & bucket.withdrawn),
        "answers": seen.statuses[200],
        "answers_lost": seen.statuses.total() - seen.statuses[200],
    }
    click.echo(json.dumps(measured, indent=1))
    for reason in [*seen.partial[:5], *(line for line in said.splitlines() if "be loaded" in line)][:10]:
        click.echo(reason, err=True)
    if measured["partial"] or measured["loads_failed"] or measured["answers_lost"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
