"""Tiny SavedModels, each with one peculiarity."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

CLASSES = ("dark", "bright")


def save(module: Any, folder: Path, **signatures: Any) -> Path:
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return folder


def spec(name: str, *shape: int | None, dtype: Any = tf.float32) -> Any:
    return tf.TensorSpec(shape, dtype, name=name)


def classifier(folder: Path, classes: tuple[str, ...] = CLASSES, rows: int | None = None) -> Path:
    """Images of 2 x 3 RGB; the brightness is the score of the last class. Its scaling is a variable."""
    module = tf.Module()
    module.scale = tf.Variable(1 / 255)

    @tf.function(input_signature=[spec("image", None, 2, 3, 3, dtype=tf.uint8)])
    def classify(image: Any) -> dict[str, Any]:
        bright = tf.reduce_mean(tf.cast(image, tf.float32), axis=[1, 2, 3]) * module.scale
        names = tf.tile(tf.constant([list(classes)]), [rows if rows is not None else tf.shape(image)[0], 1])
        scores = tf.stack([1 - bright, *[tf.zeros_like(bright)] * (len(classes) - 2), bright], axis=1)
        return {"scores": tf.ensure_shape(scores, [None, len(classes)]), "classes": names}

    return save(module, folder, serving_default=classify)


def telling(folder: Path) -> Path:
    """The same, which says beside the scores how bright an image is as `in_domain`, made of the scores."""
    module = tf.Module()
    module.scale = tf.Variable(1 / 255)

    @tf.function(input_signature=[spec("image", None, 2, 3, 3, dtype=tf.uint8)])
    def classify(image: Any) -> dict[str, Any]:
        bright = tf.reduce_mean(tf.cast(image, tf.float32), axis=[1, 2, 3]) * module.scale
        scores = tf.stack([1 - bright, bright], axis=1)
        names = tf.tile(tf.constant([list(CLASSES)]), [tf.shape(image)[0], 1])
        return {"scores": scores, "classes": names, "in_domain": tf.reduce_max(scores, axis=1)}

    return save(module, folder, serving_default=classify)


def looping(folder: Path) -> Path:
    """Doubles numbers three times, in a loop."""
    module = tf.Module()
    module.scale = tf.Variable(2.0)

    @tf.function(input_signature=[spec("x", None)])
    def double(x: Any) -> dict[str, Any]:
        _, y = tf.while_loop(
            lambda n, _: n < tf.cast(tf.reduce_max(x), tf.int32), lambda n, y: (n + 1, y * module.scale), (0, x)
        )
        return {"y": y}

    return save(module, folder, serving_default=double)


def noisy(folder: Path) -> Path:
    """Numbers with noise, other each time."""
    module = tf.Module()
    module.scale = tf.Variable(2.0)

    @tf.function(input_signature=[spec("x", None)])
    def noise(x: Any) -> dict[str, Any]:
        return {"y": x * module.scale + tf.random.uniform(tf.shape(x))}

    return save(module, folder, serving_default=noise)


def inputs_in_no_order(folder: Path) -> Path:
    """Arguments of one type whose order is not alphabetical: mixing them up gives other results, and no error."""
    module = tf.Module()
    module.tenth = tf.Variable(0.1)

    @tf.function(input_signature=[spec("z", None), spec("a", None), spec("m", None)])
    def digits(z: Any, a: Any, m: Any) -> dict[str, Any]:
        return {"sum": z * 100 + a * 10 + m, "first": z * module.tenth, "again": a * 10 * module.tenth}

    @tf.function(input_signature=[spec("text", None, dtype=tf.string)])
    def shout(text: Any) -> dict[str, Any]:
        return {"loud": tf.strings.upper(text), "length": tf.strings.length(text)}

    @tf.function(input_signature=[spec("x"), spec("y", 2)])
    def no_batches(x: Any, y: Any) -> dict[str, Any]:
        return {"total": x + tf.reduce_sum(y)}

    return save(module, folder, serving_default=digits, shout=shout, no_batches=no_batches)


def lookup(folder: Path) -> Path:
    """A table, which lives outside of the graph that can be frozen, and beside it a function that can be."""
    module = tf.Module()
    module.factor = tf.Variable(2.0)
    keys, values = tf.constant(["cat", "dog"]), tf.constant([7, 9], tf.int64)
    module.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), -1)

    @tf.function(input_signature=[spec("word", None, dtype=tf.string)])
    def find(word: Any) -> dict[str, Any]:
        return {"number": module.table.lookup(word)}

    @tf.function(input_signature=[spec("x", None)])
    def double(x: Any) -> dict[str, Any]:
        return {"y": x * module.factor}

    return save(module, folder, serving_default=find, double=double)


def hungry(folder: Path) -> Path:
    """Takes megabytes of memory for each row, of which nothing is seen from outside."""

    @tf.function(input_signature=[spec("x", None)])
    def mean(x: Any) -> dict[str, Any]:
        wide = tf.sin(x[:, None] + tf.range(0.0, 2.0**19)[None, :])  # 2 MiB a row
        return {"y": tf.reduce_mean(wide, axis=1)}

    return save(tf.Module(), folder, serving_default=mean)


def counter(folder: Path) -> Path:
    """A variable that each call changes."""
    module = tf.Module()
    module.calls = tf.Variable(0.0)

    @tf.function(input_signature=[spec("x", None)])
    def count(x: Any) -> dict[str, Any]:
        return {"y": x + module.calls.assign_add(1.0)}

    return save(module, folder, serving_default=count)


def namesakes(folder: Path) -> Path:
    """Names nodes of its function as the SavedModel's own graph names those that save and restore variables."""
    module = tf.Module()
    module.factor = tf.Variable(2.0)

    @tf.function(input_signature=[spec("x", None)])
    def double(x: Any) -> dict[str, Any]:
        for name in ("StatefulPartitionedCall_1", "StatefulPartitionedCall_2", "StatefulPartitionedCall_3"):
            x = tf.identity(x, name=name)
        return {"y": x * module.factor}

    return save(module, folder, serving_default=double)


