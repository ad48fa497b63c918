"""SavedModels by TensorFlow 1's loader, as TF Serving reads them: a graph, and a session that holds its variables."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from service.engine.batching.batcher import Run
from service.engine.tf.definition import Definition, operations_behind
from service.engine.tf.device import DeviceSettings, session_config
from service.engine.tf.errors import first_line
from service.engine.tf.session import Ends, Frozen, Opened, run_of
from service.errors import ModelFailed
from service.interface import Signature

log = logging.getLogger(__name__)

# Operations whose resources or effects freezing would lose.
_NOT_FREEZABLE: Final = ("Assign", "ResourceApply", "ResourceScatter", "HashTable", "MutableHashTable", "LookupTable")
_VARIABLES: Final = frozenset({"VarHandleOp", "Variable", "VariableV2"})


def freezable(operations: Iterable[str]) -> bool:
    """Whether constants can stand for the variables of a signature that runs these operations."""
    return not any(operation.startswith(_NOT_FREEZABLE) for operation in operations)


def open_graph(tf: Any, folder: Path, definition: Definition, names: Iterable[str], device: DeviceSettings) -> Opened:
    """Load a SavedModel.

    Args:
        tf: TensorFlow.
        folder: the SavedModel.
        definition: what its file says.
        names: the signatures to run.
        device: how TensorFlow uses the device.

    Raises:
        ModelFailed: a variable that a signature reads is not among those that were restored.
        Exception: what TensorFlow raises of a SavedModel that it can't load.
    """
    graph = tf.Graph()
    session = tf.compat.v1.Session(graph=graph, config=session_config(tf, device))
    try:
        with graph.as_default():
            tf.compat.v1.saved_model.load(session, definition.tags, str(folder))
            graph_def = graph.as_graph_def()
            signatures = {name: definition.signatures[name] for name in names}
            _check_variables(tf, session, graph_def, signatures)
            frozen = _freeze_all(tf, session, graph_def, definition, list(signatures))
    except BaseException:
        session.close()
        raise

    def as_it_is(name: str, limit_s: float) -> Run:
        return run_of(tf, session, _ends(definition.signatures[name]), device, limit_s)

    return Opened(frozen, as_it_is, session.close)


def _ends(signature: Signature) -> Ends:
    return Ends(
        {name: spec.tensor for name, spec in signature.inputs.items()},
        {name: spec.tensor for name, spec in signature.outputs.items()},
    )


def _check_variables(tf: Any, session: Any, graph_def: Any, signatures: Mapping[str, Signature]) -> None:
    needed = _needed(tf, graph_def, signatures.values())
    names = [node.name for node in needed.node if node.op == "VarHandleOp"]
    handles = [session.graph.get_tensor_by_name(f"{name}:0") for name in names]
    there = session.run([tf.raw_ops.VarIsInitializedOp(resource=handle) for handle in handles])
    missing = [name for name, is_there in zip(names, there, strict=True) if not is_there]
    if missing:
        raise ModelFailed(f"The variable {missing[0]} is read but was not restored.")


def _freeze_all(tf: Any, session: Any, graph_def: Any, definition: Definition, names: Sequence[str]) -> list[Frozen]:
    """The frozen graphs: one for all signatures, or where some can't be frozen, one for each that can.

    In one graph the signatures share their weights, and what a signature needs beyond is only made when it first runs.
    """
    together = _freeze(tf, session, graph_def, definition, names)
    if together is not None or len(names) == 1:
        return [] if together is None else [together]
    alone = [_freeze(tf, session, graph_def, definition, [name]) for name in names]
    return [frozen for frozen in alone if frozen is not None]


def _freeze(tf: Any, session: Any, graph_def: Any, definition: Definition, names: Sequence[str]) -> Frozen | None:
    """What signatures compute with their variables as constants, or None where that would change what they do."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_from_session_graph

    if not all(freezable(definition.operations[name]) for name in names):
        return None
    signatures = {name: definition.signatures[name] for name in names}
    needed = _needed(tf, graph_def, signatures.values())
    ends = _outputs(signatures.values())
    try:
        frozen = convert_variables_to_constants_from_session_graph(session, needed, ends)
    except Exception as error:
        log.info("Can't be frozen, so it runs as it is: %s", first_line(error), extra={"once": True})
        return None
    if _VARIABLES & operations_behind(frozen, ends):
        return None
    return Frozen(frozen, {name: _ends(signature) for name, signature in signatures.items()})


def _needed(tf: Any, graph_def: Any, signatures: Iterable[Signature]) -> Any:
    return tf.compat.v1.graph_util.extract_sub_graph(graph_def, _outputs(signatures))


def _outputs(signatures: Iterable[Signature]) -> list[str]:
    """The names of the operations that give the outputs."""
    return [spec.tensor.partition(":")[0] for signature in signatures for spec in signature.outputs.values()]
