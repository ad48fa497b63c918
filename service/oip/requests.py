"""A request for inference as it is meant, however it came: what its parameters may say, and what it may cost."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from service.config.settings import Settings
from service.errors import InvalidRequest
from service.images import ImageLimits
from service.interface import ModelSpec
from service.oip.tensors import Tensor

# Longer numbers are not versions, and int() is slow with very long ones.
_MOST_DIGITS: Final = 18
_OF_SHARED_MEMORY: Final = frozenset(("shared_memory_region", "shared_memory_offset", "shared_memory_byte_size"))
_OF_SEQUENCES: Final = ("sequence_id", "sequence_start", "sequence_end")
_MOST_US: Final = 2**63


@dataclass(frozen=True)
class Wanted:
    """An output that a request names.

    Attributes:
        name: of the output.
        binary: whether it is to be answered as bytes rather than JSON; over gRPC that is the transport's choice.
        classes: how many of its highest values to tell as strings; 0 answers the values themselves.
    """

    name: str
    binary: bool = False
    classes: int = 0


@dataclass(frozen=True)
class Options:
    """What the parameters of a request say.

    Attributes:
        signature_name: the signature to run; empty means the model's default.
        timeout_us: microseconds that the client waits; 0 sets no limit of its own.
        binary: whether outputs that are not named are answered as bytes.
        wants_final: whether each answer in a stream is to say that it is the last one to its request.
    """

    signature_name: str = ""
    timeout_us: int = 0
    binary: bool = False
    wants_final: bool = False


_NO_OPTIONS: Final = Options()


@dataclass(frozen=True)
class InferRequest:
    """A request, read but not yet fitted to a signature.

    Attributes:
        id: comes back with the answer; empty where the client sent none.
        inputs: the tensors, in their order.
        outputs: those that it names; empty means what the model shows.
        options: what its parameters say.
    """

    id: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Wanted, ...] = ()
    options: Options = _NO_OPTIONS


@dataclass(frozen=True)
class Rules:
    """What requests may cost.

    Attributes:
        image: one encoded image.
        max_images: in a request.
        max_rows: instances in a request, where requests are batched.
        batch_wait_us: microseconds that a batch waits for more; None where requests are not batched.
    """

    image: ImageLimits
    max_images: int
    max_rows: int
    batch_wait_us: int | None


def rules_of(settings: Settings) -> Rules:
    """The rules that the settings make."""
    return Rules(
        ImageLimits(settings.max_image_bytes, settings.max_image_pixels),
        settings.max_images,
        settings.max_instances,
        settings.batch_timeout_micros if settings.enable_batching != "false" else None,
    )


def spec_of(name: str, version: str = "", request_id: str | None = None) -> ModelSpec:
    """Which servable is asked for: a version that is not a number is a label."""
    if not version:
        return ModelSpec(name, request_id=request_id)
    if version.isascii() and version.isdigit() and len(version) <= _MOST_DIGITS:
        return ModelSpec(name, int(version), request_id=request_id)
    return ModelSpec(name, label=version, request_id=request_id)


def read_options(parameters: Mapping[str, Any]) -> Options:
    """Read the parameters of a request; those that nobody knows are passed over.

    Raises:
        InvalidRequest: one has a value that it can't have, or asks for a sequence, which models here do not keep.
    """
    if not parameters:
        return _NO_OPTIONS
    for name in _OF_SEQUENCES:
        if parameters.get(name):
            raise InvalidRequest(
                f"The parameter {name} asks for a sequence; models here keep no state between requests."
            )
    _whole(parameters, "priority")
    return Options(
        _text(parameters, "signature_name"),
        _whole(parameters, "timeout"),
        flag(parameters, "binary_data_output"),
        flag(parameters, "triton_enable_empty_final_response"),
    )


def read_wanted(name: str, parameters: Mapping[str, Any], binary: bool = False) -> Wanted:
    """Read an output that a request names; `binary` is what holds where the output itself says nothing of it.

    Raises:
        InvalidRequest: a parameter has a value that it can't have, or asks for shared memory.
    """
    check_no_shared_memory(name, parameters)
    classes = parameters.get("classification")
    if classes is not None and (type(classes) is not int or classes < 1):
        raise InvalidRequest(
            f"The parameter classification of output {name!r} must be a whole number of at least 1: how many "
            "classes to return."
        )
    return Wanted(name, flag(parameters, "binary_data", binary), classes or 0)


def check_no_shared_memory(name: str, parameters: Iterable[str]) -> None:
    """Make sure that a tensor is in the request itself.

    Raises:
        InvalidRequest: its parameters say that it lies in shared memory.
    """
    if not _OF_SHARED_MEMORY.isdisjoint(parameters):
        raise InvalidRequest(
            f"{name!r} refers to shared memory, which is not supported here; send the data in the request."
        )


def check_once(kind: str, names: Iterable[str]) -> None:
    """Make sure that no name stands twice; `kind` is what they name.

    Raises:
        InvalidRequest: one does.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InvalidRequest(f"{kind} {name!r} already exists in request; name each once.")
        seen.add(name)


def flag(parameters: Mapping[str, Any], name: str, default: bool = False) -> bool:
    """A parameter that is true or false.

    Raises:
        InvalidRequest: it is neither.
    """
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidRequest(f"The parameter {name} must be true or false.")
    return value


def _whole(parameters: Mapping[str, Any], name: str) -> int:
    value = parameters.get(name, 0)
    if type(value) is not int or not 0 <= value < _MOST_US:
        raise InvalidRequest(f"The parameter {name} must be a whole number, 0 or more.")
    return value


def _text(parameters: Mapping[str, Any], name: str) -> str:
    value = parameters.get(name, "")
    if not isinstance(value, str):
        raise InvalidRequest(f"The parameter {name} must be a string.")
    return value
