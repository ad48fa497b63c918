"""What a start costs, in time and memory, against importing TensorFlow and loading the same models with it alone.

And what memory load takes beyond that.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import click

from loadtests.memory import under_load
from loadtests.subject.served import served

_ROUNDS: Final = 3
_LOAD: Final = """
import os, sys, time
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
began = time.monotonic()
import tensorflow as tf
imported = time.monotonic()
import pathlib, json
import numpy as np
kept = []
for folder in sys.argv[1:]:
    loaded = tf.saved_model.load(folder)
    function = loaded.signatures["serving_default"]
    height, width, channels = function.structured_input_signature[1]["image"].shape[1:]
    function(image=tf.zeros((32, height, width, channels), tf.uint8))
    kept.append((loaded, function))
pss = [line for line in pathlib.Path("/proc/self/smaps_rollup").read_text().splitlines() if line.startswith("Pss:")]
print(json.dumps([imported - began, time.monotonic() - began, int(pss[0].split()[1]) / 1024]))
"""


def measure(store: Path) -> dict[str, Any]:
    """Take turns between TensorFlow alone and `signpost serve --workers 1` with all models of a store."""
    folders = [
        str(max((each for each in model.iterdir() if each.name.isdigit()), key=lambda each: int(each.name)))
        for model in sorted(store.iterdir())
        if model.is_dir()
    ]
    rows: list[list[float]] = []
    for _ in range(_ROUNDS):
        done = subprocess.run(
            [sys.executable, "-c", _LOAD, *folders], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
        )
        import_s, load_s, alone_mb = json.loads(done.stdout.splitlines()[-1])
        with served(store, ("--workers=1", "--engine=local", "--log-level=warning")) as service:
            processes = service.pss_mb()
            rows.append([import_s, load_s, service.ready_s, alone_mb, max(processes.values()), sum(processes.values())])
    names = ("import_s", "load_s", "ready_s", "alone_mb", "worker_mb", "service_mb")
    found: dict[str, Any] = {
        name: statistics.median(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)
    }
    found["beyond_import_s"] = statistics.median(row[2] - row[0] for row in rows)
    found["worker_over_alone"] = statistics.median(row[4] / row[3] for row in rows)
    click.echo(
        f"{len(folders)} models, one worker: `import tensorflow` takes {found['import_s']:.1f} s, "
        f"with the models loaded and run once {found['load_s']:.1f} s;\n"
        f"the service is ready after {found['ready_s']:.1f} s, "
        f"{found['beyond_import_s']:+.1f} s beyond the import (target: 1.5 s).\n"
        f"Memory (PSS): TensorFlow with the models {found['alone_mb']:.0f} MiB, "
        f"the worker {found['worker_mb']:.0f} MiB, {found['worker_over_alone']:.2f} times as much (target: 1.3);\n"
        f"the whole service {found['service_mb']:.0f} MiB.\n"
    )
    found["under_load"] = under_load.measure(store)
    return found
