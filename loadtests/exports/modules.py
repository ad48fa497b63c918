"""Plain `tf.Module`s: shapes, element types, inputs with defaults, state, Python code."""

from functools import partial
from pathlib import Path
from typing import Any, Final

import ml_dtypes
import numpy as np

from loadtests.exports.draws import (
    Inputs,
    complex_numbers,
    numbers,
    of_any_length,
    together,
    words,
)
from loadtests.exports.export import (
    ANY_SHAPE,
    CHANGES_STATE,
    DEPENDENT_ROWS,
    NO_OPEN_DIMENSION,
    OPEN_DIMENSIONS,
    PYTHON,
    Asked,
    Export,
    default,
)
from loadtests.exports.saving import save
from service import protocol, store
from service.interface import DEFAULT_SIGNATURE

_X: Final = numbers("x", 3)
_TYPES: Final = {
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float64": np.float64,
    "int8": np.int8,
    "int64": np.int64,
    "uint8": np.uint8,
    "uint32": np.uint32,
}


def _module(tf: Any, folder: Path) -> None:
    class Linear(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
        def __init__(self) -> None:
            super().__init__()
            self.weights = tf.Variable(tf.random.stateless_uniform((3, 2), (1, 2)))

        @tf.function(input_signature=[tf.TensorSpec([None, 3], name="x")])  # type: ignore[untyped-decorator]
        def predict(self, x: Any) -> Any:
            return {"y": x @ self.weights}

    tf.saved_model.save(Linear(), str(folder))


def _module_with_signatures(tf: Any, folder: Path) -> None:
    weights = tf.Variable(tf.random.stateless_uniform((3, 2), (1, 2)))
    specs = [tf.TensorSpec([None, 3], name="x")]
    save(tf, folder, lambda x: {"y": x @ weights}, specs, weights, {"twice": (lambda x: {"y": x @ weights * 2}, specs)})


def _same_names(tf: Any, folder: Path) -> None:
    """Variables that all have one name, as those of layers that were made alike have."""
    variables = [tf.Variable(tf.fill((3,), value), name="kernel") for value in (0.5, 2.0, -1.0)]
    first, second, third = variables
    save(tf, folder, lambda x: {"y": (x * first + second) * third}, [tf.TensorSpec([None, 3], name="x")], variables)


def _as_text(tf: Any, folder: Path) -> None:
    from google.protobuf import text_format

    _module_with_signatures(tf, folder)
    binary = folder / store.SAVED_MODEL
    proto = protocol.saved_model_pb2.SavedModel.FromString(binary.read_bytes())
    binary.with_suffix(".pbtxt").write_text(text_format.MessageToString(proto))
    binary.unlink()


def _optional_inputs(tf: Any, folder: Path) -> None:
    def scaled(x: Any, k: Any = tf.constant(3.0)) -> Any:  # noqa: B008 - TensorFlow takes the signature's default from it
        return {"y": x * k}

    save(tf, folder, scaled, [tf.TensorSpec([None], name="x"), tf.TensorSpec([], name="k")])


def _with_or_without_k(random: np.random.Generator, rows: int) -> Inputs:
    inputs = numbers("x")(random, rows)
    if random.random() < 0.5:
        inputs["k"] = np.asarray(random.integers(2, 9), np.float32)
    return inputs


def _shape(shape: list[int | None] | None, tf: Any, folder: Path) -> None:
    save(tf, folder, lambda x: {"y": x * 2.0 + 1.0}, [tf.TensorSpec(shape, name="x")])


def _scalar(random: np.random.Generator, _: int) -> Inputs:
    return {"x": np.asarray(random.uniform(-1, 1), np.float32)}


def _some_or_none(random: np.random.Generator, rows: int) -> Inputs:
    return _X(random, int(random.integers(rows + 1)))


def _of_any_rank(random: np.random.Generator, rows: int) -> Inputs:
    return {"x": random.uniform(-1, 1, (rows, 2, 1)[: random.integers(4)]).astype(np.float32)}


def _user_and_history(tf: Any, folder: Path) -> None:
    specs = [tf.TensorSpec([None], tf.int32, "user"), tf.TensorSpec([None, None], tf.int32, "history")]
    save(tf, folder, lambda user, history: {"score": tf.cast(user + tf.reduce_sum(history, 1), tf.float32)}, specs)


def _of_other_lengths(tf: Any, folder: Path) -> None:
    specs = [tf.TensorSpec([None], name="x"), tf.TensorSpec([None], name="weights")]
    save(tf, folder, lambda x, weights: {"y": x * tf.reduce_sum(weights)}, specs)


def _any_lengths(random: np.random.Generator, rows: int) -> Inputs:
    return {**numbers("x")(random, rows), **numbers("weights")(random, int(random.integers(1, 4)))}


def _types(tf: Any, folder: Path) -> None:
    others = {
        name: (lambda x: {"y": x + x}, [tf.TensorSpec([None, 2], dtype, "x")])
        for name, dtype in {**_TYPES, "complex64": np.complex64}.items()
    }
    save(tf, folder, lambda x: {"y": tf.logical_not(x)}, [tf.TensorSpec([None, 2], tf.bool, "x")], others=others)


def _booleans(random: np.random.Generator, rows: int) -> Inputs:
    return {"x": random.random((rows, 2)) < 0.5}


def _counter(tf: Any, folder: Path) -> None:
    counter = tf.Variable(0, dtype=tf.int64)

    def counted(x: Any) -> Any:
        return {"y": x * 2.0, "calls": tf.fill(tf.shape(x), counter.assign_add(1))}

    save(tf, folder, counted, [tf.TensorSpec([None], name="x")], counter)


def _mutable_table(tf: Any, folder: Path) -> None:
    table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)

    def learned(x: Any) -> Any:
        table.insert(x, tf.cast(tf.strings.length(x), tf.int64))
        return {"length": table.lookup(x)}

    save(tf, folder, learned, [tf.TensorSpec([None], tf.string, "x")], table)


