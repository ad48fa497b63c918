"""A runtime behind the reference: whatever it is not for, or does oddly, the reference answers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from service.engine.batching.batcher import Run
from service.interface import Array, Signature

_FLOATS: Final = "fc"


class Guarded:
    """Runs a signature in a runtime, see `service.engine.batching.batcher.Run`.

    Inputs that do not have the declared shapes and types, or of other sizes than the runtime takes, and outputs that
    are not numbers, are the reference's. Where the runtime fails on inputs that the reference answers, or gives what is
    not a number where the reference gives one, the reference answers that very request and all that follow. Inputs that
    the reference refuses, too, change nothing.

    Args:
        run: the runtime's function.
        reference: TensorFlow's.
        signature: what they compute.
        outputs: those that the runtime gives.
        sizes: rows with which it may run; empty for any number.
        given_up: told why the runtime is given up, once.
    """

    def __init__(
        self,
        run: Run,
        reference: Run,
        signature: Signature,
        *,
        outputs: Sequence[str],
        sizes: Sequence[int] = (),
        given_up: Callable[[str], None],
    ) -> None:
        """The runtime runs until it does something odd."""
        self._run = run
        self._reference = reference
        self._signature = signature
        self._outputs = frozenset(outputs)
        self._all = self._outputs == signature.outputs.keys()
        self._sizes = frozenset(sizes)
        self._given_up = given_up
        self.gave_up = False

    def __call__(self, inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> Mapping[str, Array]:
        """Run one call."""
        if self.gave_up or not self._takes(inputs, outputs):
            return self._reference(inputs, outputs)
        found: Mapping[str, Array] = {}
        try:
            found = self._run(inputs, outputs)
            why = "" if all(map(_is_whole, found.values())) else "it gave what is not a number"
        except Exception as error:  # of any kind: the runtime is somebody else's code
            why = f"it failed: {error}"
        if not why:
            return found
        answered = self._reference(inputs, outputs)  # what this refuses is the caller's fault
        if found and all(_alike(found[name], answered[name]) for name in found):
            return answered
        if not self.gave_up:  # two threads may both tell it; either is right
            self.gave_up = True
            self._given_up(why)
        return answered

    def _takes(self, inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> bool:
        if not (self._outputs.issuperset(outputs) if outputs else self._all):
            return False
        specs = self._signature.inputs
        if inputs.keys() != specs.keys():
            return False
        for name, array in inputs.items():
            if array.dtype != specs[name].dtype or not array.size or not specs[name].fits(array.shape):
                return False
        return not self._sizes or {len(array) for array in inputs.values()} <= self._sizes


def _is_whole(array: Array) -> bool:
    return array.dtype.kind not in _FLOATS or bool(np.isfinite(array).all())


def _alike(one: Array, other: Array) -> bool:
    """Whether two arrays have the same shape, and no numbers in the same places."""
    if one.shape != other.shape or one.dtype.kind not in _FLOATS:
        return one.shape == other.shape
    return bool((np.isfinite(one) == np.isfinite(other)).all())
