"""Models of Keras 3, and of Keras 2, in the ways in which people save them."""

from functools import partial
from pathlib import Path
from typing import Any, Final

from loadtests.exports.draws import always, numbers, together
from loadtests.exports.export import NO_OPEN_DIMENSION, Asked, Export, default
from loadtests.exports.saving import save


def _sequential(keras: Any) -> Any:
    layers = keras.layers
    return keras.Sequential([keras.Input((3,), name="x"), layers.Dense(4, "relu"), layers.Dense(2, name="y")])


def _functional(keras: Any) -> Any:
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    joined = keras.layers.Concatenate()([keras.layers.Dense(4, "relu")(a), b])
    return keras.Model({"a": a, "b": b}, {"sum": keras.layers.Dense(1)(joined), "part": keras.layers.Dense(2)(joined)})


def _alike(keras: Any) -> Any:
    """Two inputs of one shape that can't be told apart by it, and outputs whose order by name is not that by number."""
    a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    difference = keras.layers.Subtract()([a, b])
    return keras.Model([a, b], [keras.layers.Rescaling(number + 1.0)(difference) for number in range(12)])


def _subclassed(keras: Any) -> Any:
    class Subclassed(keras.Model):  # type: ignore[misc]  # Keras has no types
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.last = keras.layers.Dense(4, "tanh"), keras.layers.Dense(2)

        def call(self, x: Any) -> Any:
            return self.last(self.hidden(x))

    model = Subclassed()
    model(keras.ops.zeros((1, 3)))
    return model


_X: Final = numbers("x", 3)
_A_AND_B: Final = together(numbers("a", 3), numbers("b", 2))


def _exported(make: Any, tf: Any, folder: Path) -> None:
    model = make(tf.keras)
    # A subclassed model is exported with the shape that it was built with; people state an open one.
    signature = [tf.TensorSpec([None, 3], name="x")] if make is _subclassed else None
    model.export(str(folder), format="tf_saved_model", verbose=False, input_signature=signature)


def _saved(make: Any, tf: Any, folder: Path) -> None:
    tf.saved_model.save(make(tf.keras), str(folder))


def _saved_with_signature(make: Any, tf: Any, folder: Path) -> None:
    model = make(tf.keras)
    if make is _functional:
        specs = [tf.TensorSpec([None, 3], name="a"), tf.TensorSpec([None, 2], name="b")]
        save(tf, folder, lambda a, b: model({"a": a, "b": b}), specs, keep=model)
    else:
        save(tf, folder, lambda x: {"y": model(x)}, [tf.TensorSpec([None, 3], name="x")], keep=model)


def _endpoints(tf: Any, folder: Path) -> None:
    model = _sequential(tf.keras)
    archive = tf.keras.export.ExportArchive()
    archive.track(model)
    specs = [tf.TensorSpec([None, 3], name="x")]
    archive.add_endpoint("serve", model.call, specs)
    archive.add_endpoint("hidden", lambda x: model.layers[0](x), specs)
    archive.write_out(str(folder), verbose=False)


