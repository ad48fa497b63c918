"""Small SavedModels as people make them, for a store: run as a program, since making them needs TensorFlow.

Usage: python -m tests.e2e.make_models FOLDER
"""

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from service import protocol

tf1 = tf.compat.v1

CLASSIFY, REGRESS, PREDICT = (f"tensorflow/serving/{name}" for name in ("classify", "regress", "predict"))


class HalfPlus(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
    """x / 2 + b, of tensors and of examples."""

    def __init__(self, b: float) -> None:
        super().__init__()
        self.a, self.b = tf.Variable(0.5), tf.Variable(b)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def predict(self, x: Any) -> dict[str, Any]:
        return {"y": self.a * x + self.b}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])  # type: ignore[untyped-decorator]
    def classify(self, inputs: Any) -> dict[str, Any]:
        features = _parse(inputs)
        y = self.a * features["x"] + self.b
        return {
            "classes": tf.stack([features["name"], tf.strings.as_string(features["n"])], 1),
            "scores": tf.stack([y, -y], 1),
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])  # type: ignore[untyped-decorator]
    def regress(self, inputs: Any) -> dict[str, Any]:
        return {"outputs": self.a * _parse(inputs)["x"] + self.b}


def _parse(examples: Any) -> Any:
    return tf.io.parse_example(
        examples,
        {
            "x": tf.io.FixedLenFeature([], tf.float32),
            "n": tf.io.FixedLenFeature([], tf.int64, default_value=0),
            "name": tf.io.FixedLenFeature([], tf.string, default_value="none"),
        },
    )


class Texts(tf.Module):  # type: ignore[misc]
    """Several inputs and outputs, numbers and strings."""

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec([None], tf.string, name="text"), tf.TensorSpec([None, 2], tf.int32, name="n")]
    )
    def join(self, text: Any, n: Any) -> dict[str, Any]:
        numbers = tf.strings.as_string(tf.reduce_sum(n, 1))
        return {"joined": text + numbers, "raw_bytes": text, "length": tf.strings.length(text), "third": n / 3}

    @tf.function(input_signature=[tf.TensorSpec([], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def scalar(self, x: Any) -> dict[str, Any]:
        return {"y": tf.stack([x, x / 0.0, tf.sqrt(-x)])}


def half_plus(folder: Path, b: float) -> None:
    module = HalfPlus(b)
    signatures = {"serving_default": module.predict, "classify_x": module.classify, "regress_x": module.regress}
    tf.saved_model.save(module, str(folder), signatures=signatures)
    # An estimator's export says what its signatures are for; tf.saved_model.save always says "predict".
    proto = protocol.saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    definitions = proto.meta_graphs[0].signature_def
    definitions["classify_x"].method_name, definitions["regress_x"].method_name = CLASSIFY, REGRESS
    (folder / "saved_model.pb").write_bytes(proto.SerializeToString())


def half_plus_of_tensorflow_1(folder: Path) -> None:
    with tf.Graph().as_default(), tf1.Session() as session:
        examples = tf1.placeholder(tf.string, [None])
        x = tf.identity(tf1.parse_example(examples, {"x": tf1.FixedLenFeature([1], tf.float32)})["x"])
        a = tf1.get_variable("a", initializer=0.5, use_resource=False)
        y = a * x + 2.0
        table = tf1.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(tf.constant([0, 1]), tf.constant(["small", "large"])), "?"
        )
        classes = table.lookup(tf.cast(y > 2.5, tf.int32))
        session.run([tf1.global_variables_initializer(), tf1.tables_initializer()])
        info = tf1.saved_model.utils.build_tensor_info
        define = tf1.saved_model.signature_def_utils.build_signature_def
        builder = tf1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            signature_def_map={
                "serving_default": define({"x": info(x)}, {"y": info(y)}, PREDICT),
                "classify_x": define(
                    {"inputs": info(examples)}, {"classes": info(classes), "scores": info(y)}, CLASSIFY
                ),
                "regress_x": define({"inputs": info(examples)}, {"outputs": info(y)}, REGRESS),
            },
            main_op=tf1.tables_initializer(),
        )
        builder.save()


def keras_export(folder: Path) -> None:
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones", bias_initializer="ones")]
    )
    model.export(str(folder), format="tf_saved_model", verbose=False)


def warm_up_file(folder: Path) -> None:
    """One request of every kind that a warm-up file may hold."""
    example = protocol.example_pb2.Example()
    example.features.feature["x"].float_list.value.append(1.0)
    logs = [protocol.prediction_log_pb2.PredictionLog() for _ in range(4)]
    predict, classify, regress, multi = logs
    request = predict.predict_log.request
    request.inputs["x"].CopyFrom(protocol.to_tensor_proto(np.array([1], np.float32)))
    for request, signature in (
        (classify.classify_log.request, "classify_x"),
        (regress.regress_log.request, "regress_x"),
    ):
        request.model_spec.signature_name = signature
        request.input.example_list.examples.append(example)
    request = multi.multi_inference_log.request
    request.input.example_list.examples.append(example)
    for method, signature in ((CLASSIFY, "classify_x"), (REGRESS, "regress_x")):
        request.tasks.add(method_name=method).model_spec.signature_name = signature
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in logs:
            writer.write(log.SerializeToString())


def main(store: Path) -> None:
    half_plus(store / "half_plus" / "1", 1.0)
    half_plus(store / "half_plus" / "2", 2.0)
    warm_up_file(store / "half_plus" / "2")
    half_plus_of_tensorflow_1(store / "tensorflow_1" / "1")
    keras_export(store / "keras_export" / "1")
    module = Texts()
    folder = store / "texts" / "1"
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.join, "scalar": module.scalar})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
