"""The recipes, by name; each is one readable file."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from training.errors import TrainingError
from training.recipe import Recipe

NAMES: Final = (
    "cats_vs_dogs",
    "rock_paper_scissors",
    "sign_language",
    "sign_language_photos",
    "mnist",
    "fashion_mnist",
    "cifar10",
    "circles",
    "circles_many",
    "image_folder",
    "transfer",
)


def summaries() -> Iterator[tuple[str, str]]:
    """Each recipe's name and the first sentence of its file, which is not imported for it."""
    for name in NAMES:
        said = ast.get_docstring(ast.parse(Path(__file__).with_name(f"{name}.py").read_text("utf-8"))) or ""
        yield name, said.partition("\n")[0]


def get(name: str) -> Recipe:
    """The recipe of a name.

    Raises:
        TrainingError: there is none of that name.
    """
    if name not in NAMES:
        raise TrainingError(f"There is no recipe {name!r}; there are {', '.join(NAMES)}.")
    recipe: Recipe = importlib.import_module(f"training.recipes.{name}").RECIPE
    return recipe
