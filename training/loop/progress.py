"""What the user sees while a training runs: a bar on a terminal, a line per epoch anywhere else."""

import os
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self

import rich.progress

from training.errors import os_error
from training.whole_files import cannot_write

_WORTH_SAYING: Final = 0.1
# Seconds without a line after which one tells how far an epoch is, and after which a time that is left can be known.
_SILENT_S: Final = 20.0
_KNOWN_AFTER_S: Final = 3.0


class Progress(Protocol):
    """Hears about each step and epoch."""

    def say(self, text: str) -> None:
        """Print a line."""

    def step(self, epoch: int, epochs: int, step: int, steps: int, numbers: Mapping[str, float]) -> None:
        """A step is done; `epoch` and `step` count from 1."""

    def epoch(self, epoch: int, epochs: int, numbers: Mapping[str, float]) -> None:
        """An epoch is done."""


class Lines:
    """One line per epoch, for logs and pipes; during an epoch that takes long, one now and then."""

    def __init__(self) -> None:
        """Say nothing yet."""
        self._estimate = Estimate()
        self._said_s = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line."""
        print(text, flush=True)

    def step(self, epoch: int, epochs: int, step: int, steps: int, numbers: Mapping[str, float]) -> None:
        """Print a line where nothing has been said for long."""
        left = self._estimate.left(epoch, epochs, step, steps)
        if time.monotonic() - self._said_s >= _SILENT_S and step < steps:
            self.say(f"epoch {epoch}/{epochs}: {step / steps:.0%} done, {_in_short(numbers)}{left}")
            self._said_s = time.monotonic()

    def epoch(self, epoch: int, epochs: int, numbers: Mapping[str, float]) -> None:
        """Print the numbers of the epoch."""
        self.say(describe(epoch, epochs, numbers))
        self._said_s = time.monotonic()


class Bar(AbstractContextManager["Bar"]):
    """A bar per epoch, on a terminal."""

    def __init__(self) -> None:
        """Make the bar; it shows up with the first step."""
        self._bar = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TextColumn("{task.fields[numbers]}"),
            transient=True,
        )
        self._task: rich.progress.TaskID | None = None
        self._drawn = 0.0
        self._estimate = Estimate()

    def __enter__(self) -> Self:
        """Take the terminal."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the terminal back."""
        self._bar.stop()

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(text, highlight=False, markup=False)  # a class may be called [b]

    def step(self, epoch: int, epochs: int, step: int, steps: int, numbers: Mapping[str, float]) -> None:
        """Move the bar, ten times a second at most."""
        if self._task is None:
            self._task = self._bar.add_task(f"epoch {epoch}/{epochs}", total=steps, numbers="")
        left = self._estimate.left(epoch, epochs, step, steps)
        now = time.monotonic()
        if step < steps and now - self._drawn < 0.1:
            return
        self._drawn = now
        text = f"{_in_short(numbers)}{left}"
        self._bar.update(self._task, completed=step, total=steps, description=f"epoch {epoch}/{epochs}", numbers=text)

    def epoch(self, epoch: int, epochs: int, numbers: Mapping[str, float]) -> None:
        """Print the numbers of the epoch above the bar."""
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None
        self.say(describe(epoch, epochs, numbers))


class Estimate:
    """How long a training will take, by how long its steps have taken so far."""

    def __init__(self) -> None:
        """The first step tells where it begins, which after --resume is not the first epoch."""
        self._began: tuple[float, float] | None = None  # share of the training, and when

    def left(self, epoch: int, epochs: int, step: int, steps: int) -> str:
        """What is left in words, for the end of a line; empty while nobody can know. Called after each step."""
        done, now_s = (epoch - 1 + step / steps) / epochs, time.monotonic()
        if self._began is None:
            self._began = (done, now_s)
        before, since_s = self._began
        if done <= before or now_s - since_s < _KNOWN_AFTER_S:
            return ""
        return f"; about {duration((now_s - since_s) * (1 - done) / (done - before))} left"


def duration(seconds: float) -> str:
    """A time in words, with as many digits as an estimate deserves."""
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{max(1, round(seconds))} s"
    return f"{minutes} min" if minutes < 90 else f"{seconds / 3600:.1f} h"


def _in_short(numbers: Mapping[str, float]) -> str:
    return f"loss {numbers['loss']:.4f}, accuracy {numbers['accuracy']:.4f}"


class TensorBoard:
    """Passes everything on, and writes the numbers of each epoch to TensorBoard's event files."""

    def __init__(self, shown: Progress, folder: Path) -> None:
        """Open the event file: TensorFlow's records of TensorBoard's messages, which need no TensorBoard here."""
        import tensorflow as tf

        self._shown = shown
        self._messages = tf.compat.v1
        self._error: Any = tf.errors.OpError
        self._folder = folder
        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._writer: Any = tf.io.TFRecordWriter(str(folder / name))
            self._write(self._messages.Event(wall_time=time.time(), file_version="brain.Event:2"))
        except OSError as error:
            raise cannot_write(folder, "tensorboard", error) from error
        except tf.errors.OpError as error:
            raise cannot_write(folder, "tensorboard", os_error(error.message)) from error

    def say(self, text: str) -> None:
        """Pass the line on."""
        self._shown.say(text)

    def step(self, epoch: int, epochs: int, step: int, steps: int, numbers: Mapping[str, float]) -> None:
        """Pass the step on."""
        self._shown.step(epoch, epochs, step, steps, numbers)

    def epoch(self, epoch: int, epochs: int, numbers: Mapping[str, float]) -> None:
        """Write the numbers as long as they can be written, and pass them on."""
        values = [self._messages.Summary.Value(tag=f"epoch/{name}", simple_value=n) for name, n in numbers.items()]
        summary = self._messages.Summary(value=values)
        try:
            self._write(self._messages.Event(wall_time=time.time(), step=epoch, summary=summary))
        except self._error as error:
            self._writer = None
            told = cannot_write(self._folder, "tensorboard", os_error(error.message))
            self._shown.say(f"{told} Training continues without it.")
        self._shown.epoch(epoch, epochs, numbers)

    def _write(self, event: Any) -> None:
        if self._writer is not None:
            self._writer.write(event.SerializeToString())
            self._writer.flush()


def describe(epoch: int, epochs: int, numbers: Mapping[str, float]) -> str:
    """One line about an epoch."""
    text = f"epoch {epoch}/{epochs}: loss {numbers['loss']:.4f}, accuracy {numbers['accuracy']:.4f}"
    if "val_accuracy" in numbers:
        text += f", validation loss {numbers['val_loss']:.4f}, accuracy {numbers['val_accuracy']:.4f}"
    text += f"; {numbers['seconds']:.1f} s, {speed(numbers['images_per_s'])}"
    waited = numbers.get("waiting_s", 0.0) / numbers["seconds"]
    return text + (f", {waited:.0%} of it waiting for images" if waited > _WORTH_SAYING else "")


def speed(images_per_s: float) -> str:
    """Images per second, or seconds per image where that is the larger number."""
    return f"{images_per_s:.0f} images/s" if images_per_s >= 1.5 else f"{1 / max(images_per_s, 1e-9):.1f} s per image"


def for_terminal() -> AbstractContextManager[Progress]:
    """The bar when standard output is a terminal, lines otherwise."""
    return Bar() if sys.stdout.isatty() else _LinesContext()


class _LinesContext(Lines, AbstractContextManager["Progress"]):
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to give back."""
