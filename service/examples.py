"""Classification and regression of tf.Examples, free of any transport: what gRPC and REST share.

A signature takes part by the names that TF Serving gives meaning to: one input `inputs`, which holds serialised
examples; the outputs `classes` and `scores` of a classifier, or `outputs` of a regressor. Its method name does not
count, since what `tf.saved_model.save` writes always says "predict".
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from service import protocol
from service.errors import InvalidRequest, UnfitSignature
from service.interface import Answer, Array, Call, Servable, Signature

CLASSIFY: Final = "tensorflow/serving/classify"
REGRESS: Final = "tensorflow/serving/regress"

INPUT: Final = "inputs"
_CLASSES: Final = "classes"
_SCORES: Final = "scores"
_VALUES: Final = "outputs"

# What one class of an answer holds: its label and its score.
Labelled = tuple[bytes, float]


def read_input(proto: Any) -> Array:
    """Serialise the examples of a `tensorflow.serving.Input`.

    Returns:
        An object array of bytes, one for each example. Where the input has a context, each begins with it; in
        protobuf's format that merges the two, and a feature of the example wins.

    Raises:
        InvalidRequest: there is no example.
    """
    kind = proto.WhichOneof("kind")
    examples = getattr(proto, kind).examples if kind is not None else ()
    context = (
        proto.example_list_with_context.context.SerializeToString() if kind == "example_list_with_context" else b""
    )
    if not len(examples):
        raise InvalidRequest("Input is empty.")
    return _as_array([context + example.SerializeToString() for example in examples])


def classify(servable: Servable, examples: Array, call: Call) -> tuple[list[list[Labelled]], Answer]:
    """Run a classification signature.

    Args:
        servable: what runs.
        examples: serialised examples, (N,).
        call: names the signature.

    Returns:
        For each example its classes in the model's order, and the answer that they were read from. A class without
        a name has the empty one, one without a score has 0.

    Raises:
        InvalidRequest: no such signature, or examples that the model does not take.
        UnfitSignature: the signature does not classify.
    """
    wanted = classification_outputs(_find(servable, call.signature_name))
    answer = _run(servable, examples, call, wanted)
    count = len(examples)
    classes = _checked(answer.outputs.get(_CLASSES), _CLASSES, "DT_STRING", count)
    scores = _checked(answer.outputs.get(_SCORES), _SCORES, "DT_FLOAT", count)
    shape = next(each.shape for each in (classes, scores) if each is not None)
    if classes is not None and scores is not None and classes.shape != scores.shape:
        raise UnfitSignature(
            f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    labels = classes if classes is not None else np.full(shape, b"", dtype=np.object_)
    numbers = scores if scores is not None else np.zeros(shape, dtype=np.float32)
    names: Any = labels.tolist()
    rows: Any = numbers.tolist()
    return [list(zip(*pair, strict=True)) for pair in zip(names, rows, strict=True)], answer


def regress(servable: Servable, examples: Array, call: Call) -> tuple[list[float], Answer]:
    """Run a regression signature; its value for each example, and the answer that they were read from.

    Raises:
        InvalidRequest: no such signature, or examples that the model does not take.
        UnfitSignature: the signature does not regress.
    """
    wanted = regression_outputs(_find(servable, call.signature_name))
    answer = _run(servable, examples, call, wanted)
    values = answer.outputs[_VALUES]
    if values.ndim not in (1, 2) or values.shape[1:] not in ((), (1,)):
        raise UnfitSignature(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {_shown(values)}"
        )
    if len(values) != len(examples):
        raise UnfitSignature(f"Input batch size did not match output batch size: {len(examples)} vs. {len(values)}")
    if values.dtype != np.float32:
        raise UnfitSignature(f"Expected output Tensor of DT_FLOAT.  Got: {protocol.dtype_name(values.dtype)}")
    numbers: list[float] = values.ravel().tolist()
    return numbers, answer


def outputs_of(signature: Signature, method_name: str) -> tuple[str, ...]:
    """The outputs that a method, `CLASSIFY` or `REGRESS`, reads.

    Raises:
        InvalidRequest: it is another method.
        UnfitSignature: the signature does not do that.
    """
    if method_name not in (CLASSIFY, REGRESS):
        raise InvalidRequest(f"Unsupported signature method_name: {method_name}; it is {CLASSIFY} or {REGRESS}.")
    return classification_outputs(signature) if method_name == CLASSIFY else regression_outputs(signature)


def classification_outputs(signature: Signature) -> tuple[str, ...]:
    """The outputs that a classification reads.

    Raises:
        UnfitSignature: the signature does not classify.
    """
    _check_input(signature, "classification")
    if len(signature.outputs) not in (1, 2):
        raise UnfitSignature(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    found = tuple(name for name in (_CLASSES, _SCORES) if name in signature.outputs)
    if not found:
        raise UnfitSignature(
            f'Expected classification signature outputs to contain at least one of "{_CLASSES}" or "{_SCORES}". '
            f"Signature has: {', '.join(signature.outputs)}"
        )
    return found


def regression_outputs(signature: Signature) -> tuple[str, ...]:
    """The output that a regression reads.

    Raises:
        UnfitSignature: the signature does not regress.
    """
    _check_input(signature, "regression")
    if len(signature.outputs) != 1:
        raise UnfitSignature("Expected one output Tensor.")
    if _VALUES not in signature.outputs:
        raise UnfitSignature(f"No regression outputs found in SignatureDef: {', '.join(signature.outputs)}")
    return (_VALUES,)


def from_json(document: Mapping[str, Any], decode_b64: Any) -> Array:
    """Make examples of the body of a `:classify` or `:regress` request.

    Args:
        document: `{"examples": [{feature: value or list of values}], "context": {the same, for all}}`.
        decode_b64: turns the text of `{"b64": …}` into bytes.

    Returns:
        An object array of bytes, one for each example.

    Raises:
        InvalidRequest: it has not this form.
    """
    context = b""
    if "context" in document:
        context = _example(document["context"], decode_b64)
    examples = document.get("examples")
    if not isinstance(examples, list) or not examples:
        raise InvalidRequest('The body must have "examples", a list with at least one object of features.')
    return _as_array([context + _example(example, decode_b64) for example in examples])


def _find(servable: Servable, signature_name: str) -> Signature:
    signature = servable.signatures.get(signature_name)
    if signature is None:
        raise InvalidRequest(
            f"No signature was found with the name: {signature_name}; the model has {', '.join(servable.signatures)}."
        )
    return signature


def _check_input(signature: Signature, purpose: str) -> None:
    if len(signature.inputs) != 1:
        raise UnfitSignature("Expected one input Tensor.")
    if INPUT not in signature.inputs:
        raise UnfitSignature(
            f"No {purpose} inputs found in SignatureDef: its input is {next(iter(signature.inputs))}, not {INPUT}"
        )


def _run(servable: Servable, examples: Array, call: Call, wanted: tuple[str, ...]) -> Answer:
    return servable.predict({INPUT: examples}, replace(call, outputs=wanted))


def _checked(array: Array | None, name: str, dtype_name: str, count: int) -> Array | None:
    if array is None:
        return None
    if array.ndim != 2:
        raise UnfitSignature(f"Expected Tensor shape: [batch_size num_classes] but got {_shown(array)}")
    if (found := protocol.dtype_name(array.dtype)) != dtype_name:
        raise UnfitSignature(f"Expected {name} Tensor of {dtype_name}. Got: {found}")
    if len(array) != count:
        raise UnfitSignature(f"Expected {name} output batch size of {count}. Got: {len(array)}")
    return array


def _shown(array: Array) -> str:
    return f"[{','.join(map(str, array.shape))}]"


def _as_array(serialised: list[bytes]) -> Array:
    array = np.empty(len(serialised), dtype=np.object_)
    array[:] = serialised
    return array


def _example(features: Any, decode_b64: Any) -> bytes:
    if not isinstance(features, dict):
        raise InvalidRequest(f"An example must be a JSON object of features, not {_json_type(features)}.")
    example = protocol.example_pb2.Example()
    for name, content in features.items():
        values = content if isinstance(content, list) else [content]
        try:
            _fill(example.features.feature[name], name, values, decode_b64)
        except UnicodeError as error:
            raise InvalidRequest(f"The feature name {name!a} is not Unicode text.") from error
    serialised: bytes = example.SerializeToString()
    return serialised


def _fill(feature: Any, name: str, values: list[Any], decode_b64: Any) -> None:
    """Put JSON values into a feature: numbers with a point are floats, others and booleans integers, strings bytes."""
    kinds = {_kind(value, name) for value in values}
    if kinds == {"int64", "float"}:  # 1 beside 2.5: JavaScript writes 1.0 so
        kinds = {"float"}
    if len(kinds) > 1:
        raise InvalidRequest(f"Unexpected element type in feature: {name} has {' and '.join(sorted(kinds))} values.")
    if kinds == {"bytes"}:
        feature.bytes_list.value.extend(
            value.encode("utf-8", "surrogatepass") if isinstance(value, str) else decode_b64(value["b64"])
            for value in values
        )
    elif kinds == {"float"}:
        floats = np.array(values, dtype=np.float64)
        with np.errstate(over="ignore"):
            if (np.isinf(floats.astype(np.float32)) & np.isfinite(floats)).any():
                raise InvalidRequest(f"Feature: {name} has a number that no 32-bit float can hold.")
        feature.float_list.value.extend(floats.tolist())
    elif kinds == {"int64"}:
        feature.int64_list.value.extend(map(int, values))


def _kind(value: Any, name: str) -> str:
    if isinstance(value, bool):
        return "int64"
    if isinstance(value, int):
        if -(2**63) <= value < 2**63:
            return "int64"
        raise InvalidRequest(f"Feature: {name} has an integer beyond 64 bits. Only int64 is supported.")
    if isinstance(value, float):
        return "float"
    if isinstance(value, str) or (isinstance(value, dict) and value.keys() == {"b64"}):
        return "bytes"
    raise InvalidRequest(f"Feature: {name} has element with unexpected JSON type: {_json_type(value)}")


def _json_type(value: Any) -> str:
    return {dict: "Object", list: "Array", str: "String", bool: "Boolean", type(None): "Null"}.get(
        type(value), "Number"
    )
