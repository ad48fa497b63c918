"""Whether memory comes back when a version is loaded and unloaded over and over, in the runtime that is asked for.

    .venv/bin/python -m loadtests.runtimes.reloads --runtime openvino model_store/cats_vs_dogs/3

loads a version, has it score images in batches of several sizes and closes it, 100 times, and prints the process's
memory after some of them: PSS, and what is its own alone, which does not move as others map the same libraries. Then
how much the latter grew from the 10th on. Exits with 1 where that is more than --most-mb.
"""

import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import Final

import click
import numpy as np

from service.engine.batching.parameters import BatchingParameters
from service.engine.runtimes import asked
from service.engine.runtimes.asked import Wish
from service.engine.tf import loading, trial
from service.engine.tf.device import DeviceSettings
from service.interface import DEFAULT_SIGNATURE, Call

# Loads after which what a process sets up once is there.
_SETTLED: Final = 10
_BATCHES: Final = (1, 8, 32)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--runtime", default=asked.OPENVINO, show_default=True, help="As for `signpost serve`.")
@click.option("--loads", default=100, show_default=True)
@click.option("--most-mb", default=50.0, show_default=True, help="MiB by which it may grow from the 10th load on.")
def main(folder: Path, runtime: str, loads: int, most_mb: float) -> None:
    """Load and unload the image classifier in FOLDER, a version of a model."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    grown: list[float] = []
    cache = Path(tempfile.mkdtemp(prefix="signpost-reloads-"))  # so that it is measured once
    for number in range(1, loads + 1):
        model = loading.load(
            folder, folder.parent.name, 1, BatchingParameters(), DeviceSettings(threads=1), wish=Wish(runtime, cache)
        )
        size = model.signatures[DEFAULT_SIGNATURE].image
        assert size is not None, f"{folder} is not an image classifier"
        for rows in _BATCHES:
            model.predict({"image": trial.drawn(size, rows)}, Call(time.monotonic() + 60))
        name = model.run_by.runtime
        model.close()
        own_mb = memory_mb("/proc/self/status", "RssAnon")
        grown.append(own_mb)
        if number == 1 or number % 10 == 0:
            pss_mb = memory_mb("/proc/self/smaps_rollup", "Pss")
            click.echo(f"{number:4d} loads ({name}): PSS {pss_mb:7.1f} MiB, its own {own_mb:7.1f} MiB")
    shutil.rmtree(cache)
    settled = grown[min(_SETTLED, loads) - 1 :]
    # Of a straight line through them, so that neither end counts for more than it is.
    slope_mb = float(np.polyfit(np.arange(len(settled)), settled, 1)[0]) if len(settled) > 1 else 0.0
    growth_mb = slope_mb * (len(settled) - 1)
    click.echo(f"grew by {growth_mb:.1f} MiB in {len(settled)} loads, {slope_mb * 1024:.0f} KiB each")
    if growth_mb > most_mb:
        raise SystemExit(1)


def memory_mb(file: str, name: str) -> float:
    """What the kernel tells under a name of this process, in MiB."""
    found = re.search(rf"^{name}:\s+(\d+) kB", Path(file).read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


if __name__ == "__main__":
    main()
