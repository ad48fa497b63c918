"""The bare limits of a host: photographs decoded by all cores, and the model run by itself, each in its processes.

    python -m loadtests.gpu.bare VERSION

prints, for a version's folder, images a second by size of batch and number of threads, as JSON.
"""

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np

from service import images

_SECONDS: Final = 1.0
_SIZES: Final = (1, 32, 64, 128)


def decoding(encoded: Sequence[bytes], height: int, width: int, processes: int) -> float:
    """Images that so many processes decode in a second, all at the same time."""
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(time.sleep, [0.1] * processes))  # all of them have started
        return sum(pool.map(_decode, [list(encoded)] * processes, [height] * processes, [width] * processes))


def _decode(encoded: Sequence[bytes], height: int, width: int) -> float:
    images.decode(encoded[0], height, width, 3)
    count, began_s = 0, time.perf_counter()
    while (taken_s := time.perf_counter() - began_s) < _SECONDS:
        images.decode(encoded[count % len(encoded)], height, width, 3)
        count += 1
    return count / taken_s


def model(folder: Path) -> dict[str, float]:
    """Images a second of a version's default signature: "32 x 2" is two threads with batches of 32."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from service.engine.classifier import blank
    from service.engine.tf import definition, saved_model
    from service.engine.tf.device import DeviceSettings

    found = definition.read(folder, ("serve",))
    run = saved_model.load(folder, found, DeviceSettings()).runs["serving_default"]
    size = found.signatures["serving_default"].image
    if size is None:
        raise ValueError(f"{folder} is not an image classifier.")
    rates = {}
    for rows in _SIZES:
        inputs = {"image": blank(size, rows)}
        for _ in range(3):
            run(inputs, ("scores",))

        def loop(until_s: float, inputs: dict[str, np.ndarray] = inputs) -> int:
            count = 0
            while time.perf_counter() < until_s:
                run(inputs, ("scores",))
                count += 1
            return count

        for threads in (1, 2):
            began_s = time.perf_counter()
            with ThreadPoolExecutor(threads) as pool:
                batches = sum(pool.map(loop, [began_s + _SECONDS / 2] * threads))
            rates[f"{rows} x {threads}"] = rows * batches / (time.perf_counter() - began_s)
    return rates


if __name__ == "__main__":
    print(json.dumps(model(Path(sys.argv[1]))))
