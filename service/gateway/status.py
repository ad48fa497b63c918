"""What the engine holds, as TF Serving prints it: the status of versions and the signatures of a model."""

from typing import Any

from flask import Blueprint, Response, jsonify
from google.protobuf.json_format import MessageToDict

from service import protocol
from service.engine.interface import Array, Engine, ModelSpec, Signature, TensorSpec, VersionStatus
from service.errors import NotFound
from service.gateway.openapi import described
from service.gateway.openapi_examples import MODEL_STATUS, MODELS
from service.gateway.openapi_schemas import ASKING, json_of
from service.near_misses import what_there_is


def blueprint(engine: Engine) -> Blueprint:
    """The `GET /v1/models…` routes."""
    routes = Blueprint("status", __name__)

    @routes.get("/v1/models")
    @described("Models", MODELS)
    def list_models() -> Response:
        """Every model with the state of its versions."""
        models = [{"name": name, **_versions(versions)} for name, versions in engine.status().models.items()]
        return jsonify(models=models)

    @routes.get("/v1/models/<name:name>")
    @routes.get("/v1/models/<name:name>/versions/<int:version>")
    @routes.get("/v1/models/<name:name>/labels/<name:label>")
    @described("Models", MODEL_STATUS, errors=ASKING)
    def show_status(name: str, version: int | None = None, label: str | None = None) -> Response:
        """State of a model's versions, as TensorFlow Serving tells it."""
        if label is not None:
            with engine.lease(ModelSpec(name, label=label)) as servable:
                version = servable.version
        models = engine.status().models
        found = [each for each in models.get(name, ()) if version is None or each.version == version]
        if not found:
            asked = f"version {version} of model {name}" if version is not None else f"any versions of model {name}"
            raise NotFound(f"Could not find {asked}; {what_there_is(name, models)}")
        return jsonify(_versions(found))

    @routes.get("/v1/models/<name:name>/metadata")
    @routes.get("/v1/models/<name:name>/versions/<int:version>/metadata")
    @routes.get("/v1/models/<name:name>/labels/<name:label>/metadata")
    @described("Models", json_of("Metadata"), errors=ASKING)
    def show_metadata(name: str, version: int | None = None, label: str | None = None) -> Response:
        """The signatures: what the model takes and answers, by name, type and shape."""
        with engine.lease(ModelSpec(name, version, label)) as servable:
            signatures = {key: _signature(value) for key, value in servable.signatures.items()}
            return jsonify(
                model_spec={"name": servable.name, "signature_name": "", "version": str(servable.version)},
                metadata={"signature_def": {"signature_def": signatures}},
            )

    return routes


def _versions(versions: tuple[VersionStatus, ...] | list[VersionStatus]) -> dict[str, Any]:
    return {
        "model_version_status": [
            {
                "version": str(each.version),
                "state": each.state.name,
                "status": {"error_code": "UNKNOWN" if each.error else "OK", "error_message": each.error},
            }
            for each in versions
        ]
    }


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
    found: dict[str, Any] = MessageToDict(
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
