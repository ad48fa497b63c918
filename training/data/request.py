"""What the user asks a recipe's data source for."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from training.data.class_folders import Level


@dataclass(frozen=True)
class Request:
    """What the user asks a recipe's data source for.

    Attributes:
        paths: the values of --data; empty means that none was given.
        seed: of the run.
        samples: how many images to draw, for the recipes that draw; None for the recipe's own number.
        cache: folder for decoded pixels and downloads.
        say: prints a line for the user.
        outsiders: the values of --outsiders: images of other things.
        class_folders: which folders are the classes where folders lie in folders; None to find out.
    """

    paths: tuple[Path, ...]
    seed: int
    samples: int | None
    cache: Path
    say: Callable[[str], None]
    class_folders: Level | None = None
    outsiders: tuple[Path, ...] = ()
