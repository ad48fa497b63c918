"""SavedModels of TensorFlow 1: `simple_save`, the builder, and what estimators wrote."""

from pathlib import Path
from typing import Any, Final

import numpy as np

from loadtests.exports.draws import Inputs, numbers
from loadtests.exports.export import NO_RECORDS, Asked, Export, default
from service import protocol


def _half_plus_two(tf: Any, folder: Path) -> None:
    """TensorFlow Serving's first example: its signature says [-1, 1], its graph takes any shape."""
    tf1 = tf.compat.v1
    with tf.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, None)
        y = x * tf1.get_variable("a", initializer=0.5, use_resource=False) + 2.0
        session.run(tf1.global_variables_initializer())
        definition = tf1.saved_model.predict_signature_def({"x": x}, {"y": y})
        for infos in (definition.inputs, definition.outputs):
            shape = next(iter(infos.values())).tensor_shape
            shape.CopyFrom(tf.TensorShape([None, 1]).as_proto())
        builder = tf1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": definition})
        builder.save()


def _flat_or_not(random: np.random.Generator, rows: int) -> Inputs:
    x = random.uniform(-9, 9, (rows, 1)).astype(np.float32)
    return {"x": x if random.random() < 0.5 else x[:, 0]}


def _simple_save(tf: Any, folder: Path) -> None:
    tf1 = tf.compat.v1
    with tf.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 3])
        y = tf.matmul(x, tf1.get_variable("w", [3, 2], initializer=tf1.random_uniform_initializer(seed=1)))
        session.run(tf1.global_variables_initializer())
        tf1.saved_model.simple_save(session, str(folder), {"x": x}, {"y": y})


def _estimator(tf: Any, folder: Path) -> None:
    """What a linear classifier exports with `build_parsing_serving_input_receiver_fn`."""
    tf1 = tf.compat.v1
    with tf.Graph().as_default(), tf1.Session() as session:
        examples = tf1.placeholder(tf.string, [None])
        features = {"x": tf1.FixedLenFeature([2], tf.float32), "n": tf1.FixedLenFeature([1], tf.int64, [7])}
        parsed = tf1.parse_example(examples, features)
        weights = tf1.get_variable("w", [3, 2], initializer=tf1.random_uniform_initializer(seed=1))
        logits = tf.matmul(tf.concat([parsed["x"], tf.cast(parsed["n"], tf.float32)], 1), weights)
        scores = tf.nn.softmax(logits)
        table = tf1.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(tf.range(2, dtype=tf.int64), tf.constant(["no", "yes"])), "?"
        )
        classes = table.lookup(tf.tile(tf.range(2, dtype=tf.int64)[None], [tf.shape(scores)[0], 1]))
        session.run([tf1.global_variables_initializer(), tf1.tables_initializer()])
        signatures = {
            "serving_default": tf1.saved_model.classification_signature_def(examples, classes, scores),
            "regression": tf1.saved_model.regression_signature_def(examples, scores[:, 1:]),
            "predict": tf1.saved_model.predict_signature_def(
                {"examples": examples}, {"logits": logits, "classes": classes, "class_ids": tf.argmax(logits, 1)}
            ),
        }
        builder = tf1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session, ["serve"], signatures, main_op=tf1.tables_initializer(), strip_default_attrs=True
        )
        builder.save()


def _constants(tf: Any, folder: Path) -> None:
    """A frozen graph: nothing is restored."""
    tf1 = tf.compat.v1
    with tf.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 3])
        tf1.saved_model.simple_save(session, str(folder), {"x": x}, {"y": tf.nn.softmax(x)})


def _passes_through(tf: Any, folder: Path) -> None:
    tf1 = tf.compat.v1
    with tf.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 3])
        y = x * 2.0
        tf1.saved_model.simple_save(session, str(folder), {"x": x}, {"x": x, "y": y, "same": y})


def _two_graphs(tf: Any, folder: Path) -> None:
    tf1 = tf.compat.v1
    builder = tf1.saved_model.Builder(str(folder))
    for tags, factor in ((["train"], 3.0), (["serve"], 2.0)):
        with tf.Graph().as_default(), tf1.Session() as session:
            x = tf1.placeholder(tf.float32, [None, 3])
            y = x * factor * tf1.get_variable("a", initializer=1.0)
            session.run(tf1.global_variables_initializer())
            signatures = {"serving_default": tf1.saved_model.predict_signature_def({"x": x}, {"y": y})}
            if tags == ["train"]:
                builder.add_meta_graph_and_variables(session, tags, signatures)
            else:
                builder.add_meta_graph(tags, signatures)
    builder.save()


def _examples(name: str) -> Any:
    def draw(random: np.random.Generator, rows: int) -> Inputs:
        made = []
        for _ in range(rows):
            example = protocol.example_pb2.Example()
            example.features.feature["x"].float_list.value.extend(random.uniform(-1, 1, 2))
            if random.random() < 0.5:
                example.features.feature["n"].int64_list.value.append(int(random.integers(5)))
            made.append(example.SerializeToString(deterministic=True))
        array = np.empty(rows, np.object_)
        array[:] = made
        return {name: array}

    return draw


EXPORTS: Final = (
    Export(
        "half_plus_two",
        "TensorFlow Serving's example: [-1, 1] in the signature, any shape in the graph",
        _half_plus_two,
        default(_flat_or_not, True),
        of_tensorflow_1=True,
    ),
    Export(
        "simple_save",
        "`simple_save` of TensorFlow 1",
        _simple_save,
        default(numbers("x", 3), True),
        of_tensorflow_1=True,
    ),
    Export(
        "constants",
        "a frozen graph of TensorFlow 1",
        _constants,
        default(numbers("x", 3), True),
        of_tensorflow_1=True,
    ),
    Export(
        "passes_through",
        "an input as output, and an output by two names, in TensorFlow 1",
        _passes_through,
        default(numbers("x", 3), True),
        of_tensorflow_1=True,
    ),
    Export(
        "two_graphs",
        "two graphs, one for training",
        _two_graphs,
        default(numbers("x", 3), True),
        of_tensorflow_1=True,
    ),
    Export(
        "estimator",
        "an estimator's: classify, regress and predict on `tf.Example`s",
        _estimator,
        {
            "serving_default": Asked(_examples("inputs"), False, why=NO_RECORDS),
            "regression": Asked(_examples("inputs"), False, why=NO_RECORDS),
            "predict": Asked(_examples("examples"), False, why=NO_RECORDS),
        },
        of_tensorflow_1=True,
    ),
)