def _in_a_module(tf: Any, folder: Path) -> None:
    class Module(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
        def __init__(self) -> None:
            super().__init__()
            self.model = _sequential(tf.keras)

        @tf.function(input_signature=[tf.TensorSpec([None, 3], name="x")])  # type: ignore[untyped-decorator]
        def predict(self, x: Any) -> Any:
            return {"y": tf.nn.softmax(self.model(x))}

    module = Module()
    tf.saved_model.save(module, str(folder), signatures=module.predict)


def _two_in_a_module(tf: Any, folder: Path) -> None:
    """Two models with the same names of layers."""

    def make() -> Any:
        layers = [
            tf.keras.Input((3,)),
            tf.keras.layers.Dense(4, "relu", name="hidden"),
            tf.keras.layers.Dense(2, name="y"),
        ]
        return tf.keras.Sequential(layers, name="model")

    models = [make(), make()]
    specs = [tf.TensorSpec([None, 3], name="x")]
    save(tf, folder, lambda x: {"y": models[0](x) - 2.0 * models[1](x)}, specs, keep=models)


def _two_exported(tf: Any, folder: Path) -> None:
    keras = tf.keras

    def part() -> Any:
        return keras.Sequential([keras.layers.Dense(2, name="y")], name="part")

    class Both(tf.keras.Model):  # type: ignore[misc]  # Keras has no types
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = part(), part()

        def call(self, x: Any) -> Any:
            return self.first(x) - 2.0 * self.second(x)

    model = Both()
    model(keras.ops.zeros((1, 3)))
    model.export(
        str(folder), format="tf_saved_model", verbose=False, input_signature=[tf.TensorSpec([None, 3], name="x")]
    )


def _passes_through(tf: Any, folder: Path) -> None:
    x = tf.keras.Input((3,), name="x")
    y = tf.keras.layers.Dense(2)(x)
    tf.saved_model.save(tf.keras.Model(x, {"x": x, "y": y, "same": y}), str(folder))


def _keras_2(tf: Any, folder: Path, exported: bool) -> None:
    import tf_keras  # type: ignore[import-not-found, unused-ignore]  # only where it is installed

    del tf
    model = _sequential(tf_keras)
    if exported:
        model.export(str(folder))
    else:
        model.save(str(folder), save_format="tf")


EXPORTS: Final = (
    Export("keras_export", "`model.export(…)`", partial(_exported, _sequential), default(_X, True)),
    Export(
        "keras_export_functional",
        "`model.export(…)`, two inputs and two outputs",
        partial(_exported, _functional),
        default(_A_AND_B, True),
    ),
    Export(
        "keras_export_subclassed",
        "`model.export(…)` of a subclassed model",
        partial(_exported, _subclassed),
        default(_X, True),
    ),
    Export(
        "keras_endpoints",
        "`keras.export.ExportArchive` with two endpoints",
        _endpoints,
        {name: Asked(_X, True) for name in ("serve", "hidden", "serving_default")},
    ),
    Export(
        "keras_saved",
        "`tf.saved_model.save(model, …)` of a Sequential model",
        partial(_saved, _sequential),
        default(numbers("inputs", 3), True),
    ),
    Export(
        "keras_saved_functional",
        "`tf.saved_model.save(model, …)` of a functional model",
        partial(_saved, _functional),
        default(together(numbers("inputs", 3), numbers("inputs_1", 2)), True),
    ),
    Export(
        "keras_saved_alike",
        "the same, inputs of one shape and twelve outputs",
        partial(_saved, _alike),
        default(together(numbers("inputs", 3), numbers("inputs_1", 3)), True),
    ),
    Export(
        "keras_saved_subclassed",
        "`tf.saved_model.save(model, …)` of a subclassed model",
        partial(_saved, _subclassed),
        # Its signature has the shape of the one row that it was built with.
        default(always(1, numbers("inputs", 3)), False, why=NO_OPEN_DIMENSION),
    ),
    Export(
        "keras_signature",
        "`tf.saved_model.save(model, …, signatures=…)`, Sequential",
        partial(_saved_with_signature, _sequential),
        default(_X, True),
    ),
    Export(
        "keras_signature_functional",
        "the same, functional",
        partial(_saved_with_signature, _functional),
        default(_A_AND_B, True),
    ),
    Export(
        "keras_signature_subclassed",
        "the same, subclassed",
        partial(_saved_with_signature, _subclassed),
        default(_X, True),
    ),
    Export("keras_in_module", "a `tf.Module` that holds a Keras model", _in_a_module, default(_X, True)),
    Export("keras_same_names", "two Keras models with the same names of layers", _two_in_a_module, default(_X, True)),
    Export(
        "keras_export_same_names",
        "`model.export(…)`, two parts with the same names of layers",
        _two_exported,
        default(_X, True),
    ),
    Export(
        "keras_2_saved",
        "`model.save(…)` of `tf_keras`",
        partial(_keras_2, exported=False),
        default(_X, True),
        needs="tf_keras",
    ),
    Export(
        "keras_2_export",
        "`model.export(…)` of `tf_keras`",
        partial(_keras_2, exported=True),
        default(_X, True),
        needs="tf_keras",
    ),
    Export(
        "keras_passes_through",
        "an input as output, and an output by two names",
        _passes_through,
        default(numbers("inputs", 3), True),
    ),
)
