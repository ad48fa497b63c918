"""SavedModels by TensorFlow 2's loader: objects with functions, whatever TensorFlow 1's does not find in the graph."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from service.engine.batching import Run
from service.engine.definition import Definition
from service.engine.graph_loader import freezable
from service.engine.interface import Array, Signature
from service.engine.tf_errors import first_line, translated
from service.engine.tf_session import Ends, Frozen, Opened

log = logging.getLogger(__name__)


def open_functions(tf: Any, folder: Path, definition: Definition, names: Iterable[str]) -> Opened:
    """Load a SavedModel that TensorFlow 2 wrote.

    Args:
        tf: TensorFlow.
        folder: the SavedModel.
        definition: what its file says.
        names: the signatures to run.

    Raises:
        Exception: what TensorFlow raises of a SavedModel that it can't load.
    """
    loaded = [tf.saved_model.load(str(folder), tags=definition.tags)]  # emptied by `close`
    functions = dict(loaded[0].signatures)

    def close() -> None:
        loaded.clear()
        functions.clear()

    frozen = _freeze_all(tf, functions, definition, list(names))
    return Opened(frozen, lambda name: _run_of(tf, functions[name], definition.signatures[name]), close)


def _freeze_all(tf: Any, functions: Mapping[str, Any], definition: Definition, names: Sequence[str]) -> list[Frozen]:
    """The frozen graphs: one for all signatures, or where some can't be frozen, one for each that can."""
    names = [name for name in names if freezable(definition.operations[name])]
    if not names:
        return []
    together = _freeze(tf, functions, definition, names)
    if together is not None or len(names) == 1:
        return [] if together is None else [together]
    alone = [_freeze(tf, functions, definition, [name]) for name in names]
    return [frozen for frozen in alone if frozen is not None]


def _freeze(tf: Any, functions: Mapping[str, Any], definition: Definition, names: Sequence[str]) -> Frozen | None:
    """What functions compute with their variables as constants, as one graph in which they share them."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    specs = [(name, key, spec) for name in names for key, spec in functions[name].structured_input_signature[1].items()]

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def together(*arrays: Any) -> Any:
        given: dict[str, dict[str, Any]] = {name: {} for name in names}
        for (name, key, _), array in zip(specs, arrays, strict=True):
            given[name][key] = array
        return [_parts(tf, functions[name](**given[name])) for name in names]

    try:
        traced = together.get_concrete_function(*(tf.TensorSpec(spec.shape, spec.dtype) for *_, spec in specs))
        frozen = convert_variables_to_constants_v2(traced)
    except Exception as error:
        log.info("Running as it is what can't be frozen: %s", first_line(error))
        return None
    if len(frozen.inputs) != len(specs):  # tables and the like come in as further inputs
        return None
    feeds: dict[str, dict[str, str]] = {name: {} for name in names}
    for (name, key, _), tensor in zip(specs, frozen.inputs, strict=True):
        feeds[name][key] = tensor.name
    outputs = iter(frozen.outputs)
    fetches = {name: {key: next(outputs).name for key in definition.signatures[name].outputs} for name in names}
    return Frozen(frozen.graph.as_graph_def(), {name: Ends(feeds[name], fetches[name]) for name in names})


def _run_of(tf: Any, function: Any, signature: Signature) -> Run:
    """A function that calls one of TensorFlow's, eagerly."""

    def run(inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> Mapping[str, Array]:
        try:
            answered = function(**{name: tf.constant(array) for name, array in inputs.items()})
            arrays = [np.asarray(part.numpy()) for part in _parts(tf, answered)]
        except (tf.errors.OpError, ValueError, TypeError) as error:
            raise translated(tf, error) from error
        given = dict(zip(signature.outputs, arrays, strict=True))
        return {name: given[name] for name in outputs or given}

    return run


def _parts(tf: Any, outputs: Mapping[str, Any]) -> list[Any]:
    """The tensors of a function's outputs in the order of their names, ragged and sparse ones in their parts."""
    return [part for name in sorted(outputs) for part in tf.nest.flatten(outputs[name], expand_composites=True)]
