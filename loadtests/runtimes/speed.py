"""Images a second of TensorFlow's session and of OpenVINO, as the service runs both, one batch at a time.

    .venv/bin/python -m loadtests.runtimes.speed model_store/cats_vs_dogs/3 …

prints a line for each version, number of threads and size of batch: both rates, how many times as fast OpenVINO is, and
by how much the scores differ at most. Both run in turn, and the quickest turn counts. TensorFlow takes its threads once
for a process, so each number of threads is measured in one of its own.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import click
import numpy as np

from service.engine.batching.parameters import BatchingParameters
from service.engine.runtimes import asked
from service.engine.tf import definition, runtime_subject, saved_model, trial
from service.engine.tf.device import DeviceSettings
from service.interface import DEFAULT_SIGNATURE, Array

_TURNS: Final = 9


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--threads", default="1,2", show_default=True, help="Threads of one run, separated by commas.")
@click.option("--batches", default="1,8,32", show_default=True, help="Images of a batch, separated by commas.")
def main(folders: tuple[Path, ...], threads: str, batches: str) -> None:
    """Measure the image classifiers in FOLDERS, each a version of a model."""
    several = threads.split(",")
    for each in several if len(several) > 1 else ():
        command = [sys.executable, "-m", __spec__.name, f"--threads={each}", f"--batches={batches}", *map(str, folders)]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    if len(several) == 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
        for folder in folders:
            _measure(folder, int(threads), [int(size) for size in batches.split(",")])


def _measure(folder: Path, threads: int, batches: list[int]) -> None:
    device = DeviceSettings(threads=threads)
    found = definition.read(folder, ("serve",))
    loaded = saved_model.load(folder, found, device)
    parameters = BatchingParameters(max_batch_size=max(batches))
    subject = runtime_subject.make(
        (folder, folder.parent.name, 1),
        found,
        loaded,
        parameters,
        device,
        real={},
        padded=False,
        wish=asked.Wish(asked.OPENVINO, int8=False),
    )
    opened = subject.openers[asked.OPENVINO](subject.part())
    size = found.signatures[DEFAULT_SIGNATURE].image
    assert size is not None, f"{folder} is not an image classifier"
    for rows in batches:
        inputs: Mapping[str, Array] = {"image": trial.drawn(size, rows)}
        runs = (subject.devices[0], opened.devices[0])
        ours, other = (run(inputs, subject.outputs)["scores"] for run in runs)
        times_s = zip(*([_timed(run, inputs, subject.outputs) for run in runs] for _ in range(_TURNS)), strict=True)
        rates = [rows / min(each) for each in times_s]
        click.echo(
            f"{folder}: {threads} threads, batches of {rows:2d}: TensorFlow {rates[0]:7.0f}, OpenVINO {rates[1]:7.0f} "
            f"images/s, {rates[1] / rates[0]:.2f} times; largest difference {np.abs(ours - other).max():.1g}"
        )
    opened.close()
    loaded.release()


def _timed(run: Callable[..., object], inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> float:
    began_s = time.perf_counter()
    run(inputs, outputs)
    return time.perf_counter() - began_s


if __name__ == "__main__":
    main()