def _squeezed(tf: Any, folder: Path) -> None:
    save(
        tf,
        folder,
        lambda x: {"y": tf.squeeze(tf.reduce_sum(x, 1, keepdims=True))},
        [tf.TensorSpec([None, 3], name="x")],
    )


def _without_default(tf: Any, folder: Path) -> None:
    module = tf.Module()
    module.predict = tf.function(lambda x: {"y": x * 2.0}, input_signature=[tf.TensorSpec([None, 3], name="x")])
    tf.saved_model.save(module, str(folder), signatures={"predict": module.predict})


def _without_signature(tf: Any, folder: Path) -> None:
    module = tf.Module()
    module.weights = tf.Variable(1.0)
    tf.saved_model.save(module, str(folder))


def _without_inputs(tf: Any, folder: Path) -> None:
    save(tf, folder, lambda: {"release": tf.constant([2, 21])}, [])


def _compiled(tf: Any, folder: Path) -> None:
    compiled = tf.function(lambda x: tf.nn.softmax(x * 2.0), jit_compile=True)
    save(tf, folder, lambda x: {"y": compiled(x)}, [tf.TensorSpec([None, 3], name="x")], keep=compiled)


def _numpy_function(tf: Any, folder: Path) -> None:
    save(tf, folder, partial(_by_numpy, tf), [tf.TensorSpec([None], name="x")])


def _one_of_two(tf: Any, folder: Path) -> None:
    specs = [tf.TensorSpec([None], name="x")]
    save(tf, folder, lambda x: {"y": x * 2.0}, specs, others={"python": (partial(_by_python, tf), specs)})


def _by_numpy(tf: Any, x: Any) -> Any:
    return {"y": tf.numpy_function(lambda a: a + 1, [x], tf.float32)}


def _by_python(tf: Any, x: Any) -> Any:
    return {"y": tf.py_function(lambda a: a + 1, [x], tf.float32)}


