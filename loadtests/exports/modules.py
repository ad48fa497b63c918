"""Plain `tf.Module`s and TensorFlow's other forms: shapes, element types, text, assets, state."""

from functools import partial
from pathlib import Path
from typing import Any, Final

import ml_dtypes
import numpy as np

from loadtests.exports.draws import (
    Inputs,
    always,
    complex_numbers,
    numbers,
    of_any_length,
    strings,
    together,
    words,
)
from loadtests.exports.export import Asked, Export, default
from loadtests.exports.saving import record, save
from service import protocol, store
from service.engine.interface import DEFAULT_SIGNATURE

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


def _strings(tf: Any, folder: Path) -> None:
    def joined(x: Any) -> Any:
        return {"y": tf.strings.join(["<", tf.strings.upper(x), ">"]), "length": tf.strings.length(x)}

    save(tf, folder, joined, [tf.TensorSpec([None], tf.string, "x")])


def _strings_recorded(tf: Any, folder: Path) -> None:
    _strings(tf, folder)
    record(tf, folder, "strings_recorded", DEFAULT_SIGNATURE, words("x"), 6)


def _tokens(tf: Any, folder: Path) -> None:
    """As many columns as the longest text of the request has words: a row's width depends on the others."""
    save(tf, folder, lambda x: {"y": tf.strings.split(x).to_tensor()}, [tf.TensorSpec([None], tf.string, "x")])
    record(tf, folder, "tokens_recorded", DEFAULT_SIGNATURE, _two_words, 6)


def _two_words(random: np.random.Generator, rows: int) -> Inputs:
    return {"x": strings(random.choice(["two words", "no more"], rows))}


def _ragged_input(tf: Any, folder: Path) -> None:
    save(tf, folder, lambda x: {"length": x.row_lengths()}, [tf.RaggedTensorSpec([None, None], tf.float32)])


def _ragged(random: np.random.Generator, rows: int) -> Inputs:
    splits = np.concatenate([[0], np.cumsum(random.integers(0, 4, rows))]).astype(np.int64)
    return {**numbers("x")(random, int(splits[-1])), "x_1": splits}


def _ragged_output(tf: Any, folder: Path) -> None:
    specs = [tf.TensorSpec([None], tf.string, "x")]
    others = {"tokens": (lambda x: {"tokens": tf.strings.split(x)}, specs)}
    save(tf, folder, lambda x: {"n": tf.strings.split(x).row_lengths()}, specs, others=others)


def _table(tf: Any, folder: Path) -> None:
    keys, values = tf.constant(["cat", "dog", "bird"]), tf.constant([1, 2, 3], tf.int64)
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), -1)
    save(tf, folder, lambda x: {"id": table.lookup(x)}, [tf.TensorSpec([None], tf.string, "x")], table)


def _table_of_numbers(tf: Any, folder: Path) -> None:
    keys, values = tf.range(10, dtype=tf.int64), tf.strings.as_string(tf.range(10))
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), "?")
    save(tf, folder, lambda x: {"name": table.lookup(x)}, [tf.TensorSpec([None], tf.int64, "x")], table)


def _vocabulary(tf: Any, folder: Path) -> None:
    path = folder.with_name(f"{folder.name}.words")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("cat\ndog\nbird\n")
    whole, line = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
    initializer = tf.lookup.TextFileInitializer(str(path), tf.string, whole, tf.int64, line)
    table = tf.lookup.StaticVocabularyTable(initializer, 2)
    save(tf, folder, lambda x: {"id": table.lookup(x)}, [tf.TensorSpec([None], tf.string, "x")], table)
    path.unlink()  # the SavedModel has a copy


def _string_lookup(tf: Any, folder: Path) -> None:
    keras = tf.keras
    lookup = keras.layers.StringLookup(vocabulary=["cat", "dog", "bird"], output_mode="one_hot")
    model = keras.Sequential([keras.Input((1,), name="x", dtype="string"), lookup, keras.layers.Dense(2)])
    model.export(str(folder), format="tf_saved_model", verbose=False)


def _text_vectorization(recorded: bool, tf: Any, folder: Path) -> None:
    layers = tf.keras.layers
    texts = layers.TextVectorization(vocabulary=["cat", "dog", "snow", "man"], output_sequence_length=4)
    embedding = layers.Embedding(10, 3)
    weights = tf.keras.Sequential([tf.keras.Input((4,)), embedding, layers.GlobalAveragePooling1D(), layers.Dense(2)])
    specs = [tf.TensorSpec([None], tf.string, "x")]
    save(tf, folder, lambda x: {"y": weights(texts(x))}, specs, keep=[texts, weights])
    if recorded:
        record(tf, folder, "text_vectorization_recorded", DEFAULT_SIGNATURE, words("x"), 6)


