"""The part of a version that a runtime runs: a graph of constants, from placeholders to numbers."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from service.engine.batching.batcher import Run
from service.errors import LoadFailed
from service.interface import DEFAULT_SIGNATURE, Signature

# Types that every runtime computes as they are: wider ones than these OpenVINO makes narrower.
_NUMBERS: Final = frozenset({"DT_FLOAT", "DT_HALF", "DT_UINT8", "DT_INT8", "DT_INT32", "DT_BOOL"})
# Of the inputs with which a runtime may be chosen without being asked for: whole numbers are often places in a table,
# and what lies outside of it is an error in TensorFlow only.
_UNASKED: Final = frozenset({"DT_FLOAT", "DT_HALF", "DT_UINT8"})
# Operations after which it depends on the values which others run, or how often.
_CONTROL: Final = (
    "While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase", "Switch", "RefSwitch", "Merge", "Enter",
    "Exit", "NextIteration", "LoopCond", "MapDefun",
)  # fmt: skip


class NotTaken(LoadFailed):
    """A runtime can't run a model; the text says why, to be read after the runtime's name."""


@dataclass(frozen=True)
class Part:
    """What of a frozen graph one signature's numbers need.

    Attributes:
        graph_def: the GraphDef; every output is an Identity at its end.
        feeds: names of placeholders by the signature's inputs.
        fetches: names of the Identities by the signature's outputs.
    """

    graph_def: Any
    feeds: Mapping[str, str]
    fetches: Mapping[str, str]


@dataclass(frozen=True)
class Opened:
    """A signature as a runtime has opened it.

    Attributes:
        devices: the function on each device; it gives the numeric outputs only.
        close: gives the memory back; no run may be on its way.
        sizes: rows with which it may run; empty for any number.
    """

    devices: tuple[Run, ...]
    close: Callable[[], None]
    sizes: tuple[int, ...] = ()


def numbers(signature: Signature) -> tuple[str, ...]:
    """The outputs of a signature that a runtime can give."""
    return tuple(name for name, spec in signature.outputs.items() if spec.dtype_name in _NUMBERS)


def why_not_unasked(signature: Signature) -> str:
    """Why a runtime has to be asked for; empty where it may be chosen."""
    for name, spec in signature.inputs.items():
        if spec.dtype_name not in _UNASKED:
            return f"its input {name!r} ({spec.dtype_name}) may be places in a table, which only TensorFlow checks"
    return ""


def why_not(signatures: Mapping[str, Signature], operations: Mapping[str, Iterable[str]]) -> str:
    """Why no runtime but TensorFlow may run a version; empty where nothing in its definition says so.

    Args:
        signatures: of the version.
        operations: the kinds of operations that each of them may run.
    """
    signature = signatures.get(DEFAULT_SIGNATURE)
    if signature is None:
        return f"it has no signature {DEFAULT_SIGNATURE!r}"
    for name, spec in signature.inputs.items():
        if spec.dtype_name not in _NUMBERS:
            return f"its input {name!r} is {spec.dtype_name}"
        if not spec.shape:
            return f"its input {name!r} has no dimension that is that of a batch"
    if not numbers(signature):
        return "none of its outputs is a number of 32 bits or fewer"
    found = sorted(set(operations[DEFAULT_SIGNATURE]) & set(_CONTROL))
    return f"which of its operations run depends on the input ({found[0]})" if found else ""
