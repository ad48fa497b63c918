"""A row of the table: one way to export a model, and what is expected where it is served."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadtests.exports.draws import Draw
from service.engine.interface import DEFAULT_SIGNATURE

# Writes a SavedModel into a folder; the first argument is TensorFlow.
Write = Callable[[Any, Path], None]


@dataclass(frozen=True)
class Asked:
    """What a signature is asked, and what is expected of it.

    Attributes:
        draw: draws the inputs of a request.
        joined: whether requests for it may run together; None where both are right.
        within: outputs that are never twice the same, with the least and the greatest value that they have.
        over_rest: whether JSON can carry it.
        refused: words of the error that every request gets, where the signature can't be run.
        records: how many requests lie in the warm-up file of the export.
    """

    draw: Draw
    joined: bool | None
    within: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    over_rest: bool = True
    refused: str = ""
    records: int = 0


@dataclass(frozen=True)
class Export:
    """A way to export a model.

    Attributes:
        name: the model's name in a store.
        way: how it is exported, or what it does that others do not, for people.
        write: writes it.
        signatures: what is asked of each signature that is looked at.
        refused: words of the error with which the version must be refused at loading.
        needs: a package beyond those of the service that writes it.
        of_tensorflow_1: whether a session of TensorFlow 1 tells the right answers: in what its exports hold, and
            where requests have other shapes than the signature says.
    """

    name: str
    way: str
    write: Write
    signatures: Mapping[str, Asked]
    refused: str = ""
    needs: str = ""
    of_tensorflow_1: bool = False


def default(draw: Draw, joined: bool | None, **more: Any) -> dict[str, Asked]:
    """What is asked of an export with one signature."""
    return {DEFAULT_SIGNATURE: Asked(draw, joined, **more)}
