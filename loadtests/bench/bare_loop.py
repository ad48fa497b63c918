"""The bare loop: the same decoding and the same SavedModel as the service's, with no HTTP and no queue.

It says what a machine can do at most, in TensorFlow and in each other runtime that the service may choose. An
arrangement is how the work is laid on the cores: so many processes, each with so many threads that run the model and so
many that decode, in batches of so many images. A process decodes a batch and runs it, over and over; with threads that
decode, the next batch is decoded while the model runs.
"""

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import numpy as np

from service import images
from service import store as version_files
from service.engine.runtimes import asked
from service.interface import DEFAULT_SIGNATURE, REFERENCE, ImageSize

_PATIENCE_S: Final = 300.0
# Both processes begin at the same moment, this long after they were told.
_AHEAD_S: Final = 0.05


@dataclass(frozen=True)
class Arrangement:
    """How the work is laid on the cores.

    Attributes:
        processes: each does the whole work.
        model_threads: of each process, to run the model.
        decode_threads: of each process; 0 decodes in turn with running the model.
        batch: images of a batch.
        runtime: what runs the model.
    """

    processes: int
    model_threads: int
    decode_threads: int
    batch: int
    runtime: str = REFERENCE

    def __str__(self) -> str:
        """In words, for the tables."""
        decoding = f" + {self.decode_threads} decoding" if self.decode_threads else ""
        return f"{self.processes} x {self.model_threads} threads{decoding}, batch {self.batch}"


@dataclass(frozen=True)
class Measured:
    """What a run of the loop found: images per second, and seconds of CPU for an image."""

    rate: float
    cpu_s: float


class BareLoop:
    """Processes that run the loop; made once, as each imports TensorFlow, and then asked for one run after another.

    Args:
        store: the models.
        mixed_precision: as the service is told.
    """

    def __init__(self, store: Path, mixed_precision: bool) -> None:
        """No process runs yet."""
        self._store = store
        self._mixed_precision = mixed_precision
        self._groups: dict[tuple[int, int], list[tuple[Any, Connection]]] = {}

    def run(self, model: str, encoded: Sequence[bytes], arrangement: Arrangement, seconds: float) -> Measured:
        """Decode and classify images for so many seconds in one arrangement."""
        group = self._group(arrangement)
        for _, pipe in group:
            pipe.send(("prepare", model, list(encoded), arrangement))
        for _, pipe in group:
            _receive(pipe)
        began_s = time.monotonic() + _AHEAD_S
        for _, pipe in group:
            pipe.send(("run", began_s, began_s + seconds))
        found = [_receive(pipe) for _, pipe in group]
        count = sum(images for images, _, _ in found)
        return Measured(
            sum(images / elapsed_s for images, elapsed_s, _ in found), sum(cpu_s for *_, cpu_s in found) / count
        )

    def close(self) -> None:
        """End the processes."""
        for group in self._groups.values():
            for process, pipe in group:
                pipe.close()
                process.join(_PATIENCE_S)

    def _group(self, arrangement: Arrangement) -> list[tuple[Any, Connection]]:
        key = (arrangement.processes, arrangement.model_threads)
        if key not in self._groups:
            context = multiprocessing.get_context("spawn")
            self._groups[key] = []
            for _ in range(arrangement.processes):
                mine, theirs = context.Pipe()
                process = context.Process(
                    target=_serve,
                    args=(theirs, self._store, arrangement.model_threads, self._mixed_precision),
                    daemon=True,
                )
                process.start()
                theirs.close()
                self._groups[key].append((process, mine))
        return self._groups[key]


def runtimes(store: Path, model: str) -> list[str]:
    """Those besides TensorFlow that can run the newest version of a model on this host."""
    if asked.OPENVINO not in asked.installed():
        return []
    has_int8 = (_newest(store / model) / version_files.INT8).is_file()
    return [asked.OPENVINO, *([asked.OPENVINO_INT8] if has_int8 else [])]


def arrangements(cores: int) -> list[Arrangement]:
    """Those worth trying, in TensorFlow."""
    batches = (8, 32, 64)
    return [
        *(Arrangement(cores, 1, 0, batch) for batch in batches),
        *(Arrangement(1, cores, cores, batch) for batch in batches),
        *(Arrangement(cores, 1, 1, batch) for batch in batches[1:2]),
    ]