def _counter(tf: Any, folder: Path) -> None:
    counter = tf.Variable(0, dtype=tf.int64)

    def counted(x: Any) -> Any:
        return {"y": x * 2.0, "calls": counter.assign_add(1)}

    save(tf, folder, counted, [tf.TensorSpec([None], name="x")], counter)


def _mutable_table(tf: Any, folder: Path) -> None:
    table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)

    def learned(x: Any) -> Any:
        table.insert(x, tf.cast(tf.strings.length(x), tf.int64))
        return {"length": table.lookup(x)}

    save(tf, folder, learned, [tf.TensorSpec([None], tf.string, "x")], table)


def _numpy_function(tf: Any, folder: Path) -> None:
    save(tf, folder, partial(_by_numpy, tf), [tf.TensorSpec([None], name="x")])


def _one_of_two(tf: Any, folder: Path) -> None:
    specs = [tf.TensorSpec([None], name="x")]
    save(tf, folder, lambda x: {"y": x * 2.0}, specs, others={"python": (partial(_by_python, tf), specs)})


def _by_numpy(tf: Any, x: Any) -> Any:
    return {"y": tf.numpy_function(lambda a: a + 1, [x], tf.float32)}


def _by_python(tf: Any, x: Any) -> Any:
    return {"y": tf.py_function(lambda a: a + 1, [x], tf.float32)}


_X: Final = numbers("x", 3)

EXPORTS: Final = (
    Export("module", "a `tf.Module` with a function that has a signature", _module, default(_X, True)),
    Export(
        "module_signatures",
        "a `tf.Module` saved with two signatures",
        _module_with_signatures,
        {DEFAULT_SIGNATURE: Asked(_X, True), "twice": Asked(_X, True)},
    ),
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
        default(_with_or_without_k, False),
    ),
    Export("one_row", "a signature of [1, 3]", partial(_shape, [1, 3]), default(always(1, _X), False)),
    Export("four_rows", "a signature of [4, 3]", partial(_shape, [4, 3]), default(always(4, _X), False)),
    Export("any_rank", "a shape of any rank", partial(_shape, None), default(_X, False)),
    Export("scalar", "a scalar input and output", partial(_shape, []), default(_scalar, False)),
    Export(
        "history",
        "two inputs, one of any length, also empty",
        _user_and_history,
        default(
            together(numbers("user", low=0, high=99, dtype="int32"), of_any_length("history", 3)),
            False,
        ),
    ),
    Export(
        "other_lengths",
        "inputs with different first dimensions",
        _of_other_lengths,
        default(_any_lengths, False),
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
    Export("strings", "strings in and out", _strings, default(words("x"), False)),
    Export("strings_recorded", "the same, with a warm-up file", _strings_recorded, default(words("x"), True)),
    Export(
        "tokens_recorded",
        "strings to rows as wide as the longest, with a warm-up file",
        _tokens,
        default(words("x"), False),
    ),
    Export("ragged_input", "a `tf.RaggedTensorSpec`", _ragged_input, default(_ragged, False)),
    Export(
        "ragged_output",
        "a signature with a RaggedTensor as its output beside a plain one",
        _ragged_output,
        {
            DEFAULT_SIGNATURE: Asked(words("x"), False),
            "tokens": Asked(words("x"), False, refused="agged"),
        },
    ),
    Export("lookup_table", "`tf.lookup.StaticHashTable`", _table, default(words("x"), False)),
    Export(
        "lookup_table_of_numbers",
        "the same from numbers to strings",
        _table_of_numbers,
        default(numbers("x", low=0, high=12, dtype="int64"), True),
    ),
    Export("vocabulary_file", "a vocabulary file among the assets", _vocabulary, default(words("x"), False)),
    Export("string_lookup", "Keras's `StringLookup`", _string_lookup, default(words("x", 1), False)),
    Export(
        "text_vectorization",
        "Keras's `TextVectorization`",
        partial(_text_vectorization, False),
        default(words("x"), False),
    ),
    Export(
        "text_vectorization_recorded",
        "the same, with a warm-up file",
        partial(_text_vectorization, True),
        default(words("x"), True),
    ),
    Export(
        "counter", "a variable that counts calls", _counter, default(numbers("x"), False, within={"calls": (1, 1e12)})
    ),
    Export("mutable_table", "`tf.lookup.experimental.MutableHashTable`", _mutable_table, default(words("x"), False)),
    Export("numpy_function", "`tf.numpy_function`", _numpy_function, default(numbers("x"), False), refused="PyFunc"),
    Export(
        "one_of_two",
        "`tf.py_function` in one of two signatures",
        _one_of_two,
        {DEFAULT_SIGNATURE: Asked(numbers("x"), True), "python": Asked(numbers("x"), False, refused="EagerPyFunc")},
    ),
)
