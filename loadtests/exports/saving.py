"""How the table's own functions are saved."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from loadtests.exports.draws import Draw
from service import protocol, store
from service.interface import DEFAULT_SIGNATURE


def save(
    tf: Any,
    folder: Path,
    function: Callable[..., Any],
    specs: Sequence[Any],
    keep: Any = None,
    others: Mapping[str, tuple[Callable[..., Any], Sequence[Any]]] | None = None,
) -> None:
    """Save functions as the signatures of a `tf.Module`.

    Args:
        tf: TensorFlow.
        folder: where to.
        function: the default signature.
        specs: of its inputs, named.
        keep: what holds the variables and tables that the functions use.
        others: further signatures: functions with the specs of their inputs.
    """
    module = tf.Module()
    module.kept = keep
    functions = {DEFAULT_SIGNATURE: (function, specs), **(others or {})}
    signatures = {name: tf.function(each, input_signature=list(of)) for name, (each, of) in functions.items()}
    for name, signature in signatures.items():
        setattr(module, name, signature)
    tf.saved_model.save(module, str(folder), signatures=signatures)


def record(tf: Any, folder: Path, model: str, signature: str, draw: Draw, count: int) -> None:
    """Write a warm-up file of requests as they are drawn for a signature, one to three rows each."""
    path = folder / store.WARMUP
    path.parent.mkdir(exist_ok=True)
    random = np.random.default_rng(20_26)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number in range(count):
            writer.write(protocol.predict_log(model, signature, draw(random, 1 + number % 3)))
