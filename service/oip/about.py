"""What the protocol tells of the service and its models, as its JSON; over gRPC the same becomes messages."""

from collections.abc import Sequence
from typing import Any, Final

from service.interface import Servable, Signature, State, Status, TensorSpec
from service.oip.inference import shown_outputs, signature_of
from service.oip.requests import Rules
from service.oip.tensors import BYTES, datatype_of
from service.version import __version__

Json = dict[str, Any]

EXTENSIONS: Final = (
    "classification", "binary_tensor_data", "parameters", "schedule_policy", "model_configuration", "model_repository",
    "statistics",
)  # fmt: skip
PLATFORM: Final = "tensorflow_savedmodel"
# What the protocol has for a tensor whose rank is open.
_OPEN: Final = (-1,)
_STATES: Final = {
    State.AVAILABLE: "READY",
    State.START: "LOADING",
    State.LOADING: "LOADING",
    State.UNLOADING: "UNLOADING",
}


def server() -> Json:
    """The server's name, version and extensions."""
    return {"name": "signpost", "version": __version__, "extensions": list(EXTENSIONS)}


def metadata(servable: Servable, status: Status, every: bool = True) -> Json:
    """The inputs and outputs of a model.

    Args:
        servable: the version that is asked for.
        status: which versions there are.
        every: name all versions that answer, rather than this one alone.

    Raises:
        InvalidRequest: a type that the protocol has no name for.
        NotFound: the model has no signature that answers by default.
    """
    name, signature = signature_of(servable)
    held = status.models.get(servable.name, ()) if every else ()
    serving = {each.version for each in held if each.state is State.AVAILABLE} | {servable.version}
    return {
        "name": servable.name,
        "versions": [str(version) for version in sorted(serving)],
        "platform": PLATFORM,
        "inputs": [_tensor(spec) for spec in signature.inputs.values()],
        "outputs": [_tensor(signature.outputs[output]) for output in shown_outputs(name, signature)],
    }


def config(servable: Servable, rules: Rules) -> Json:
    """Triton's configuration of a model, as far as it applies here.

    Args:
        servable: the version that is asked for.
        rules: what a request may carry.

    Raises:
        InvalidRequest, NotFound: as `metadata`.
    """
    name, signature = signature_of(servable)
    outputs = shown_outputs(name, signature)
    most = (rules.max_images if signature.image is not None else rules.max_rows) if signature.batchable else 0
    from_ = 1 if most else 0
    found: Json = {
        "name": servable.name,
        "platform": PLATFORM,
        "backend": "tensorflow",
        "version_policy": {"specific": {"versions": [servable.version]}},
        "max_batch_size": most,
        "input": [_config_input(spec, signature, from_) for spec in signature.inputs.values()],
        "output": [_config_output(signature.outputs[output], servable, signature, from_) for output in outputs],
        "default_model_filename": "saved_model.pb",
        "model_transaction_policy": {"decoupled": False},
    }
    if rules.batch_wait_us is not None and signature.batchable:
        found["dynamic_batching"] = {"max_queue_delay_microseconds": rules.batch_wait_us}
    return found


def index(status: Status, only_ready: bool = False, unloaded: Sequence[str] = ()) -> list[Json]:
    """Every version of every model with its state, as Triton's index of a repository.

    Args:
        status: which versions there are.
        only_ready: leave out those that do not answer.
        unloaded: models that could be loaded.
    """
    found = []
    for name, versions in status.models.items():
        for each in sorted(versions, key=lambda version: version.version):
            state = _STATES.get(each.state, "UNAVAILABLE")
            found.append({"name": name, "version": str(each.version), "state": state, "reason": each.error})
        if not versions:
            found.append({"name": name, "version": "", "state": "UNAVAILABLE", "reason": "no version is loaded"})
    found += [
        {"name": name, "version": "", "state": "UNAVAILABLE", "reason": "unloaded"}
        for name in unloaded
        if name not in status.models
    ]
    return [each for each in found if each["state"] == "READY" or not only_ready]


def _tensor(spec: TensorSpec) -> Json:
    shape = _OPEN if spec.shape is None else spec.shape
    return {"name": spec.name, "datatype": datatype_of(spec), "shape": list(shape)}


def _config_input(spec: TensorSpec, signature: Signature, from_: int) -> Json:
    return {
        "name": spec.name,
        "data_type": _data_type(spec),
        "format": "FORMAT_NHWC" if signature.image is not None else "FORMAT_NONE",
        "dims": list(_OPEN if spec.shape is None else spec.shape[from_:]),
        "optional": spec.name in signature.defaults,
    }


def _config_output(spec: TensorSpec, servable: Servable, signature: Signature, from_: int) -> Json:
    labelled = signature.image is not None and spec.name == "scores" and bool(servable.classes)
    return {
        "name": spec.name,
        "data_type": _data_type(spec),
        "dims": list(_OPEN if spec.shape is None else spec.shape[from_:]),
        "label_filename": "classes" if labelled else "",
    }


def _data_type(spec: TensorSpec) -> str:
    datatype = datatype_of(spec)
    return "TYPE_STRING" if datatype == BYTES else f"TYPE_{datatype}"
