"""What a SavedModel's file says, read without TensorFlow: its signatures, and the operations behind each of them."""

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from google.protobuf import text_format

from service import protocol, signature_messages, store
from service.errors import LoadFailed, without_paths
from service.interface import DEFAULT_SIGNATURE, Signature

_INTERNAL_SIGNATURES: Final = ("__saved_model_init_op", "__saved_model_train_op")
# They call back into the Python program that exported the model, which is not here.
_PYTHON: Final = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})
# What an operation's name begins with that changes what later calls get.
_STATE: Final = (
    "Assign", "ResourceApply", "ResourceScatter", "ResourceSparseApply", "Scatter", "MutableHashTable",
    "MutableDenseHashTable", "LookupTableInsert", "LookupTableRemove", "LookupTableImport", "FIFOQueue", "QueueEnqueue",
    "QueueDequeue", "StackPush", "Iterator", "RngSkip", "RngReadAndSkip",
)  # fmt: skip
_RANDOM: Final = (
    "Random", "Multinomial", "TruncatedNormal", "ParameterizedTruncatedNormal", "StatefulUniform", "StatefulStandard",
    "StatefulTruncated", "StatefulRandom",
)  # fmt: skip
_DETERMINISTIC: Final = frozenset({"ScatterNd"})
# Of a constant that is a weight rather than a shape or an axis.
_LARGE_BYTES: Final = 1024
# Attributes of nodes that name other nodes, which may not be there, or say which shapes came out where it was exported.
_REMARKS: Final = ("_class", "_output_shapes")


@dataclass(frozen=True)
class Definition:
    """A SavedModel's graph for serving.

    Attributes:
        signatures: by name.
        operations: the kinds of operations that each of them may run, as TensorFlow names them.
        lacking: of those that name a tensor which the graph does not have, that tensor.
        tags: all tags of the graph.
        outlines: of those signatures that are not image classifiers', the part of the graph that they need, without its
            weights.
        has_objects: whether TensorFlow 2 wrote it, so that its loader finds more than the graph.
    """

    signatures: Mapping[str, Signature]
    operations: Mapping[str, frozenset[str]]
    lacking: Mapping[str, str]
    tags: list[str]
    has_objects: bool
    outlines: Mapping[str, Any]

    def why_not_run(self, name: str) -> str:
        """Why a signature can't be run anywhere but in the program that exported it; empty where it can."""
        signature = self.signatures[name]
        for spec in (*signature.inputs.values(), *signature.outputs.values()):
            if spec.dtype_name not in protocol.TYPES:
                return f"{spec.name!r} has the type {spec.dtype_name}, which no request or answer can carry"
        if name in self.lacking:
            return f"it names the tensor {self.lacking[name]!r}, which the graph does not have"
        found = sorted(self.operations[name] & _PYTHON)
        if not found:
            return ""
        return (
            f"it runs Python code ({found[0]}), which a SavedModel does not contain; export it with "
            "TensorFlow's own operations instead of tf.py_function and tf.numpy_function"
        )

    def why_calls_differ(self, name: str) -> str:
        """Why a signature may answer the same input differently from call to call; empty where nothing says so."""
        for starts, says in ((_STATE, "it changes state"), (_RANDOM, "it draws random numbers")):
            found = sorted(
                each for each in self.operations[name] if each.startswith(starts) and each not in _DETERMINISTIC
            )
            if found:
                return f"{says} ({found[0]})"
        return ""


def read(folder: Path, tags: Iterable[str]) -> Definition:
    """Read the definition of a SavedModel, in its binary or its text form.

    Args:
        folder: the SavedModel.
        tags: of its graphs the one with exactly these tags counts, or else the first that has them all.

    Raises:
        LoadFailed: it can't be read, or has no such graph, or no signature, or none that can be run.
    """
    saved_model = _read_file(folder)
    wanted = set(tags)
    graphs = [graph for graph in saved_model.meta_graphs if wanted <= set(graph.meta_info_def.tags)]
    if not graphs:
        shown = ", ".join(sorted(wanted))
        there = "; ".join(", ".join(graph.meta_info_def.tags) or "no tag" for graph in saved_model.meta_graphs)
        raise LoadFailed(
            f"{folder} has no graph tagged {shown!r} (its graphs are tagged: {there or 'there is none'}); export it "
            "for serving, or pass its tags with --saved_model_tags."
        )
    graph = next((graph for graph in graphs if set(graph.meta_info_def.tags) == wanted), graphs[0])
    signatures = {
        name: signature_messages.read_signature(proto)
        for name, proto in sorted(graph.signature_def.items())
        if name not in _INTERNAL_SIGNATURES
    }
    if not signatures:
        raise LoadFailed(f"{folder} has no signature; export it with one named {DEFAULT_SIGNATURE!r}.")
    nodes = {node.name for node in graph.graph_def.node}
    definition = Definition(
        signatures,
        {name: _operations(graph.graph_def, signature) for name, signature in signatures.items()},
        {name: lacking for name, signature in signatures.items() if (lacking := _lacking(signature, nodes))},
        list(graph.meta_info_def.tags),
        graph.HasField("object_graph_def"),
        {
            name: outline(graph.graph_def, [spec.tensor for spec in signature.outputs.values()])
            for name, signature in signatures.items()
            if signature.image is None
        },
    )
    reasons = {name: definition.why_not_run(name) for name in signatures}
    if all(reasons.values()):
        name, why = next(iter(reasons.items()))
        raise LoadFailed(f"{folder} can't be served; of its signature {name!r}: {why}.")
    return definition


