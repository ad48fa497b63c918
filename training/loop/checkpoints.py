"""What a run needs to go on where it stopped: one file, written beside and renamed, after each epoch."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from training.errors import TrainingError
from training.whole_files import whole_files

FILE: Final = "checkpoint.npz"

Arrays = list[npt.NDArray[Any]]
History = list[dict[str, float]]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state after an epoch.

    Attributes:
        identity: the choices of the run (recipe, seed, data); a run with others must not go on from here.
        epoch: epochs done.
        network: all variables of the network, the states of its random generators too.
        optimizer: all variables of the optimizer.
        average: the averaged weights.
        average_steps: how many steps they have averaged.
        history: the numbers of each epoch.
        best: the averaged weights of the best epoch so far, or nothing where nobody asked for them.
    """

    identity: Mapping[str, Any]
    epoch: int
    network: Arrays
    optimizer: Arrays
    average: Arrays
    average_steps: int
    history: History
    best: Arrays = field(default_factory=list)


def save(folder: Path, state: Checkpoint) -> Path:
    """Write the checkpoint; the one before stays until the new one is whole.

    Raises:
        StoreError: the folder can't be written, or the disk is full.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name in ("network", "optimizer", "average", "best"):
        for index, array in enumerate(getattr(state, name)):
            arrays[f"{name}.{index:04}"] = array
    about = {
        "identity": state.identity,
        "epoch": state.epoch,
        "average_steps": state.average_steps,
        "history": state.history,
    }
    with whole_files(folder, "checkpoints") as temporary:
        np.savez(temporary / FILE, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]  # NumPy's stub
    return folder / FILE


def load(folder: Path) -> Checkpoint:
    """Read the checkpoint of a folder.

    Raises:
        TrainingError: there is none, or it is broken.
    """
    check(folder)
    path = folder / FILE
    try:
        with path.open("rb") as opened, np.load(opened) as file:
            about = json.loads(str(file["about"]))
            found = {name: file[name] for name in file.files if name != "about"}
    except Exception as error:  # NumPy and zipfile raise many things on a broken file
        raise TrainingError(f"The checkpoint {path} is corrupt ({error}); remove it and start again.") from error
    return Checkpoint(
        identity=about["identity"],
        epoch=about["epoch"],
        network=_part(found, "network"),
        optimizer=_part(found, "optimizer"),
        average=_part(found, "average"),
        average_steps=about["average_steps"],
        history=about["history"],
        best=_part(found, "best"),
    )


def _part(found: Mapping[str, npt.NDArray[Any]], name: str) -> Arrays:
    return [found[key] for key in sorted(found) if key.startswith(f"{name}.")]


def check(folder: Path) -> None:
    """Make sure that the folder holds a checkpoint.

    Raises:
        TrainingError: there is none.
    """
    if not (folder / FILE).is_file():
        raise TrainingError(f"There is no checkpoint at {folder / FILE}; start the run without --resume first.")


def same(first: Sequence[npt.NDArray[Any]], second: Sequence[npt.NDArray[Any]]) -> bool:
    """Whether two lists of arrays fit each other in number and shapes."""
    return len(first) == len(second) and all(a.shape == b.shape for a, b in zip(first, second, strict=True))
