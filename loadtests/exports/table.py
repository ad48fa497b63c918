"""The table: every way to export a model that is looked at."""

import importlib.util
from typing import Final

from loadtests.exports import keras_models, modules, rows, tensorflow_1, text
from loadtests.exports.export import Export

EXPORTS: Final[tuple[Export, ...]] = (
    *keras_models.EXPORTS,
    *modules.EXPORTS,
    *text.EXPORTS,
    *tensorflow_1.EXPORTS,
    *rows.EXPORTS,
)


def written() -> list[Export]:
    """Those that the installed packages can write."""
    return [each for each in EXPORTS if not each.needs or importlib.util.find_spec(each.needs) is not None]
