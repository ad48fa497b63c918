"""What the engine holds, as TF Serving prints it: the status of versions and the signatures of a model.

Which requests run joined, and by which runtime, is Signpost's own, and there are clients that take nothing in these
forms which TF Serving does not send; so of a model it is told only where `?joining=true` or `?runtime=true` asks.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from flask import Blueprint, Response, jsonify, request
from google.protobuf import json_format

from service import protocol
from service.errors import InvalidRequest, NotFound, SignpostError
from service.gateway.openapi.document import described
from service.gateway.openapi.examples import MODEL_STATUS, MODELS
from service.gateway.openapi.schemas import ASKING, json_of
from service.interface import Array, Engine, ModelSpec, Servable, Signature, State, TensorSpec, VersionStatus
from service.near_misses import what_there_is


def blueprint(engine: Engine) -> Blueprint:
    """The `GET /v1/models…` routes."""
    routes = Blueprint("status", __name__)

    @routes.get("/v1/models")
    @described("Models", MODELS)
    def list_models() -> Response:
        """Every model with the state of its versions, or with what is wrong if it has none."""
        status = engine.status()
        models = [
            {
                "name": name,
                **status_of(name, status.models.get(name, ()), _OURS),
                **({"error": status.reasons[name]} if name in status.reasons else {}),
            }
            for name in sorted(status.models.keys() | status.reasons.keys())
        ]
        return jsonify(models=models)

    @routes.get("/v1/models/<name:name>")
    @routes.get("/v1/models/<name:name>/versions/<int:version>")
    @routes.get("/v1/models/<name:name>/labels/<name:label>")
    @described("Models", MODEL_STATUS, query=tuple(_OURS), errors=ASKING)
    def show_status(name: str, version: int | None = None, label: str | None = None) -> Response:
        """State of a model's versions, as TensorFlow Serving tells it."""
        if label is not None:
            with engine.lease(ModelSpec(name, label=label)) as servable:
                version = servable.version
        status = engine.status()
        found = [each for each in status.models.get(name, ()) if version is None or each.version == version]
        if not found:
            asked = f"version {version} of model {name}" if version is not None else f"any versions of model {name}"
            reason = status.reasons.get(name)
            why = f": {reason}" if reason else f"; {what_there_is(name, status.models)}"
            raise NotFound(f"Could not find {asked}{why}")
        return jsonify(status_of(name, found, _wanted()))

    @routes.get("/v1/models/<name:name>/metadata")
    @routes.get("/v1/models/<name:name>/versions/<int:version>/metadata")
    @routes.get("/v1/models/<name:name>/labels/<name:label>/metadata")
    @described("Models", json_of("Metadata"), query=tuple(_OURS), errors=ASKING)
    def show_metadata(name: str, version: int | None = None, label: str | None = None) -> Response:
        """The signatures: what the model takes and answers, by name, type and shape."""
        with engine.lease(ModelSpec(name, version, label)) as servable:
            signatures = {key: _signature(value) for key, value in servable.signatures.items()}
            ours = _told(servable, _wanted())
            return jsonify(
                model_spec={"name": servable.name, "signature_name": "", "version": str(servable.version)},
                metadata={"signature_def": {"signature_def": signatures}, **ours},
            )

    def status_of(name: str, versions: Sequence[VersionStatus], wanted: Collection[str]) -> dict[str, Any]:
        return {
            "model_version_status": [
                {
                    "version": str(each.version),
                    "state": each.state.name,
                    "status": {"error_code": "UNKNOWN" if each.error else "OK", "error_message": each.error},
                    **(ours_of(name, each, wanted) if wanted else {}),
                }
                for each in versions
            ]
        }

    def ours_of(name: str, version: VersionStatus, wanted: Collection[str]) -> dict[str, Any]:
        if version.state is not State.AVAILABLE:
            return {}
        try:
            with engine.lease(ModelSpec(name, version.version)) as servable:
                return _told(servable, wanted)
        except SignpostError:  # it was swapped out meanwhile
            return {}

    return routes


def _wanted() -> list[str]:
    """Which of `_OURS` the request asks for."""
    return [name for name in _OURS if _is_wanted(name)]


def _is_wanted(name: str) -> bool:
    wanted = request.args.get(name, "false").lower()
    if wanted not in ("true", "false"):
        raise InvalidRequest(f"{name} must be true or false, not {wanted[:40]!r}.")
    return wanted == "true"


def _told(servable: Servable, wanted: Collection[str]) -> dict[str, Any]:
    return {name: told for name in wanted if (told := _OURS[name](servable))}


def _joining(servable: Servable) -> dict[str, Any]:
    """Whether requests of each signature run joined, and why not."""
    return {
        name: {"joined": False, "why": servable.unjoined[name]} if name in servable.unjoined else {"joined": True}
        for name in servable.signatures
    }


def runtime_of(servable: Servable) -> dict[str, Any]:
    """What computes the default signature, and why; nothing where an engine elsewhere does not tell."""
    by = servable.run_by
    if not by.runtime:
        return {}
    return {"name": by.runtime, "times_as_fast": round(by.gain, 2), **({"why": by.why} if by.why else {})}


# What is Signpost's own, by the name under which it is asked for and told.
_OURS: Final[Mapping[str, Callable[[Servable], dict[str, Any]]]] = {"joining": _joining, "runtime": runtime_of}


def _signature(signature: Signature) -> dict[str, Any]:
    return {
        "inputs": {name: _tensor(spec) for name, spec in signature.inputs.items()},
        "outputs": {name: _tensor(spec) for name, spec in signature.outputs.items()},
        "method_name": signature.method_name,
        "defaults": {name: _default(array) for name, array in signature.defaults.items()},
    }


def _default(array: Array) -> dict[str, Any]:
    """A TensorProto as TF Serving writes one: every field under its own name, empty ones too."""
    proto = protocol.to_tensor_proto(array, as_content=False)
    found: dict[str, Any] = json_format.MessageToDict(
        proto, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return found


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {
        "dtype": spec.dtype_name,
        "tensor_shape": {
            "dim": [{"size": str(size), "name": ""} for size in spec.shape or ()],
            "unknown_rank": spec.shape is None,
        },
        "name": spec.tensor,
    }
