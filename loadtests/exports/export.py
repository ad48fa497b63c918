"""A row of the table: one way to export a model, and what is expected where it is served."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from loadtests.exports.draws import Draw
from service.interface import DEFAULT_SIGNATURE

# Reasons for which a service must not join the requests of a signature; "…" stands for what differs.
DEPENDENT_ROWS: Final = "a row of its output … depends on the other rows of the batch"
OTHER_ROWS: Final = "its output … rows for 3 rows of input"
ANY_SHAPE: Final = "a row of an output may have any shape"
NO_OPEN_DIMENSION: Final = "the first dimension of a declared input or output is not variable"
OPEN_DIMENSIONS: Final = "it takes several dimensions of any size"
NO_RECORDS: Final = "the version's warm-up file lacks two rows"
CHANGES_STATE: Final = "it changes state"
RANDOM: Final = "it draws random numbers"
PYTHON: Final = "it runs Python code"

# Writes a SavedModel into a folder; the first argument is TensorFlow.
Write = Callable[[Any, Path], None]


@dataclass(frozen=True)
class Asked:
    """What a signature is asked, and what is expected of it.

    Attributes:
        draw: draws the inputs of a request.
        joined: whether requests for it may run together; None where both are right.
        why: the reason why they must not, as one of the above.
        within: outputs that are never twice the same, with the least and the greatest value that they have.
        rounding: the share by which numbers of 32 bits and more may differ.
        over_rest: whether JSON can carry it.
        refused: words of the error that every request gets, where the signature can't be run.
    """

    draw: Draw
    joined: bool | None
    why: str = ""
    within: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    rounding: float = 1e-5
    over_rest: bool = True
    refused: str = ""

    @property
    def becomes(self) -> str:
        """What becomes of its requests, for people."""
        if self.refused:
            return f"refused: {self.why}"
        if self.joined is None:
            return "joined or not"
        return "joined" if self.joined else f"not joined: {self.why}"


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

    @property
    def becomes(self) -> str:
        """What becomes of it where it is served, for people."""
        if self.refused:
            return f"refused: {PYTHON} ({self.refused})"
        return "; ".join(dict.fromkeys(asked.becomes for asked in self.signatures.values()))


def says(reason: str, words: str) -> bool:
    """Whether a reason holds these words, where "…" stands for any others."""
    return all(part in reason for part in words.split("…"))


def default(draw: Draw, joined: bool | None, **more: Any) -> dict[str, Asked]:
    """What is asked of an export with one signature."""
    return {DEFAULT_SIGNATURE: Asked(draw, joined, **more)}
