"""A request for inference, run: fitted to a signature, images decoded, outputs chosen."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from service import images
from service.errors import InvalidRequest, NotFound, TooLarge, Unavailable
from service.interface import (
    DEFAULT_SIGNATURE,
    Answer,
    Array,
    Call,
    Engine,
    ImageSize,
    ModelSpec,
    Servable,
    Signature,
    State,
)
from service.near_misses import did_you_mean
from service.oip.classification import classify
from service.oip.requests import InferRequest, Rules, Wanted, check_once
from service.oip.tensors import BYTES, Tensor, datatype_of
from service.telemetry.timings import Timings

# What Triton's image clients demand: exactly one output.
_SHOWN_OF_IMAGES: Final = ("scores",)

# Runs a function on each of some values, as `map` does.
Map = Callable[..., Iterable[Any]]


@dataclass(frozen=True)
class Output:
    """An output of an answer.

    Attributes:
        name: of the output.
        datatype: the protocol's name of its type.
        array: its values.
        binary: whether it is to be answered as bytes.
    """

    name: str
    datatype: str
    array: Array
    binary: bool


@dataclass(frozen=True)
class Ran:
    """A request that has run.

    Attributes:
        answer: the servable's.
        outputs: what is answered.
        images: how many were decoded.
    """

    answer: Answer
    outputs: tuple[Output, ...]
    images: int


@contextmanager
def leased(engine: Engine, spec: ModelSpec) -> Iterator[Servable]:
    """Borrow a servable, as `Engine.lease`, with the words for what is not there that the protocol's clients look for.

    Raises:
        NotFound: no such model, version or label.
        Unavailable: known, but not ready to answer.
    """
    with ExitStack() as stack:
        try:
            servable = stack.enter_context(engine.lease(spec))
        except NotFound as error:
            raise _unknown(engine, spec) from error
        yield servable


def is_ready(engine: Engine, spec: ModelSpec) -> bool:
    """Whether a model, or the version that is asked for, would answer now."""
    try:
        check_ready(engine, spec)
    except (NotFound, Unavailable):
        return False
    return True


def check_ready(engine: Engine, spec: ModelSpec) -> None:
    """Make sure that a model, or the version that is asked for, would answer now.

    Raises:
        NotFound: there is none.
        Unavailable: it is loading, going, or has failed.
    """
    try:
        with leased(engine, spec):
            pass
    except NotFound:
        for version in engine.status().models.get(spec.name, ()):
            if version.version == spec.version and version.state is not State.AVAILABLE:
                raise Unavailable(
                    f"Model {spec.name!r} version {spec.version} is not ready ({version.error or version.state.name})."
                ) from None
        raise


def _unknown(engine: Engine, spec: ModelSpec) -> NotFound:
    models = engine.status().models
    versions = models.get(spec.name)
    if versions is None or (spec.version is None and spec.label is None):
        hint = did_you_mean(spec.name, models)
        return NotFound(
            f"Request for unknown model: {spec.name!r} is not found; {hint}GET /v2/models lists the models."
        )
    serving = sorted(each.version for each in versions if each.state is State.AVAILABLE)
    asked = spec.version if spec.label is None else spec.label
    there = f"it has {', '.join(map(str, serving))}" if serving else "no version of it is ready"
    return NotFound(f"Request for unknown model: {spec.name!r} version {asked} is not found; {there}.")


def signature_of(servable: Servable, name: str = "") -> tuple[str, Signature]:
    """The signature of a name and its name; by default `serving_default`, or the only one.

    Raises:
        NotFound: there is no such signature.
    """
    wanted = name or DEFAULT_SIGNATURE
    if not name and wanted not in servable.signatures and len(servable.signatures) == 1:
        [wanted] = servable.signatures
    if wanted not in servable.signatures:
        raise NotFound(
            f"Model {servable.name!r} version {servable.version} has no signature {wanted!r}; pass another in "
            f"the parameter signature_name: {', '.join(servable.signatures)}."
        )
    return wanted, servable.signatures[wanted]


def shown_outputs(signature_name: str, signature: Signature) -> tuple[str, ...]:
    """The outputs that are shown, and answered where none is named.

    Of an image classifier they are its scores; its classes never change and can be asked for by name.
    """
    is_classifier = signature.image is not None and signature_name == DEFAULT_SIGNATURE
    return _SHOWN_OF_IMAGES if is_classifier else tuple(signature.outputs)


def infer(
    servable: Servable, request: InferRequest, call: Call, rules: Rules, timings: Timings, each: Map = map
) -> Ran:
    """Run a request.

    Args:
        servable: what answers.
        request: what is asked.
        call: its deadline and what goes along; signature and outputs are filled in here.
        rules: what encoded images may cost.
        timings: gets the time of decoding.
        each: runs a function on each of some images; `map`, or that of a pool of threads.

    Raises:
        InvalidRequest: it does not fit the signature.
        SignpostError: as `Servable.predict`.
    """
    name, signature = signature_of(servable, request.options.signature_name)
    check_once("input", (tensor.name for tensor in request.inputs))
    for tensor in request.inputs:
        _check_input(servable, tensor, signature)
    wanted = _wanted(servable, request, name, signature)
    for output in wanted:
        _check_output(output, signature)
    call = replace(call, signature_name=name, outputs=tuple(output.name for output in wanted))
    started_s = time.monotonic()
    inputs: dict[str, Array] = {}
    decoded = 0
    for tensor in request.inputs:
        inputs[tensor.name] = tensor.array
        if signature.image is not None and tensor.datatype == BYTES:
            servable.check_room(call)
            inputs[tensor.name] = decode(tensor, signature.image, rules, each)
            decoded += len(inputs[tensor.name])
    timings.add("decode", time.monotonic() - started_s)
    answer = servable.predict(inputs, call)
    outputs = (_output(servable, output, answer.outputs, name, signature) for output in wanted)
    return Ran(answer, tuple(outputs), decoded)


def decode(tensor: Tensor, size: ImageSize, rules: Rules, each: Map = map) -> Array:
    """Decode a tensor of encoded images.

    Returns:
        uint8 array (N, H, W, C).

    Raises:
        InvalidRequest: it is not a list of images, or one can't be decoded within the limits; the message tells which.
    """
    shape = tensor.array.shape
    if len(shape) != 1 and (len(shape) != 2 or shape[1] != 1):
        raise InvalidRequest(
            f"Input {tensor.name!r} of datatype BYTES takes encoded images in the shape [N] or [N, 1], not "
            f"{list(shape)}."
        )
    encoded = tensor.array.ravel().tolist()
    if len(encoded) > rules.max_images:
        raise TooLarge(f"The request contains {len(encoded)} images; at most {rules.max_images} are allowed.")
    pixels = np.empty((len(encoded), size.height, size.width, size.channels), dtype=np.uint8)

    def fill(number: int) -> None:
        try:
            pixels[number] = images.decode(encoded[number], size.height, size.width, size.channels, rules.image)
        except InvalidRequest as error:
            raise type(error)(f"Image {number} of input {tensor.name!r}: {error}") from error

    for _ in (each if len(encoded) > 1 else map)(fill, range(len(encoded))):
        pass
    return pixels


def _check_input(servable: Servable, tensor: Tensor, signature: Signature) -> None:
    spec = signature.inputs.get(tensor.name)
    if spec is None:
        raise InvalidRequest(
            f"unexpected inference input {tensor.name!r} for model {servable.name!r}; "
            f"{did_you_mean(tensor.name, signature.inputs)}it takes {_listed(signature.inputs)}."
        )
    datatype = datatype_of(spec)
    if tensor.datatype == datatype or (signature.image is not None and tensor.datatype == BYTES):
        return
    also = " (or encoded images as BYTES)" if signature.image is not None else ""
    raise InvalidRequest(
        f"inference input {tensor.name!r} data-type is {tensor.datatype!r}, but model {servable.name!r} expects "
        f"{datatype!r}{also}."
    )


def _wanted(servable: Servable, request: InferRequest, name: str, signature: Signature) -> tuple[Wanted, ...]:
    if not request.outputs:
        return tuple(Wanted(each, request.options.binary) for each in shown_outputs(name, signature))
    check_once("output", (each.name for each in request.outputs))
    for each in request.outputs:
        if each.name not in signature.outputs:
            raise InvalidRequest(
                f"unexpected inference output {each.name!r} for model {servable.name!r}; "
                f"{did_you_mean(each.name, signature.outputs)}it gives {_listed(signature.outputs)}."
            )
    return request.outputs


def _check_output(wanted: Wanted, signature: Signature) -> None:
    datatype = datatype_of(signature.outputs[wanted.name])
    if wanted.classes and datatype == BYTES:
        raise InvalidRequest(
            f"Output {wanted.name!r} is of strings, which can't be classified; request it without classification."
        )


def scores_of(servable: Servable, wanted: Wanted, scores: Array) -> Output:
    """The scores of an image classifier as they are wanted.

    Args:
        servable: knows the classes.
        wanted: asks for `scores`.
        scores: float32 (N, K).
    """
    if wanted.classes:
        return Output(wanted.name, BYTES, classify(scores, wanted.classes, servable.classes), wanted.binary)
    return Output(wanted.name, "FP32", scores, wanted.binary)


def _output(
    servable: Servable, wanted: Wanted, arrays: Mapping[str, Array], signature_name: str, signature: Signature
) -> Output:
    array = arrays[wanted.name]
    if wanted.name in _SHOWN_OF_IMAGES and shown_outputs(signature_name, signature) == _SHOWN_OF_IMAGES:
        return scores_of(servable, wanted, array)
    if wanted.classes:
        told = classify(array, wanted.classes, by_row=signature.batchable)
        return Output(wanted.name, BYTES, told, wanted.binary)
    return Output(wanted.name, datatype_of(signature.outputs[wanted.name]), array, wanted.binary)


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(names) or "none"
