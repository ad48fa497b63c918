"""Would a graph take inputs of other shapes than its signature declares? TensorFlow's own shape inference says so.

Declared shapes are advice, but not every operation checks what it is given: on an input of another rank, some end the
whole process (a convolution's "Check failed" in TensorFlow 2.21). So a request with such shapes is judged before it
runs, without running anything, by building the graph once more around inputs of these shapes. It takes milliseconds.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from service.interface import Signature

Shapes = tuple[tuple[int, ...], ...]  # of the inputs, in the order of the signature

# Shapes of which the judgement is remembered.
_REMEMBERED: Final = 256
# What TensorFlow says after the reason: where, and the node with all its attributes.
_WHERE: Final = " for '{{node"


class ShapeJudge:
    """Judges the inputs of one signature.

    Args:
        tf: TensorFlow.
        graph_def: the part of the graph that the signature needs, see `service.engine.tf.definition`.
        signature: its inputs and outputs.
    """

    def __init__(self, tf: Any, graph_def: Any, signature: Signature) -> None:
        """Judge nothing yet."""
        self._tf = tf
        self._graph_def = graph_def
        self._signature = signature
        used = {tensor.removesuffix(":0") for node in graph_def.node for tensor in node.input}
        # An input that nothing reads can have any shape.
        self._used = [spec for spec in signature.inputs.values() if spec.tensor.removesuffix(":0") in used]
        self._lock = threading.Lock()
        self._known: OrderedDict[Shapes, str] = OrderedDict()

    def why_not(self, shapes: Mapping[str, tuple[int, ...]]) -> str:
        """Why the graph does not take inputs of these shapes, by name; empty if nothing speaks against it."""
        key = tuple(shapes[spec.name] for spec in self._used)
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        found = self._infer(key)
        with self._lock:
            self._known[key] = found
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return found

    def _infer(self, shapes: Shapes) -> str:
        tf = self._tf
        with tf.Graph().as_default():
            given = {
                spec.tensor: tf.compat.v1.placeholder(_dtype(tf, spec.dtype_name), shape)
                for spec, shape in zip(self._used, shapes, strict=True)
            }
            try:
                tf.graph_util.import_graph_def(self._graph_def, input_map=given, name="")
            except (ValueError, tf.errors.OpError) as error:
                return str(error).partition(_WHERE)[0].strip()
        return ""


def _dtype(tf: Any, name: str) -> Any:
    return tf.dtypes.as_dtype(name.removeprefix("DT_").lower())