def _receive(pipe: Connection) -> Any:
    if not pipe.poll(_PATIENCE_S):
        raise TimeoutError("A process of the bare loop does not answer.")
    return pipe.recv()


def _serve(pipe: Connection, store: Path, threads: int, mixed_precision: bool) -> None:
    """What a process does: what it is told over its pipe, until that closes."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    models: dict[tuple[str, str], tuple[Any, ImageSize]] = {}
    step: Callable[[], None] = lambda: None  # noqa: E731
    arrangement = Arrangement(1, 1, 0, 1)
    with ThreadPoolExecutor(64) as pool:
        while True:
            try:
                order, *told = pipe.recv()
            except EOFError:
                return
            if order == "prepare":
                model, encoded, arrangement = told
                key = (model, arrangement.runtime)
                if key not in models:
                    models[key] = _load(store / model, threads, mixed_precision, arrangement.runtime)
                step = _make_step(models[key], encoded, arrangement, pool)
                for _ in range(2):
                    step()
                pipe.send(None)
            else:
                pipe.send(_run(step, arrangement.batch, *told))


def _run(step: Callable[[], None], batch: int, began_s: float, until_s: float) -> tuple[int, float, float]:
    time.sleep(max(0.0, began_s - time.monotonic()))
    count = 0
    cpu_s = time.process_time()
    while (now := time.monotonic()) < until_s:
        step()
        count += batch
    return count, now - began_s, time.process_time() - cpu_s


def _newest(folder: Path) -> Path:
    return max((version for version in folder.iterdir() if version.name.isdigit()), key=lambda each: int(each.name))


def _load(folder: Path, threads: int, mixed_precision: bool, runtime: str) -> tuple[Any, ImageSize]:
    """The newest version of a model, run in the way in which the service runs it."""
    from service.engine.tf import definition, runtime_subject, saved_model
    from service.engine.tf.device import DeviceSettings

    newest = _newest(folder)
    found = definition.read(newest, ("serve",))
    device = DeviceSettings(threads=threads, mixed_precision=mixed_precision)
    loaded = saved_model.load(newest, found, device)
    signature, run = found.signatures[DEFAULT_SIGNATURE], loaded.runs[DEFAULT_SIGNATURE]
    if signature.image is None:
        raise ValueError(f"{newest} is not an image classifier.")
    if runtime != REFERENCE:
        which, wish = (newest, folder.name, int(newest.name)), asked.Wish(asked.OPENVINO)
        subject = runtime_subject.make(which, found, loaded, None, device, real={}, padded=False, wish=wish)
        run = subject.openers[runtime](subject.part()).devices[0]
    loaded.settle()
    return (lambda inputs: run(inputs, signature.image_outputs)), signature.image


def _make_step(
    model: tuple[Any, ImageSize], encoded: Sequence[bytes], arrangement: Arrangement, pool: ThreadPoolExecutor
) -> Callable[[], None]:
    """What is done over and over: decode a batch, run a batch."""
    run, size = model
    at = 0

    def decode(pixels: np.ndarray[Any, Any], rows: Sequence[int], first: int) -> None:
        for row in rows:
            image = encoded[(first + row) % len(encoded)]
            pixels[row] = images.decode(image, size.height, size.width, size.channels)

    def begin() -> tuple[np.ndarray[Any, Any], list[Future[None]]]:
        nonlocal at
        pixels = np.empty((arrangement.batch, size.height, size.width, size.channels), dtype=np.uint8)
        threads = arrangement.decode_threads
        parts = [range(part, arrangement.batch, threads) for part in range(threads)]
        pending = [pool.submit(decode, pixels, part, at) for part in parts]
        if not threads:
            decode(pixels, range(arrangement.batch), at)
        at += arrangement.batch
        return pixels, pending

    if not arrangement.decode_threads:
        return lambda: run({"image": begin()[0]})
    ahead = [begin()]

    def overlapped() -> None:
        pixels, pending = ahead.pop()
        for each in pending:
            each.result()
        ahead.append(begin())
        run({"image": pixels})

    return overlapped
