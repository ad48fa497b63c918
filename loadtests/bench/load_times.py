"""How long models take to load: by TensorFlow 1's loader, by TensorFlow 2's, and by the service's own.

    .venv/bin/python -m loadtests.bench.load_times --rounds 5

Loads each model of `loadtests/exports/` in one process, after others were loaded to warm it up, and prints the median
of each in milliseconds. What loads but does not answer has a question mark: TensorFlow 1's loader does not find the
variables of Keras 3 models that `tf.saved_model.save` wrote.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from loadtests.exports import cases, chosen, written
from loadtests.exports.cases import Case
from service.engine.batching.parameters import BatchingParameters
from service.engine.tf import loading
from service.engine.tf.device import DeviceSettings, import_tensorflow
from service.errors import LoadFailed

_LOADERS: Final = ("TensorFlow 1", "TensorFlow 2", "Signpost")
_WARM_UP: Final = 2


def by_tensorflow_1(tf: Any, folder: Path, case: Case | None) -> tuple[float, bool]:
    """Seconds to load a SavedModel into a session, and whether it then answers a case."""
    tf1 = tf.compat.v1
    began_s = time.perf_counter()
    with tf.Graph().as_default(), tf1.Session() as session:
        definitions = tf1.saved_model.load(session, ["serve"], str(folder)).signature_def
        taken_s = time.perf_counter() - began_s
        if case is None:
            return taken_s, True
        definition = definitions[case.signature]
        feeds = {definition.inputs[name].name: value for name, value in case.inputs.items()}
        names = [info.name for info in definition.outputs.values() if info.name]
        return taken_s, _finds_variables(tf, lambda: session.run(names, feeds))


def by_tensorflow_2(tf: Any, folder: Path, case: Case | None) -> tuple[float, bool]:
    """Seconds to load a SavedModel as an object, and whether it then answers a case."""
    began_s = time.perf_counter()
    loaded = tf.saved_model.load(str(folder), tags=["serve"])
    taken_s = time.perf_counter() - began_s
    if case is None:
        return taken_s, True
    inputs = {name: tf.constant(value) for name, value in case.inputs.items()}
    return taken_s, _finds_variables(tf, lambda: loaded.signatures[case.signature](**inputs))


def _finds_variables(tf: Any, run: Callable[[], Any]) -> bool:
    """Whether a model runs as far as its variables go; whether it takes these inputs is another matter."""
    try:
        run()
    except (tf.errors.FailedPreconditionError, tf.errors.NotFoundError):
        return False
    except (tf.errors.OpError, ValueError, TypeError):
        return True
    return True


def by_the_service(_: Any, folder: Path, __: Case | None) -> tuple[float, bool]:
    """Seconds to load a version as the service does, its warm-up and row test included, and whether it serves."""
    began_s = time.perf_counter()
    try:
        loaded = loading.load(folder, folder.parent.name, 1, BatchingParameters(), DeviceSettings())
    except LoadFailed:
        return time.perf_counter() - began_s, False
    taken_s = time.perf_counter() - began_s
    loaded.close()
    return taken_s, True


def measure(
    load: Callable[[Any, Path, Case | None], tuple[float, bool]], models: Path, names: list[str], rounds: int
) -> dict[str, tuple[float, bool]]:
    """Median seconds to load each model, and whether it answers; all models in turn in each round."""
    tf = import_tensorflow(DeviceSettings())
    taken: dict[str, list[float]] = {name: [] for name in names}
    answers: dict[str, bool] = {}
    asked = {name: _case(models, name) for name in names}
    for name in names[:_WARM_UP]:
        load(tf, cases.store_of(models) / name / "1", asked[name])
    for _ in range(rounds):
        for name in names:
            seconds, answers[name] = load(tf, cases.store_of(models) / name / "1", asked[name])
            taken[name].append(seconds)
    return {name: (median(taken[name]), answers[name]) for name in names}


def _case(models: Path, name: str) -> Case | None:
    """A case that states every input; TensorFlow's loaders do not know defaults."""
    answered = [case for case in cases.read(models, name) if not case.refused]
    return max(answered, key=lambda case: len(case.inputs), default=None)


@click.command()
@click.option("--only", multiple=True, metavar="NAME", help="Of the table only these; may be given often.")
@click.option("--rounds", default=5, show_default=True, help="How often each is loaded.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write what was found there too.")
@click.option("--folder", type=click.Path(path_type=Path), help="Written by `python -m loadtests.exports` already.")
def main(only: tuple[str, ...], rounds: int, file: Path | None, folder: Path | None) -> None:
    """Measure how long each way to export a model takes to load."""
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    exports = chosen(only)
    names = [export.name for export in exports]
    with written(exports, folder) as models:
        found = [measure(load, models, names, rounds) for load in (by_tensorflow_1, by_tensorflow_2, by_the_service)]
    table = Table(box=None, pad_edge=False)
    table.add_column("model")
    for loader in _LOADERS:
        table.add_column(f"{loader}, ms", justify="right")
    for name in names:
        table.add_row(
            name,
            *(f"{seconds * 1e3:.1f}{' ' if answers else '?'}" for seconds, answers in (each[name] for each in found)),
        )
    sums = [sum(seconds for seconds, _ in each.values()) for each in found]
    table.add_row("all", *(f"{seconds * 1e3:.0f} " for seconds in sums))
    Console(width=120).print(table)
    if file is not None:
        document = {
            name: {loader: each[name][0] for loader, each in zip(_LOADERS, found, strict=True)} for name in names
        }
        file.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