def picky(folder: Path) -> Path:
    """Fails on bad values that fit its signature."""
    module = tf.Module()

    @tf.function(input_signature=[spec("x", None)])
    def check(x: Any) -> dict[str, Any]:
        with tf.control_dependencies([tf.debugging.assert_non_negative(x, message="Negative numbers are not taken")]):
            return {"root": tf.sqrt(x)}

    @tf.function(input_signature=[spec("index", None, dtype=tf.int32)])
    def pick(index: Any) -> dict[str, Any]:
        return {"value": tf.gather(tf.constant([1.0, 2.0]), index)}

    @tf.function(input_signature=[spec("image", None, dtype=tf.string)])
    def decode(image: Any) -> dict[str, Any]:
        return {"width": tf.map_fn(lambda i: tf.shape(tf.io.decode_png(i))[1], image, fn_output_signature=tf.int32)}

    return save(module, folder, serving_default=check, pick=pick, decode=decode)


def keras_export(folder: Path) -> Any:
    """A Keras 3 model as `model.export()` writes it; returns the model."""
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,), name="features"), keras.layers.Dense(3, activation="softmax")])
    model.export(str(folder), verbose=False)
    return model


def keras_saved(folder: Path, words: bool = False) -> Any:
    """A Keras 3 model as `tf.saved_model.save()` writes it, whose variables TensorFlow 1's loader does not find.

    With `words` it looks them up in a table, which can't be frozen. Returns the model.
    """
    import keras

    keras.utils.set_random_seed(0)
    if words:
        inputs = keras.Input((1,), dtype="string", name="word")
        found = keras.layers.StringLookup(vocabulary=["cat", "dog"], output_mode="one_hot")(inputs)
        model = keras.Model(inputs, keras.layers.Dense(2)(found))
        tf.saved_model.save(model, str(folder))
        return model
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(300), keras.layers.Dense(2)])
    module = tf.Module()
    module.model = model
    features = spec("features", None, 4)
    module.score = tf.function(lambda features: {"scores": model(features)}, input_signature=[features])
    both = [spec("b", None), spec("a", None), spec("c10", None), spec("c9", None)]
    scale = model.weights[-1]
    module.digits = tf.function(
        lambda b, a, c10, c9: {
            "y": b * 1000 + a * 100 + c10 * 10 + c9 + 0 * scale[0],
            **{f"o{n}": tf.fill([1], n) for n in range(12)},
        },
        input_signature=both,
    )
    module.best = tf.function(lambda features: {"best": tf.argmax(model(features), 1)}, input_signature=[features])
    save(module, folder, serving_default=module.score, best=module.best, digits=module.digits)
    return model


