"""What the API's description says of the Open Inference Protocol's routes: schemas and examples.

The examples are those of `openapi_examples.py`'s store.
"""

from typing import Any, Final

from service.gateway.openapi.examples import EXAMPLE_B64, SCORES
from service.gateway.openapi.schemas import json_of, ref
from service.oip import about
from service.version import __version__

Json = dict[str, Any]

TAG: Final = "Open Inference Protocol"

_SHAPE: Final = {"type": "array", "items": {"type": "integer"}}
_PARAMETERS: Final = {"type": "object", "additionalProperties": True}
_DATATYPE: Final = {
    "type": "string",
    "description": "BOOL, UINT8 to UINT64, INT8 to INT64, FP16, BF16, FP32, FP64, BYTES.",
}
_TENSOR: Final[Json] = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"type": "string"},
        "datatype": _DATATYPE,
        "shape": _SHAPE,
        "parameters": {**_PARAMETERS, "description": "`binary_data_size` if its bytes follow the JSON."},
        "data": {"description": "The values in one flat list, or nested according to the shape."},
    },
}
_DURATION: Final = {"type": "object", "properties": {"count": {"type": "integer"}, "ns": {"type": "integer"}}}

SCHEMAS: Final[Json] = {
    "InferRequest": {
        "type": "object",
        "description": "Tensors for a model.",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string", "description": "Returned with the answer."},
            "parameters": {
                **_PARAMETERS,
                "description": "`signature_name`, `timeout` (microseconds), `binary_data_output`.",
            },
            "inputs": {"type": "array", "items": _TENSOR},
            "outputs": {
                "type": "array",
                "description": "Outputs to return; without it the model's own.",
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {
                        "name": {"type": "string"},
                        "parameters": {**_PARAMETERS, "description": "`classification`, `binary_data`."},
                    },
                },
            },
        },
    },
    "InferAnswer": {
        "type": "object",
        "description": "Tensors of a model.",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "id": {"type": "string"},
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "outputs": {"type": "array", "items": _TENSOR},
        },
    },
    "ServerMetadata": {
        "type": "object",
        "description": "The server's name, version and extensions.",
        "required": ["name", "version", "extensions"],
        "properties": {
            "name": {"type": "string"},
            "version": {"type": "string"},
            "extensions": {"type": "array", "items": {"type": "string"}},
        },
    },
    "ServerLive": {
        "type": "object",
        "description": "The process answers.",
        "required": ["live"],
        "properties": {"live": {"const": True}},
    },
    "ServerReady": {
        "type": "object",
        "description": "Whether every model answers.",
        "required": ["ready"],
        "properties": {"ready": {"type": "boolean"}, "error": {"type": "string", "description": "Why not."}},
    },
    "ModelNames": {
        "type": "object",
        "description": "The models.",
        "required": ["models"],
        "properties": {"models": {"type": "array", "items": {"type": "string"}}},
    },
    "ModelReady": {
        "type": "object",
        "description": "The model answers.",
        "required": ["name", "ready"],
        "properties": {"name": {"type": "string"}, "ready": {"const": True}},
    },
    "ModelMetadata": {
        "type": "object",
        "description": "The inputs and outputs of a model.",
        "required": ["name", "versions", "platform", "inputs", "outputs"],
        "properties": {
            "name": {"type": "string"},
            "versions": {"type": "array", "items": {"type": "string"}},
            "platform": {"const": about.PLATFORM},
            "inputs": {"type": "array", "items": _TENSOR},
            "outputs": {"type": "array", "items": _TENSOR},
        },
    },
    "ModelConfig": {
        "type": "object",
        "description": "Triton's configuration of a model, as far as it applies here.",
        "required": ["name", "platform", "max_batch_size", "input", "output"],
        "properties": {"name": {"type": "string"}, "max_batch_size": {"type": "integer"}},
    },
    "ModelStatistics": {
        "type": "object",
        "description": "What each version has done so far, over all workers.",
        "required": ["model_stats"],
        "properties": {
            "model_stats": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name", "version", "inference_count", "execution_count", "inference_stats"],
                    "properties": {
                        "name": {"type": "string"},
                        "version": {"type": "string"},
                        "last_inference": {"type": "integer", "description": "Milliseconds of Unix time."},
                        "inference_count": {"type": "integer", "description": "Instances."},
                        "execution_count": {"type": "integer", "description": "Batches."},
                        "inference_stats": {"type": "object", "additionalProperties": _DURATION},
                    },
                },
            }
        },
    },
    "RepositoryIndex": {
        "type": "array",
        "description": "Versions with their states.",
        "items": {
            "type": "object",
            "required": ["name", "version", "state", "reason"],
            "properties": {
                "name": {"type": "string"},
                "version": {"type": "string"},
                "state": {"enum": ["READY", "LOADING", "UNLOADING", "UNAVAILABLE"]},
                "reason": {"type": "string"},
            },
        },
    },
    "RepositoryChange": {
        "type": "object",
        "description": "Parameters of a load or an unload; may be empty.",
        "properties": {"parameters": _PARAMETERS},
    },
}

SERVER: Final = json_of(
    "ServerMetadata", one={"name": "signpost", "version": __version__, "extensions": list(about.EXTENSIONS)}
)
LIVE: Final = json_of("ServerLive", one={"live": True})
READY: Final = json_of("ServerReady", one={"ready": True})
MODELS: Final = json_of("ModelNames", one={"models": ["half_plus_two", "sign_language"]})
MODEL_READY: Final = json_of("ModelReady", one={"name": "sign_language", "ready": True})
METADATA: Final = json_of(
    "ModelMetadata",
    one={
        "name": "sign_language",
        "versions": ["2"],
        "platform": about.PLATFORM,
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 28, 28, 1]}],
        "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 24]}],
    },
)
CONFIG: Final = json_of("ModelConfig")
STATISTICS: Final = json_of("ModelStatistics")

INFER_BODY: Final[Json] = {
    **json_of(
        "InferRequest",
        hand={
            "id": "1",
            "inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [{"b64": EXAMPLE_B64}]}],
        },
    ),
    "application/octet-stream": {
        "schema": {
            "type": "string",
            "contentMediaType": "application/octet-stream",
            "description": "The same JSON, followed by the bytes of tensors.",
        }
    },
}
INFER_ANSWER: Final[Json] = {
    **json_of(
        "InferAnswer",
        hand={
            "id": "1",
            "model_name": "sign_language",
            "model_version": "2",
            "outputs": [{"name": "scores", "datatype": "FP32", "shape": [1, 24], "data": SCORES}],
        },
    ),
    "application/octet-stream": {
        "schema": {
            "type": "string",
            "contentMediaType": "application/octet-stream",
            "description": "On request: the same JSON, followed by the bytes of tensors.",
        }
    },
}

INDEX_BODY: Final = json_of(
    {"type": "object", "properties": {"ready": {"type": "boolean", "description": "Only those that are ready."}}},
    ready={"ready": True},
)
INDEX: Final = json_of(
    ref("RepositoryIndex"),
    ready=[
        {"name": "half_plus_two", "version": "2", "state": "READY", "reason": ""},
        {"name": "sign_language", "version": "2", "state": "READY", "reason": ""},
    ],
)
CHANGE_BODY: Final = json_of("RepositoryChange", one={"parameters": {}})
_CHANGED: Final = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
LOADED: Final = json_of(_CHANGED, one={"name": "sign_language", "load": True})
UNLOADED: Final = json_of(_CHANGED, one={"name": "sign_language", "unload": True})
