"""TF Serving's JSON of tensors: requests in row (`instances`) or column (`inputs`) form, and their answers.

The format is that of TensorFlow Serving's RESTful API (https://www.tensorflow.org/tfx/serving/api_rest). Beyond it,
an image classifier takes `{"b64": "…"}` or a `data:` URL for an encoded image wherever it takes pixels, and an input
with a default may be left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.errors import InvalidRequest, NotFound
from service.gateway.bodies import json_body
from service.gateway.bodies.b64 import is_b64
from service.gateway.bodies.json_arrays import DecodeImage, to_array, to_lists
from service.interface import DEFAULT_SIGNATURE, Array, Signature


@dataclass(frozen=True)
class JsonRequest:
    """The body of a `:predict` request, parsed but not yet fitted to a signature.

    Attributes:
        signature_name: the signature wanted.
        rows: True for `instances`, False for `inputs`.
        values: what stood under that name.
        says_infinity: whether the body has the word; a number that only becomes infinite is too large.
    """

    signature_name: str
    rows: bool
    values: Any
    says_infinity: bool = True


def parse_object(body: bytes, max_depth: int = 64) -> dict[str, Any]:
    """Parse a body that must be a JSON object, nested no deeper than `max_depth`.

    Raises:
        InvalidRequest: it is none.
    """
    document = json_body.parse(body, max_depth)
    if not isinstance(document, dict):
        raise InvalidRequest('The body must be a JSON object such as {"instances": […]}.')
    return document


def signature_name(document: Mapping[str, Any]) -> str:
    """The signature that a body asks for.

    Raises:
        InvalidRequest: its name is not text.
    """
    name = document.get("signature_name", DEFAULT_SIGNATURE) or DEFAULT_SIGNATURE
    if not isinstance(name, str):
        raise InvalidRequest('"signature_name" must be a string.')
    return name.encode("utf-8", "replace").decode()  # half a surrogate could not be told in an error


def parse(body: bytes, max_depth: int = 64) -> JsonRequest:
    """Parse the body of a `:predict` request, nested no deeper than `max_depth`.

    Raises:
        InvalidRequest: it is not a JSON object with exactly one of `instances` and `inputs`.
    """
    document = parse_object(body, max_depth)
    if ("instances" in document) == ("inputs" in document):
        raise InvalidRequest('The body must have either "instances" (one value each) or "inputs" (one tensor each).')
    rows = "instances" in document
    return JsonRequest(signature_name(document), rows, document["instances" if rows else "inputs"], b"Infinity" in body)


def find_signature(signatures: Mapping[str, Signature], name: str) -> Signature:
    """The signature of that name.

    Raises:
        NotFound: there is none.
    """
    if name not in signatures:
        raise NotFound(
            f'Serving signature name: "{name}" not found in signature def; the model has {", ".join(signatures)}.'
        )
    return signatures[name]


def to_arrays(
    request: JsonRequest,
    signature: Signature,
    decode_image: DecodeImage | None,
    broken: dict[int, InvalidRequest] | None = None,
) -> dict[str, Array]:
    """Make the arrays of a signature's inputs.

    Args:
        request: the parsed body.
        signature: what is to be fed.
        decode_image: for an image classifier, turns an encoded image into pixels.
        broken: takes what is wrong with images that can't be decoded, by their rows; None where one fails the request.

    Raises:
        InvalidRequest: the values do not fit the signature.
    """
    columns = _columns_of_rows(request.values, signature) if request.rows else _columns(request.values, signature)
    arrays = {name: to_array(values, signature.inputs[name], decode_image, broken) for name, values in columns.items()}
    if not request.says_infinity:
        for name, array in arrays.items():
            if array.dtype.kind == "f" and np.isinf(array).any():
                raise InvalidRequest(
                    f"Input {name!r} takes {signature.inputs[name].dtype_name}; a number is too large."
                )
    return arrays


def to_json(outputs: Mapping[str, Array], rows: bool) -> dict[str, Any]:
    """Make the JSON answer in the form of the request: `predictions` for rows, `outputs` for columns.

    A signature with one output answers its bare values, one with several answers objects by name.

    Raises:
        InvalidRequest: rows were asked for, but the outputs have no common first dimension.
    """
    lists = {name: to_lists(name, array) for name, array in outputs.items()}
    if not rows:
        return {"outputs": next(iter(lists.values())) if len(lists) == 1 else lists}
    if len({array.shape[0] if array.ndim else -1 for array in outputs.values()} - {-1}) != 1 or any(
        array.ndim == 0 for array in outputs.values()
    ):
        raise InvalidRequest('The outputs have no common first dimension; use the column form ("inputs").')
    if len(lists) == 1:
        return {"predictions": next(iter(lists.values()))}
    return {"predictions": [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]}


def _columns_of_rows(instances: Any, signature: Signature) -> dict[str, list[Any]]:
    if not isinstance(instances, list) or not instances:
        raise InvalidRequest('"instances" must be a list with at least one value.')
    named = _is_named(instances[0], signature)
    if any(_is_named(instance, signature) != named for instance in instances):
        raise InvalidRequest('"instances" must be either all objects with named inputs or all bare values.')
    if not named:
        return {_only_input(signature): instances}
    found = instances[0].keys()
    if not _required(signature) <= found <= signature.inputs.keys():
        raise InvalidRequest(f"The signature takes the inputs {_listed(signature)}, not {sorted(found)}.")
    for number, instance in enumerate(instances):
        if instance.keys() != found:
            raise InvalidRequest(
                f"Instance {number} has the inputs {sorted(instance)}, the first has {sorted(found)}; "
                "every instance must have the same inputs."
            )
    return {name: [instance[name] for instance in instances] for name in found}


def _columns(inputs: Any, signature: Signature) -> dict[str, Any]:
    if not _is_named(inputs, signature):
        return {_only_input(signature): inputs}
    if missing := _required(signature) - inputs.keys():
        raise InvalidRequest(
            f"Missing named input: {min(missing)}; the signature takes the inputs {_listed(signature)}."
        )
    # Others are ignored, as in TF Serving.
    return {name: inputs[name] for name in signature.inputs if name in inputs}


def _is_named(value: Any, signature: Signature) -> bool:
    if is_b64(value):  # unless b64 is the name of an input, which has anything but the text of a string
        return "b64" in signature.inputs and not isinstance(value["b64"], str)
    return isinstance(value, dict)


def _required(signature: Signature) -> set[str]:
    """The inputs that every request must have."""
    return set(signature.inputs) - set(signature.defaults)


def _only_input(signature: Signature) -> str:
    """The input that bare values are for: the only one, or the only one without a default."""
    candidates = sorted(signature.inputs if len(signature.inputs) == 1 else _required(signature))
    if not signature.inputs:
        raise InvalidRequest('The signature takes no inputs; send an empty object: {"inputs": {}}.')
    if len(candidates) != 1:
        raise InvalidRequest(f"The signature has several inputs; name them: {', '.join(sorted(signature.inputs))}.")
    return candidates[0]


def _listed(signature: Signature) -> str:
    """The inputs, for people."""
    required, optional = sorted(_required(signature)), sorted(signature.defaults)
    return f"{required} and, where wanted, {optional}" if optional else f"{required}"
