"""The right answers: what TensorFlow's own loaders make of one request at a time."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from loadtests.exports import cases
from loadtests.exports.cases import Case
from loadtests.exports.draws import Inputs
from loadtests.exports.export import Export
from service import protocol, store
from service.engine.interface import Array


def write(tf: Any, folder: Path, exports: list[Export], count: int) -> None:
    """Write a store with version 1 of each export, and `count` cases for each.

    Args:
        tf: TensorFlow.
        folder: where to; see `cases` for what lies where.
        exports: rows of the table.
        count: cases of each.
    """
    for export in exports:
        version = cases.store_of(folder) / export.name / "1"
        export.write(tf, version)
        if not export.refused:
            cases.write(folder, export.name, _cases(tf, export, version, count))


def _cases(tf: Any, export: Export, version: Path, count: int) -> list[Case]:
    drawn = cases.draw(export, count)
    asked = [(name, inputs) for name, inputs in drawn if not export.signatures[name].refused]
    right = iter(_by_session(tf, version, asked) if export.of_tensorflow_1 else _by_loading(tf, version, asked))
    made = []
    for name, inputs in drawn:
        expected = export.signatures[name]
        outputs = {} if expected.refused else next(right)
        made.append(Case(name, inputs, outputs, expected.within, expected.refused, expected.over_rest))
    return made


def _by_loading(tf: Any, version: Path, asked: list[tuple[str, Inputs]]) -> list[Mapping[str, Array]]:
    signatures = tf.saved_model.load(str(version)).signatures
    answers: list[Mapping[str, Array]] = []
    defaults = _defaults(tf, version)
    for name, inputs in asked:
        fed = {**defaults.get(name, {}), **inputs}
        outputs = signatures[name](**{key: tf.constant(value) for key, value in fed.items()})
        answers.append({key: np.asarray(value.numpy()) for key, value in outputs.items()})
    return answers


def _defaults(tf: Any, version: Path) -> dict[str, Inputs]:
    """What stands for inputs that a request leaves out; TensorFlow's loader does not know of it."""
    path = version / store.SAVED_MODEL
    if not path.exists():  # written as text
        return {}
    definitions = protocol.saved_model_pb2.SavedModel.FromString(path.read_bytes()).meta_graphs[0].signature_def
    return {
        name: {key: tf.make_ndarray(value) for key, value in definition.defaults.items()}
        for name, definition in definitions.items()
    }


def _by_session(tf: Any, version: Path, asked: list[tuple[str, Inputs]]) -> list[Mapping[str, Array]]:
    tf1 = tf.compat.v1
    with tf.Graph().as_default(), tf1.Session() as session:
        definitions = tf1.saved_model.load(session, ["serve"], str(version)).signature_def
        answers: list[Mapping[str, Array]] = []
        for name, inputs in asked:
            feeds = {definitions[name].inputs[key].name: value for key, value in inputs.items()}
            answers.append(session.run({key: info.name for key, info in definitions[name].outputs.items()}, feeds))
        return answers
