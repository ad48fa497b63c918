"""The schemas, errors, headers and query parameters that the API's description refers to."""

from typing import Any, Final

Json = dict[str, Any]


def ref(name: str) -> Json:
    """A reference to one of `SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def json_of(schema: str | Json, **examples: Any) -> Json:
    """The media type JSON of a schema (by name or in full), with examples by name."""
    media: Json = {"schema": ref(schema) if isinstance(schema, str) else schema}
    if examples:
        media["examples"] = {name: {"value": value} for name, value in examples.items()}
    return {"application/json": media}


def text_of(media_type: str, **more: Any) -> Json:
    """A media type of text."""
    return {media_type: {"schema": {"type": "string"}, **more}}


def image_of(media_type: str, **more: Any) -> Json:
    """A media type of bytes."""
    return {media_type: {"schema": {"type": "string", "contentMediaType": media_type.replace("*", "png")}, **more}}


_STATE: Final = {"type": "string", "enum": ["UNKNOWN", "START", "LOADING", "AVAILABLE", "UNLOADING", "END"]}
_RUNTIME: Final[Json] = {
    "type": "object",
    "description": "What runs the default signature.",
    "required": ["name", "times_as_fast"],
    "properties": {
        "name": {"type": "string", "description": "tensorflow, openvino or xla."},
        "times_as_fast": {
            "type": "number",
            "description": "On this host; 1 where nothing was measured.",
        },
        "why": {"type": "string", "description": "Why it is TensorFlow, where others were tried."},
    },
}
_VERSIONS: Final[Json] = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["version", "state", "status"],
        "properties": {
            "version": {"type": "string", "pattern": "^[0-9]+$"},
            "state": _STATE,
            "status": {
                "type": "object",
                "properties": {
                    "error_code": {"type": "string"},
                    "error_message": {"type": "string", "description": "Why it failed, if it did."},
                },
            },
            "joining": {
                "type": "object",
                "description": "For each signature, whether its requests run joined, and why not.",
                "additionalProperties": {
                    "type": "object",
                    "required": ["joined"],
                    "properties": {"joined": {"type": "boolean"}, "why": {"type": "string"}},
                },
            },
            "runtime": _RUNTIME,
        },
    },
}
_LABEL: Final[Json] = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "description": "A string that is not UTF-8.",
            "required": ["b64"],
            "properties": {"b64": {"type": "string"}},
        },
    ]
}
_CONTEXT: Final[Json] = {"type": "object", "description": "Features that every example has."}

SCHEMAS: Final[Json] = {
    "Reloaded": {
        "type": "object",
        "description": "What is served now.",
        "required": ["models"],
        "properties": {"models": {"type": "array", "items": {"type": "string"}}},
    },
    "Error": {
        "type": "object",
        "description": "What is wrong.",
        "required": ["error"],
        "properties": {
            "error": {"type": "string", "description": "What is wrong, with what, and what would be right."}
        },
    },
    "ImageAnswer": {
        "type": "object",
        "description": "The answer to images: one prediction for each, in their order.",
        "required": ["model", "predictions"],
        "properties": {
            "model": {
                "type": "object",
                "required": ["name", "version"],
                "properties": {"name": {"type": "string"}, "version": {"type": "integer"}},
            },
            "predictions": {"type": "array", "items": ref("Prediction")},
        },
    },
    "Prediction": {
        "type": "object",
        "description": "What an image shows.",
        "required": ["class", "score", "scores"],
        "properties": {
            "class": {
                "type": ["string", "null"],
                "description": "The class with the highest score; null where the service rejects what a model does not "
                "know (`--reject-unknown`).",
            },
            "score": {"type": "number"},
            "scores": {"type": "object", "additionalProperties": {"type": "number"}, "description": "By class."},
            "in_domain": {
                "type": "boolean",
                "description": "Whether the image resembles the training images; absent where the model can't tell.",
            },
        },
    },
    "TensorRequest": {
        "type": "object",
        "description": "TensorFlow Serving's JSON: rows (`instances`) or whole tensors (`inputs`).",
        "properties": {
            "signature_name": {"type": "string", "default": "serving_default"},
            "instances": {
                "type": "array",
                "minItems": 1,
                "description": "One value, or one object of named inputs, each; inputs with a default may be left "
                'out. Where an image classifier takes pixels, `{"b64": "…"}`, or a string that is a `data:` URL, may '
                "stand for an encoded image.",
            },
            "inputs": {
                "description": "One tensor, or an object of named tensors, from which those with a default may be left "
                "out. `[]` is a tensor without elements."
            },
        },
        "oneOf": [{"required": ["instances"]}, {"required": ["inputs"]}],
    },
    "TensorAnswer": {
        "type": "object",
        "description": "`predictions` answers `instances`, `outputs` answers `inputs`. A string that is not UTF-8 is "
        'written as `{"b64": "…"}`, and so are all of an output whose name ends in `_bytes`.',
        "properties": {"predictions": {"type": "array"}, "outputs": True},
    },
    "ExamplesRequest": {
        "type": "object",
        "description": "TensorFlow Serving's form of tf.Examples.",
        "required": ["examples"],
        "properties": {
            "signature_name": {"type": "string"},
            "context": _CONTEXT,
            "examples": {"type": "array", "items": {"type": "object"}, "description": "Features by name, each."},
        },
    },
    "Classification": {
        "type": "object",
        "description": "Classes with their scores, for each example.",
        "required": ["results"],
        "properties": {
            "results": {
                "type": "array",
                "items": {
                    "type": "array",
                    "items": {"type": "array", "prefixItems": [_LABEL, {"type": "number"}], "items": False},
                },
                "description": "For each example, pairs of class and score.",
            }
        },
    },
    "Regression": {
        "type": "object",
        "description": "A number for each example.",
        "required": ["results"],
        "properties": {"results": {"type": "array", "items": {"type": "number"}}},
    },
    "Models": {
        "type": "object",
        "description": "Every model with the state of its versions, or with what is wrong if it has none.",
        "required": ["models"],
        "properties": {
            "models": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name", "model_version_status"],
                    "properties": {
                        "name": {"type": "string"},
                        "model_version_status": _VERSIONS,
                        "error": {"type": "string", "description": "What is wrong with the model's folder."},
                    },
                },
            }
        },
    },
    "ModelStatus": {
        "type": "object",
        "description": "The state of a model's versions.",
        "required": ["model_version_status"],
        "properties": {"model_version_status": _VERSIONS},
    },
    "Metadata": {
        "type": "object",
        "description": "The signatures of a version.",
        "required": ["model_spec", "metadata"],
        "properties": {
            "model_spec": {"type": "object"},
            "metadata": {
                "type": "object",
                "description": "`signature_def.signature_def` holds the signatures by name, `joining` (on "
                "request) whether requests of each run joined.",
                "properties": {"runtime": _RUNTIME},
            },
        },
    },
    "Labels": {
        "type": "object",
        "description": "The labels of a model.",
        "required": ["labels"],
        "properties": {"labels": {"type": "object", "additionalProperties": {"type": "integer"}}},
    },
    "ModelCard": {
        "type": "object",
        "description": "As written by training: purpose, classes, metrics, recipe, data, date.",
    },
    "Live": {
        "type": "object",
        "description": "The process answers.",
        "required": ["status"],
        "properties": {"status": {"const": "live"}},
    },
    "Ready": {
        "type": "object",
        "description": "Which models are ready.",
        "required": ["ready", "models"],
        "properties": {
            "ready": {"type": "boolean"},
            "models": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "description": "ready, or why not",
            },
        },
    },
}

SECURITY: Final[Json] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key of this service."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key."},
}

ERRORS: Final = {
    400: "Malformed JSON, values that do not fit the signature, or an image that can't be decoded.",
    401: "No API key, or an unknown one; see `WWW-Authenticate`.",
    403: "The API key's role does not permit this; or, without API keys, changes are off.",
    404: "No such model, version, label, signature or file.",
    413: "The body, an image or the number of images exceeds its limit.",
    415: "An unsupported content type, or an image for a model that is not an image classifier.",
    429: "The model's queue is full; `Retry-After` estimates in seconds when there will be room.",
    503: "The model is loading, has failed to load, or is being unloaded.",
    501: "Not offered by this service: its models belong to other engines.",
    504: "No answer within the time limit.",
}
ASKING: Final = (404, 503)
RUNNING: Final = (400, 404, 413, 415, 429, 503, 504)

HEADERS: Final[Json] = {
    "X-Request-ID": {"description": "The client's, or a new one.", "schema": {"type": "string"}},
    "Server-Timing": {"description": "Milliseconds of each stage, in the W3C's format.", "schema": {"type": "string"}},
    "X-Model-Version": {"description": "The version that answered.", "schema": {"type": "string"}},
}
REQUEST_ID: Final[Json] = {
    "name": "X-Request-ID",
    "in": "header",
    "description": "Returned with the answer; the log names it when the request fails.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9_.:/+=@-]{1,128}$"},
}
DEADLINE: Final[Json] = {
    "name": "X-Request-Deadline-Ms",
    "in": "header",
    "description": "Milliseconds that the client waits, from the request's arrival; the service has a limit too.",
    "schema": {"type": "integer", "minimum": 1, "maximum": 999999999999},
}
QUERY: Final[Json] = {
    "top_k": {
        "name": "top_k",
        "in": "query",
        "description": "How many of the highest scores to return for each posted image; not with JSON.",
        "schema": {"type": "integer", "minimum": 1},
        "example": 2,
    },
    "all_or_nothing": {
        "name": "all_or_nothing",
        "in": "query",
        "description": "Reject the whole request if one of its images can't be decoded, not that image alone.",
        "schema": {"type": "boolean", "default": False},
        "example": "true",
    },
    "runtime": {
        "name": "runtime",
        "in": "query",
        "description": "Say too which runtime runs the model, and how much faster than TensorFlow it is on this host.",
        "schema": {"type": "boolean", "default": False},
        "example": "true",
    },
    "joining": {
        "name": "joining",
        "in": "query",
        "description": "Also report, for each signature, whether its requests run joined in batches, and if not, why.",
        "schema": {"type": "boolean", "default": False},
        "example": "true",
    },
}
