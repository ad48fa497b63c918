"""Cases: requests with the right answers, which are what TensorFlow's own loaders make of them one at a time.

They lie in files beside the store that is asked, so that who asks needs no TensorFlow.
"""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from loadtests.exports.draws import Inputs
from loadtests.exports.export import Export
from service import protocol, store
from service.interface import Array

# Of most requests, and of one in so many: more than a batch holds unless told otherwise.
_MOST_ROWS: Final = 4
_LARGE_ROWS: Final = 40
_LARGE_EVERY: Final = 16


@dataclass(frozen=True)
class Case:
    """A request, and what is right.

    Attributes:
        signature: which is asked.
        inputs: by name.
        outputs: the right answer by name; empty where the signature must refuse.
        within: outputs that only have to lie between two values; of these `outputs` tells shape and type.
        rounding: the share by which numbers of 32 bits and more may differ.
        refused: words that the refusal must hold.
        over_rest: whether JSON can carry it.
    """

    signature: str
    inputs: Inputs
    outputs: Mapping[str, Array]
    within: Mapping[str, tuple[float, float]]
    rounding: float
    refused: str
    over_rest: bool


def write_all(tf: Any, folder: Path, exports: list[Export], count: int) -> None:
    """Write a store with version 1 of each export, and `count` cases for each.

    Args:
        tf: TensorFlow.
        folder: where to; `store_of` tells where the store lies in it.
        exports: rows of the table.
        count: cases of each.
    """
    for export in exports:
        version = store_of(folder) / export.name / "1"
        export.write(tf, version)
        if not export.refused:
            _keep(folder, export.name, _cases(tf, export, version, count))


def store_of(folder: Path) -> Path:
    """Where the models of a written table are."""
    return folder / "store"


def read(folder: Path, model: str) -> list[Case]:
    """The cases of a model; none where its version must be refused."""
    path = _path(folder, model)
    cases: list[Case] = pickle.loads(path.read_bytes()) if path.exists() else []
    return cases


def _draw(export: Export, count: int, seed: int = 2026) -> list[tuple[str, Inputs]]:
    """Requests for an export, its signatures in turn, of a few rows and a few of many."""
    random = np.random.default_rng(seed)
    names = list(export.signatures)
    drawn = []
    for number in range(max(count, len(names))):
        name = names[number % len(names)]
        rows = int(random.integers(1, _MOST_ROWS + 1)) if (number + 1) % _LARGE_EVERY else _LARGE_ROWS
        drawn.append((name, export.signatures[name].draw(random, rows)))
    return drawn


def _cases(tf: Any, export: Export, version: Path, count: int) -> list[Case]:
    drawn = _draw(export, count)
    asked = [(name, inputs) for name, inputs in drawn if not export.signatures[name].refused]
    right = iter(_by_session(tf, version, asked) if export.of_tensorflow_1 else _by_loading(tf, version, asked))
    made = []
    for name, inputs in drawn:
        expected = export.signatures[name]
        outputs = {} if expected.refused else next(right)
        made.append(
            Case(name, inputs, outputs, expected.within, expected.rounding, expected.refused, expected.over_rest)
        )
    return made


def _by_loading(tf: Any, version: Path, asked: list[tuple[str, Inputs]]) -> list[Mapping[str, Array]]:
    signatures = tf.saved_model.load(str(version)).signatures
    answers: list[Mapping[str, Array]] = []
    defaults = _defaults(tf, version)
    for name, inputs in asked:
        fed = {**defaults.get(name, {}), **inputs}
        outputs = signatures[name](**{key: tf.constant(value) for key, value in fed.items()})
        answers.append(_arrays(tf, outputs))
    return answers


def _arrays(tf: Any, outputs: Mapping[str, Any]) -> dict[str, Array]:
    """Outputs as arrays; of a RaggedTensor its values and the splits of its rows, as in ragged inputs."""
    arrays = {}
    for name, value in outputs.items():
        parts = tf.nest.flatten(value, expand_composites=True)
        for number, part in enumerate(parts):
            arrays[f"{name}_{number}" if number else name] = np.asarray(part.numpy())
    return arrays


def _defaults(tf: Any, version: Path) -> dict[str, Inputs]:
    """What stands for inputs that a request leaves out; TensorFlow's loader does not know it."""
    return {
        name: {key: tf.make_ndarray(value) for key, value in definition.defaults.items()}
        for name, definition in _definitions(version).items()
    }


def _definitions(version: Path) -> Mapping[str, Any]:
    """The SignatureDefs by name; none where they are written as text."""
    path = version / store.SAVED_MODEL
    if not path.exists():
        return {}
    graphs = protocol.saved_model_pb2.SavedModel.FromString(path.read_bytes()).meta_graphs
    definitions: Mapping[str, Any] = next(each for each in graphs if "serve" in each.meta_info_def.tags).signature_def
    return definitions


def _by_session(tf: Any, version: Path, asked: list[tuple[str, Inputs]]) -> list[Mapping[str, Array]]:
    tf1 = tf.compat.v1
    definitions = _definitions(version)
    with tf.Graph().as_default(), tf1.Session() as session:
        # A session of Python's refuses what a placeholder is not declared for; these are declared for anything.
        fed = {
            info.name: tf1.placeholder(info.dtype)
            for definition in definitions.values()
            for info in definition.inputs.values()
        }
        tf1.saved_model.load(session, ["serve"], str(version), input_map=fed)
        answers: list[Mapping[str, Array]] = []
        for name, inputs in asked:
            fetched = {key: fed.get(info.name, info.name) for key, info in definitions[name].outputs.items()}
            feeds = {fed[definitions[name].inputs[key].name]: value for key, value in inputs.items()}
            answers.append(session.run(fetched, feeds))
        return answers


def _keep(folder: Path, model: str, cases: list[Case]) -> None:
    """Keep the cases of a model."""
    path = _path(folder, model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(cases))


def _path(folder: Path, model: str) -> Path:
    return folder / "cases" / f"{model}.pickle"
