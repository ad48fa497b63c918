"""Writes the store of the suite: plain `tf.Module` exports. Run as a program, as it imports TensorFlow."""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from service import protocol

SPARE_VERSIONS = 8


class Shade(tf.Module):
    """An image classifier: the brightness of an image is the score of the second class."""

    def __init__(self, *classes: str) -> None:
        super().__init__()
        self.classes = tf.constant([classes])

    @tf.function(input_signature=[tf.TensorSpec([None, 4, 4, 3], tf.uint8, name="image")])
    def classify(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        bright = tf.reduce_mean(tf.cast(image, tf.float32), axis=[1, 2, 3])[:, None] / 255.0
        return {
            "scores": tf.concat([1.0 - bright, bright], axis=1),
            "classes": tf.tile(self.classes, [tf.shape(image)[0], 1]),
        }


class Telling(Shade):
    """One that says whether it knows what it sees: not what is quite black."""

    @tf.function(input_signature=[tf.TensorSpec([None, 4, 4, 3], tf.uint8, name="image")])
    def tell(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        bright = tf.reduce_mean(tf.cast(image, tf.float32), axis=[1, 2, 3])
        return {**self.classify(image), "in_domain": tf.where(bright > 0.0, 0.75, 0.25)}


class Times(tf.Module):
    """y = x * factor, where the factor is the number of the version."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = tf.Variable(float(factor))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def run(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x * self.factor}


class Maths(tf.Module):
    """Several signatures."""

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def both(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"sum": tf.reduce_sum(x, axis=1), "double": x * 2.0}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="a"), tf.TensorSpec([None], tf.int64, name="b")])
    def add(self, a: tf.Tensor, b: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"c": a + b}

    @tf.function(input_signature=[tf.TensorSpec([], tf.float32, name="x")])
    def scalar(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x + 1.0}

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.int64, name="a"), tf.TensorSpec([None, None], tf.int64, name="more")]
    )
    def total(self, a: tf.Tensor, more: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"t": a + tf.reduce_sum(more, axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def shout(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"loud": tf.strings.upper(text)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def echo(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"same": tf.identity(text)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, name="index")])
    def pick(self, index: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"picked": tf.gather(tf.constant([10, 20, 30]), index)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, name="number")])
    def repeat(self, number: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"repeated": tf.repeat(number, number)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float64, name="seconds")])
    def wait(self, seconds: tf.Tensor) -> dict[str, tf.Tensor]:
        end = tf.timestamp() + tf.reduce_max(seconds)
        turns = tf.while_loop(lambda _: tf.timestamp() < end, lambda turn: [turn + 1], [tf.constant(0)])[0]
        return {"waited": seconds + 0.0 * tf.cast(turns, tf.float64)}


class Double(tf.Module):
    """OUT = 2 * IN: the model of the recorded exchanges of the Open Inference Protocol."""

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="IN")])
    def run(self, IN: tf.Tensor) -> dict[str, tf.Tensor]:  # noqa: N803
        return {"OUT": IN * 2.0}


# The Open Inference Protocol's names of TensorFlow's types.
DATATYPES = {
    "BOOL": tf.bool, "UINT8": tf.uint8, "UINT16": tf.uint16, "UINT32": tf.uint32, "UINT64": tf.uint64, "INT8": tf.int8,
    "INT16": tf.int16, "INT32": tf.int32, "INT64": tf.int64, "FP16": tf.float16, "BF16": tf.bfloat16,
    "FP32": tf.float32, "FP64": tf.float64, "BYTES": tf.string,
}  # fmt: skip


class Every(tf.Module):
    """Gives back a tensor of each type."""

    @tf.function(input_signature=[tf.TensorSpec([None], dtype, name=name) for name, dtype in DATATYPES.items()])
    def run(self, *tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        return {f"{name}_out": tf.identity(each) for name, each in zip(DATATYPES, tensors, strict=True)}


def optional() -> tf.types.experimental.GenericFunction:
    """Multiplies x by k, which may be left out and is 3 then."""
    x, k = tf.TensorSpec([None], tf.float32, name="x"), tf.TensorSpec([], tf.float32, name="k")
    three = tf.constant(3.0)
    return tf.function(lambda x, k=three: {"y": x * k}, input_signature=[x, k])


def write(store: Path) -> None:
    # The names of folders may have leading zeros, as those of TF Serving's own examples do.
    for version, classes in (("00000001", ("dark", "bright")), ("2", ("night", "day"))):
        shade = Shade(*classes)
        tf.saved_model.save(shade, str(store / "shade" / version), {"serving_default": shade.classify})
    telling = Telling("dark", "bright")
    tf.saved_model.save(telling, str(store / "telling" / "1"), {"serving_default": telling.tell})
    maths = Maths()
    maths.optional = optional()
    names = ("add", "scalar", "shout", "pick", "repeat", "wait", "total", "echo", "optional")
    signatures = {name: getattr(maths, name) for name in names}
    tf.saved_model.save(maths, str(store / "maths" / "1"), {"serving_default": maths.both, **signatures})
    for name, module in (("dbl", Double()), ("every", Every())):
        tf.saved_model.save(module, str(store / name / "1"), {"serving_default": module.run})
    _warm_up(store / "maths" / "1", "wait", [{"seconds": np.array([each])} for each in (0.0, 0.01)])
    for version in range(1, SPARE_VERSIONS + 1):
        times = Times(version)
        folder = store / "times" / "1" if version == 1 else store.with_name("spare") / str(version)
        tf.saved_model.save(times, str(folder), {"serving_default": times.run})
    (store / "models.config").write_text(
        f"""
        model_config_list {{
          config {{
            name: "shade" base_path: "{store}/shade" model_platform: "tensorflow"
            model_version_policy {{ all {{}} }}
            version_labels {{ key: "stable" value: 1 }}
          }}
          config {{ name: "maths" base_path: "{store}/maths" model_platform: "tensorflow" }}
          config {{ name: "dbl" base_path: "{store}/dbl" model_platform: "tensorflow" }}
          config {{ name: "every" base_path: "{store}/every" model_platform: "tensorflow" }}
          config {{ name: "telling" base_path: "{store}/telling" model_platform: "tensorflow" }}
          config {{ name: "times" base_path: "{store}/times" model_platform: "tensorflow" }}
        }}
        """
    )


def _warm_up(version: Path, signature: str, requests: list[dict[str, np.ndarray]]) -> None:
    path = version / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as file:
        for inputs in requests:
            file.write(protocol.predict_log("maths", signature, inputs))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