def _read_file(folder: Path) -> Any:
    saved_model = protocol.saved_model_pb2.SavedModel()
    path = folder / store.SAVED_MODEL
    if not path.exists() and (folder / store.SAVED_MODEL_TEXT).exists():
        path = folder / store.SAVED_MODEL_TEXT
    try:
        if path.name == store.SAVED_MODEL_TEXT:
            text_format.Parse(path.read_bytes(), saved_model)
        else:
            saved_model.ParseFromString(path.read_bytes())
    except OSError as error:
        raise LoadFailed(f"{path} can't be read: {error.strerror}.") from error
    except Exception as error:  # protobuf's DecodeError and ParseError
        raise LoadFailed(f"{path} is not a SavedModel: {without_paths(str(error)).splitlines()[0]}") from error
    return saved_model


def operations_behind(graph_def: Any, tensors: Iterable[str], fed: Iterable[str] = ()) -> frozenset[str]:
    """The kinds of operations that tensors of a graph depend on, those in the functions that it calls included.

    Args:
        graph_def: the graph.
        tensors: their names.
        fed: names of tensors that are given, so that what is behind them does not run.
    """
    nodes, functions = _behind(graph_def, tensors, fed)
    return frozenset(node.op for node in (*nodes, *(node for function in functions for node in function.node_def)))


def part(graph_def: Any, ends: Mapping[str, tuple[str, str]]) -> Any:
    """The part of a graph that tensors depend on; each is the output of an Identity of a new name.

    Args:
        graph_def: the graph.
        ends: a tensor and its type, as TensorFlow names it, for the name of each Identity.
    """
    cut = protocol.meta_graph_pb2.MetaGraphDef().graph_def
    cut.versions.CopyFrom(graph_def.versions)
    nodes, functions = _behind(graph_def, [tensor for tensor, _ in ends.values()])
    cut.node.extend(nodes)
    cut.library.function.extend(functions)
    for name, (tensor, dtype_name) in ends.items():
        cut.node.add(name=name, op="Identity", input=[tensor]).attr["T"].type = protocol.types_pb2.DataType.Value(
            dtype_name
        )
    return cut


def outline(graph_def: Any, tensors: Iterable[str]) -> Any:
    """The part of a graph that tensors depend on, with placeholders for its weights: enough to infer shapes."""
    part = protocol.meta_graph_pb2.MetaGraphDef().graph_def
    part.versions.CopyFrom(graph_def.versions)
    nodes, functions = _behind(graph_def, tensors)
    for node in nodes:
        _add_outline(part.node, node)
    for function in functions:
        copied = part.library.function.add()
        copied.CopyFrom(function)
        del copied.node_def[:]
        for node in function.node_def:
            _add_outline(copied.node_def, node)
    return part


def _behind(graph_def: Any, tensors: Iterable[str], fed: Iterable[str] = ()) -> tuple[list[Any], list[Any]]:
    """The nodes of a graph that tensors depend on, and the functions that these call."""
    known = set(map(_node_name, fed))
    nodes = {node.name: node for node in graph_def.node if node.name not in known}
    functions = {function.signature.name: function for function in graph_def.library.function}
    found, entered = [], []
    called: set[str] = set()
    waiting = [_node_name(tensor) for tensor in tensors]
    while waiting:
        node = nodes.pop(waiting.pop(), None)
        if node is not None:
            found.append(node)
            called.update(_called(node))
            waiting.extend(map(_node_name, node.input))
    while called:
        function = functions.pop(called.pop(), None)
        if function is not None:
            entered.append(function)
            called.update(name for node in function.node_def for name in _called(node))
    return found, entered


def _add_outline(nodes: Any, node: Any) -> None:
    added = nodes.add()
    if node.op != "Const" or node.ByteSize() <= _LARGE_BYTES:
        added.CopyFrom(node)
        for remark in _REMARKS:
            added.attr.pop(remark, None)
        return
    added.name, added.op = node.name, "Placeholder"
    added.input.extend(each for each in node.input if each.startswith("^"))
    added.attr["dtype"].CopyFrom(node.attr["dtype"])
    added.attr["shape"].shape.CopyFrom(node.attr["value"].tensor.tensor_shape)


def _operations(graph_def: Any, signature: Signature) -> frozenset[str]:
    inputs, outputs = ([spec.tensor for spec in specs.values()] for specs in (signature.inputs, signature.outputs))
    return operations_behind(graph_def, outputs, inputs)


def _lacking(signature: Signature, nodes: Container[str]) -> str:
    """A tensor of a signature that is not in its graph; empty if all are."""
    tensors = [spec.tensor for spec in (*signature.inputs.values(), *signature.outputs.values())]
    return next((tensor or "(no name)" for tensor in tensors if _node_name(tensor) not in nodes), "")


def _node_name(tensor: str) -> str:
    return tensor.lstrip("^").partition(":")[0]


def _called(node: Any) -> Iterator[str]:
    yield node.op  # a function may be called by its name as an operation
    for value in node.attr.values():
        yield value.func.name
        yield from (function.name for function in value.list.func)