EXPORTS: Final = (
    Export("module", "a `tf.Module` with a function that has a signature", _module, default(_X, True)),
    Export(
        "module_signatures",
        "a `tf.Module` saved with two signatures",
        _module_with_signatures,
        {DEFAULT_SIGNATURE: Asked(_X, True), "twice": Asked(_X, True)},
    ),
    Export("same_names", "variables of one name", _same_names, default(_X, True)),
    Export(
        "as_text",
        "`saved_model.pbtxt`",
        _as_text,
        {DEFAULT_SIGNATURE: Asked(_X, True), "twice": Asked(_X, True)},
    ),
    Export(
        "optional_inputs",
        "an input with a default (`SignatureDef.defaults`)",
        _optional_inputs,
        default(_with_or_without_k, False, why=NO_OPEN_DIMENSION),
    ),
    Export(
        "one_row",
        "a signature of [1, 3], asked for more rows too",
        partial(_shape, [1, 3]),
        default(_X, False, why=NO_OPEN_DIMENSION),
        of_tensorflow_1=True,
    ),
    Export(
        "four_rows",
        "a signature of [4, 3], asked for fewer rows too",
        partial(_shape, [4, 3]),
        default(_X, False, why=NO_OPEN_DIMENSION),
        of_tensorflow_1=True,
    ),
    Export("any_rank", "a shape of any rank", partial(_shape, None), default(_of_any_rank, False, why=ANY_SHAPE)),
    Export("scalar", "a scalar input and output", partial(_shape, []), default(_scalar, False, why=NO_OPEN_DIMENSION)),
    Export("no_rows", "requests of no rows too", partial(_shape, [None, 3]), default(_some_or_none, True)),
    Export(
        "history",
        "two inputs, one of any length, also empty",
        _user_and_history,
        default(
            together(numbers("user", low=0, high=99, dtype="int32"), of_any_length("history", 3)),
            False,
            why=OPEN_DIMENSIONS,
        ),
    ),
    Export(
        "other_lengths",
        "inputs with different first dimensions",
        _of_other_lengths,
        default(_any_lengths, False, why=DEPENDENT_ROWS),
    ),
    Export(
        "element_types",
        "float16, bfloat16, float64, whole numbers, complex numbers, true and false",
        _types,
        {
            DEFAULT_SIGNATURE: Asked(_booleans, True),
            **{name: Asked(numbers("x", 2, low=0, high=50, dtype=dtype), True) for name, dtype in _TYPES.items()},
            "complex64": Asked(complex_numbers("x", 2), True, over_rest=False),
        },
    ),
    Export(
        "squeezed",
        "`tf.squeeze`: a scalar where one row comes",
        _squeezed,
        default(_X, False, why=ANY_SHAPE),
    ),
    Export(
        "without_default",
        "one signature, not named `serving_default`",
        _without_default,
        {"predict": Asked(_X, True)},
    ),
    Export("without_signature", "no signature", _without_signature, {}, refused="has no signature"),
    Export(
        "without_inputs",
        "a signature without inputs",
        _without_inputs,
        default(lambda _, __: {}, False, why=NO_OPEN_DIMENSION, over_rest=False),
    ),
    Export("compiled", "`tf.function(…, jit_compile=True)`", _compiled, default(_X, True)),
    Export(
        "counter",
        "a variable that counts calls",
        _counter,
        default(numbers("x"), False, why=CHANGES_STATE, within={"calls": (1, 1e12)}),
    ),
    Export(
        "mutable_table",
        "`tf.lookup.experimental.MutableHashTable`",
        _mutable_table,
        default(words("x"), False, why=CHANGES_STATE),
    ),
    Export("numpy_function", "`tf.numpy_function`", _numpy_function, default(numbers("x"), False), refused="PyFunc"),
    Export(
        "one_of_two",
        "`tf.py_function` in one of two signatures",
        _one_of_two,
        {
            DEFAULT_SIGNATURE: Asked(numbers("x"), True),
            "python": Asked(numbers("x"), False, why=PYTHON, refused="EagerPyFunc"),
        },
    ),
)
