"""Strings, ragged and sparse tensors, lookup tables and vocabularies."""

import io
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from loadtests.exports.draws import Inputs, numbers, strings, together, words
from loadtests.exports.export import ANY_SHAPE, NO_OPEN_DIMENSION, NO_RECORDS, OTHER_ROWS, Asked, Export, default
from loadtests.exports.saving import record, save
from service.interface import DEFAULT_SIGNATURE


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


def _sparse(tf: Any, folder: Path) -> None:
    spec = tf.SparseTensorSpec([None, 4])
    save(tf, folder, lambda x: {"y": tf.sparse.reduce_sum(x, 1)}, [spec])


def _some_of_four_columns(random: np.random.Generator, rows: int) -> Inputs:
    places = np.argwhere(random.random((rows, 4)) < 0.5)
    values = random.uniform(-1, 1, len(places)).astype(np.float32)
    return {"x": places, "x_1": values, "x_2": np.array([rows, 4])}


def _sparse_output(tf: Any, folder: Path) -> None:
    save(tf, folder, lambda x: {"y": tf.sparse.from_dense(tf.nn.relu(x))}, [tf.TensorSpec([None, 3], name="x")])


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


def _encoded_images(tf: Any, folder: Path) -> None:
    """Takes files, as clients of TensorFlow Serving send them."""

    def mean_color(image_bytes: Any) -> Any:
        def decode(data: Any) -> Any:
            return tf.image.resize(tf.io.decode_png(data, channels=3), (4, 4))

        pixels = tf.map_fn(decode, image_bytes, fn_output_signature=tf.TensorSpec([4, 4, 3]))
        return {"color": tf.reduce_mean(pixels, (1, 2))}

    save(tf, folder, mean_color, [tf.TensorSpec([None], tf.string, "image_bytes")])


def _png_files(random: np.random.Generator, rows: int) -> Inputs:
    files = []
    for _ in range(rows):
        file = io.BytesIO()
        Image.fromarray(random.integers(0, 256, (*random.integers(3, 7, 2), 3), np.uint8)).save(file, "PNG")
        files.append(file.getvalue())
    return {"image_bytes": strings(files)}


def _tabular(recorded: bool, tf: Any, folder: Path) -> None:
    keras = tf.keras
    age, city = keras.Input((1,), name="age"), keras.Input((1,), name="city", dtype="string")
    place = keras.layers.StringLookup(vocabulary=["cat", "dog", "bird"], output_mode="one_hot")(city)
    features = keras.layers.Concatenate()([keras.layers.Normalization(mean=0.1, variance=2.0)(age), place])
    model = keras.Model({"age": age, "city": city}, keras.layers.Dense(1)(features))
    model.export(str(folder), format="tf_saved_model", verbose=False)
    if recorded:
        record(tf, folder, "tabular_recorded", DEFAULT_SIGNATURE, _PERSON, 6)


_PERSON: Final = together(numbers("age", 1), words("city", 1))

EXPORTS: Final = (
    Export("strings", "strings in and out", _strings, default(words("x"), False, why=NO_RECORDS)),
    Export("strings_recorded", "the same, with a warm-up file", _strings_recorded, default(words("x"), True)),
    Export(
        "tokens_recorded",
        "strings to rows as wide as the longest, with a warm-up file",
        _tokens,
        default(words("x"), False, why=ANY_SHAPE),
    ),
    Export("ragged_input", "a `tf.RaggedTensorSpec`", _ragged_input, default(_ragged, False, why=OTHER_ROWS)),
    Export(
        "ragged_output",
        "a signature with a RaggedTensor as its output beside a plain one",
        _ragged_output,
        {
            DEFAULT_SIGNATURE: Asked(words("x"), False, why=NO_RECORDS),
            "tokens": Asked(words("x"), False, why=NO_RECORDS),
        },
    ),
    Export(
        "sparse_input", "a `tf.SparseTensorSpec`", _sparse, default(_some_of_four_columns, False, why=NO_OPEN_DIMENSION)
    ),
    Export("sparse_output", "a SparseTensor as output", _sparse_output, default(numbers("x", 3), False, why=ANY_SHAPE)),
    Export("lookup_table", "`tf.lookup.StaticHashTable`", _table, default(words("x"), False, why=NO_RECORDS)),
    Export(
        "lookup_table_of_numbers",
        "the same from numbers to strings",
        _table_of_numbers,
        default(numbers("x", low=0, high=12, dtype="int64"), True),
    ),
    Export(
        "vocabulary_file", "a vocabulary file among the assets", _vocabulary, default(words("x"), False, why=NO_RECORDS)
    ),
    Export("string_lookup", "Keras's `StringLookup`", _string_lookup, default(words("x", 1), False, why=NO_RECORDS)),
    Export(
        "text_vectorization",
        "Keras's `TextVectorization`",
        partial(_text_vectorization, False),
        default(words("x"), False, why=NO_RECORDS),
    ),
    Export(
        "text_vectorization_recorded",
        "the same, with a warm-up file",
        partial(_text_vectorization, True),
        default(words("x"), True),
    ),
    Export(
        "tabular",
        "Keras, an input of numbers and one of strings",
        partial(_tabular, False),
        default(_PERSON, False, why=NO_RECORDS),
    ),
    Export("tabular_recorded", "the same, with a warm-up file", partial(_tabular, True), default(_PERSON, True)),
    Export(
        "encoded_images",
        "encoded images, decoded by TensorFlow",
        _encoded_images,
        default(_png_files, False, why=NO_RECORDS),
    ),
)
