"""Cases: requests with the right answers, kept in a file beside the store."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadtests.exports.draws import Inputs
from loadtests.exports.export import Export
from service.engine.interface import Array

MOST_ROWS = 4


@dataclass(frozen=True)
class Case:
    """A request, and what is right.

    Attributes:
        signature: which is asked.
        inputs: by name.
        outputs: the right answer by name; empty where the signature must refuse.
        within: outputs that only have to lie between two values; of these `outputs` tells shape and type.
        refused: words that the refusal must hold.
        over_rest: whether JSON can carry it.
    """

    signature: str
    inputs: Inputs
    outputs: Mapping[str, Array]
    within: Mapping[str, tuple[float, float]]
    refused: str
    over_rest: bool


def draw(export: Export, count: int, seed: int = 2026) -> list[tuple[str, Inputs]]:
    """Requests for an export, its signatures in turn, of one to `MOST_ROWS` rows."""
    random = np.random.default_rng(seed)
    names = list(export.signatures)
    drawn = []
    for number in range(max(count, len(names))):
        name = names[number % len(names)]
        drawn.append((name, export.signatures[name].draw(random, int(random.integers(1, MOST_ROWS + 1)))))
    return drawn


def store_of(folder: Path) -> Path:
    """Where the models of a written table are."""
    return folder / "store"


def write(folder: Path, model: str, cases: list[Case]) -> None:
    """Keep the cases of a model."""
    path = _path(folder, model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(cases))


def read(folder: Path, model: str) -> list[Case]:
    """The cases of a model; none where its version must be refused."""
    path = _path(folder, model)
    cases: list[Case] = pickle.loads(path.read_bytes()) if path.exists() else []
    return cases


def _path(folder: Path, model: str) -> Path:
    return folder / "cases" / f"{model}.pickle"
