"""A table of how people export SavedModels: what writes each, what it is asked, and what is expected of a service.

`python -m loadtests.exports FOLDER` writes its models, with requests and their right answers.
"""

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from loadtests.exports import keras_layers, keras_models, modules, rows, tensorflow_1, text
from loadtests.exports.export import Export

EXPORTS: Final[tuple[Export, ...]] = (
    *keras_models.EXPORTS,
    *keras_layers.EXPORTS,
    *modules.EXPORTS,
    *text.EXPORTS,
    *tensorflow_1.EXPORTS,
    *rows.EXPORTS,
)


def chosen(only: Sequence[str] = ()) -> list[Export]:
    """The rows that the installed packages can write, or of them those with these names.

    Raises:
        click.ClickException: no row has such a name.
    """
    names = [export.name for export in EXPORTS]
    if unknown := sorted(set(only) - set(names)):
        raise click.ClickException(f"There is no export named {unknown[0]}; there are {', '.join(names)}.")
    there = [each for each in EXPORTS if not each.needs or importlib.util.find_spec(each.needs) is not None]
    return [each for each in there if not only or each.name in only]


@contextmanager
def written(exports: Sequence[Export], folder: Path | None = None) -> Iterator[Path]:
    """A folder with models and cases of these exports, written by a process of its own, as TensorFlow is large.

    Args:
        exports: rows of the table.
        folder: where they lie already; None writes them into a temporary folder.
    """
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory() as temporary:
        names = [flag for each in exports for flag in ("--only", each.name)]
        command = [sys.executable, "-m", "loadtests.exports", temporary, *names]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise click.ClickException(f"The models can't be written:\n{done.stderr}")
        yield Path(temporary)
