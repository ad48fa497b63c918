"""SavedModels by TensorFlow 2's loader: objects with functions, whatever TensorFlow 1's does not find in the graph."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from service.engine.batching.batcher import Run
from service.engine.tf.definition import Definition
from service.engine.tf.errors import first_line, translated
from service.engine.tf.graph_loader import freezable
from service.engine.tf.session import Ends, Frozen, Opened, as_array
from service.interface import Array, Signature

log = logging.getLogger(__name__)

# Of a constant that signatures should share.
_LARGE_BYTES: Final = 1024


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
    return Opened(frozen, lambda name, _: _run_of(tf, functions[name], definition.signatures[name]), close)


def _freeze_all(tf: Any, functions: Mapping[str, Any], definition: Definition, names: Iterable[str]) -> list[Frozen]:
    """Those signatures that can be frozen, as one graph in which they share their weights."""
    graph_def = tf.compat.v1.GraphDef()
    constants: dict[bytes, str] = {}
    ends: dict[str, Ends] = {}
    for number, name in enumerate(names):
        if not freezable(definition.operations[name]):
            continue
        specs = functions[name].structured_input_signature[1]
        frozen = _freeze(tf, functions[name], specs)
        if frozen is None:
            continue
        moved = _add(graph_def, frozen.graph.as_graph_def(), f"signature_{number}/", constants)

        def named(keys: Iterable[str], tensors: Iterable[Any], moved: Mapping[str, str] = moved) -> dict[str, str]:
            return {
                key: f"{moved[tensor.op.name]}:{tensor.value_index}" for key, tensor in zip(keys, tensors, strict=True)
            }

        ends[name] = Ends(named(specs, frozen.inputs), named(definition.signatures[name].outputs, frozen.outputs))
    return [Frozen(graph_def, ends)] if ends else []


def _freeze(tf: Any, function: Any, specs: Mapping[str, Any]) -> Any | None:
    """A function with constants for its variables, or None where it has more than variables.

    Its inputs are in the order of `specs`, its outputs in that of their names. A function from a SavedModel takes its
    inputs by name alone, and in which order its graph has them is nowhere said; so it is called by another one.
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    def call(*arrays: Any) -> Any:
        return _parts(tf, function(**dict(zip(specs, arrays, strict=True))))

    try:
        wanted = [tf.TensorSpec(spec.shape, spec.dtype) for spec in specs.values()]
        frozen = convert_variables_to_constants_v2(tf.function(call, autograph=False).get_concrete_function(*wanted))
    except Exception as error:
        log.info("Can't be frozen, so it runs as it is: %s", first_line(error), extra={"once": True})
        return None
    # Tables and the like come in as further inputs.
    return frozen if len(frozen.inputs) == len(specs) else None


def _add(graph_def: Any, other: Any, prefix: str, constants: dict[bytes, str]) -> dict[str, str]:
    """Add a graph to another, under a prefix, but each large constant only once.

    Args:
        graph_def: the graph that grows.
        other: the one to add.
        prefix: of the names of its nodes.
        constants: names of the large constants that are there, by what they hold; grows.

    Returns:
        The new name of each of its nodes.
    """
    moved: dict[str, str] = {}
    for node in other.node:
        moved[node.name] = prefix + node.name
        if node.op == "Const" and node.ByteSize() > _LARGE_BYTES:
            held = node.attr["value"].SerializeToString(deterministic=True)
            moved[node.name] = constants.setdefault(held, moved[node.name])
    for node in other.node:
        name = moved[node.name]
        if name != prefix + node.name:  # it is there already
            continue
        added = graph_def.node.add()
        added.CopyFrom(node)
        added.name = name
        added.attr.pop("_class", None)  # it names other nodes
        del added.input[:]
        added.input.extend(_moved_input(each, moved) for each in node.input)
    graph_def.library.MergeFrom(other.library)
    graph_def.versions.CopyFrom(other.versions)
    return moved


def _moved_input(tensor: str, moved: Mapping[str, str]) -> str:
    control = "^" if tensor.startswith("^") else ""
    name, colon, index = tensor.removeprefix("^").partition(":")
    return f"{control}{moved[name]}{colon}{index}"


def _run_of(tf: Any, function: Any, signature: Signature) -> Run:
    """A function that calls one of TensorFlow's, eagerly."""

    def run(inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> Mapping[str, Array]:
        try:
            answered = function(**{name: tf.constant(array) for name, array in inputs.items()})
            arrays = [as_array(part.numpy()) for part in _parts(tf, answered)]
        except (tf.errors.OpError, ValueError, TypeError) as error:
            raise translated(tf, error) from error
        given = dict(zip(signature.outputs, arrays, strict=True))
        return {name: given[name] for name in outputs or given}

    return run


def _parts(tf: Any, outputs: Mapping[str, Any]) -> list[Any]:
    """The tensors of a function's outputs in the order of their names, ragged and sparse ones in their parts."""
    return [part for name in sorted(outputs) for part in tf.nest.flatten(outputs[name], expand_composites=True)]