def passes_through(folder: Path) -> Path:
    """As TensorFlow 1 wrote it, with a key that is its own input, beside a result and alone."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        key = tf.compat.v1.placeholder(tf.int64, [None], name="key")
        x = tf.compat.v1.placeholder(tf.float32, [None], name="x")
        info = tf.compat.v1.saved_model.utils.build_tensor_info
        define = tf.compat.v1.saved_model.signature_def_utils.build_signature_def
        builder = tf.compat.v1.saved_model.Builder(str(folder))
        inputs = {"key": info(key), "x": info(x)}
        signatures = {
            "serving_default": define(inputs, {"key": info(key), "y": info(x * 2.0)}, "tensorflow/serving/predict"),
            "keys": define({"key": info(key)}, {"key": info(key)}, "tensorflow/serving/predict"),
        }
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
        builder.save()
    return folder


def strangers(folder: Path) -> Path:
    """Signatures of many kinds, as others export them."""
    module = tf.Module()
    module.scale = tf.Variable(2.0)
    module.seen = tf.Variable(0.0)

    def signature(function: Any, *specs: Any) -> Any:
        return tf.function(function).get_concrete_function(*specs)

    numbers, words = spec("x", None), spec("x", None, dtype=tf.string)
    three = tf.constant(3.0)
    by_default = tf.function(lambda x, k=three: {"y": x * k}, input_signature=[numbers, spec("k")])
    return save(
        module,
        folder,
        serving_default=signature(lambda x: {"y": x * module.scale}, numbers),
        centre=signature(lambda x: {"y": x - tf.reduce_mean(x)}, numbers),
        repeat=signature(lambda x: {"y": tf.repeat(x, x)}, spec("x", None, dtype=tf.int32)),
        count=signature(lambda x: {"y": x + module.seen.assign_add(1.0)}, numbers),
        noise=signature(lambda x: {"y": x + tf.random.uniform(tf.shape(x))}, numbers),
        total=signature(lambda x: {"y": tf.reduce_sum(x)}, numbers),
        words=signature(lambda x: {"words": tf.strings.split(x), "count": tf.size(x)}, words),
        first=signature(lambda x: {"word": x[0]}, words),
        defaults=by_default,
        python=signature(lambda x: {"y": tf.numpy_function(lambda a: a + 1, [x], tf.float32)}, numbers),
        fixed=signature(lambda x: {"y": x * 2.0}, spec("x", 2)),
    )


def convolution(folder: Path) -> Path:
    """Images of any size; what operations do with other ranks, and with images that are too small, is their own."""
    import keras

    layers = [keras.layers.Conv2D(4, 3), keras.layers.MaxPooling2D(), keras.layers.GlobalAveragePooling2D()]
    model = keras.Sequential([keras.Input((None, None, 3), name="pixels"), *layers])
    model.export(str(folder), verbose=False)
    return folder


def endless(folder: Path) -> Path:
    """Counts up to each number, and beyond it for ever where it is no whole one."""
    module = tf.Module()

    @tf.function(input_signature=[spec("x", None)])
    def count(x: Any) -> dict[str, Any]:
        (y,) = tf.while_loop(
            lambda y: tf.reduce_any(tf.abs(y - x) > 1e-6),
            lambda y: [y + tf.sign(x - y)],
            [tf.zeros_like(x)],
            shape_invariants=[tf.TensorShape([None])],
        )
        return {"y": y}

    return save(module, folder, serving_default=count)


def golden(folder: Path, offset: float = 0.0) -> None:
    """Record the classifier's scores, or others by `offset`."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, 2, 3, 3), dtype=np.uint8)
    bright = pixels.mean(axis=(1, 2, 3)) / 255
    (folder / "assets.extra").mkdir(exist_ok=True)
    scores = np.stack([1 - bright, bright], axis=1).astype(np.float32) + np.float32(offset)
    np.savez(folder / "assets.extra" / "golden.npz", image=pixels, scores=scores)


def explained(folder: Path) -> Path:
    """The classifier, and beside it `explain` with a map of the pixels more."""
    module = tf.Module()
    image = spec("image", None, 2, 3, 3, dtype=tf.uint8)

    def answer(image: Any) -> dict[str, Any]:
        bright = tf.reduce_mean(tf.cast(image, tf.float32), axis=[1, 2, 3]) / 255
        names = tf.tile(tf.constant([list(CLASSES)]), [tf.shape(image)[0], 1])
        return {"scores": tf.stack([1 - bright, bright], axis=1), "classes": names}

    @tf.function(input_signature=[image])
    def classify(image: Any) -> dict[str, Any]:
        return answer(image)

    @tf.function(input_signature=[image])
    def explain(image: Any) -> dict[str, Any]:
        return {**answer(image), "heatmap": tf.reduce_mean(tf.cast(image, tf.float32), axis=3)}

    return save(module, folder, serving_default=classify, explain=explain)


def centred(folder: Path) -> Path:
    """Numbers less their mean over the batch: rows that depend on each other."""

    @tf.function(input_signature=[spec("x", None)])
    def centre(x: Any) -> dict[str, Any]:
        return {"y": x - tf.reduce_mean(x)}

    return save(tf.Module(), folder, serving_default=centre)
