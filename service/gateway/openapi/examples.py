"""What the API's description shows of requests and answers; tests ask each of them of a real service.

An answer stands under the name of the body that it answers. They are those of a store with the shipped
`sign_language`, whose version 1 is labelled `stable`, and of TensorFlow Serving's own `half_plus_two`.
"""

from typing import Any, Final

from service.gateway.openapi.schemas import image_of, json_of, ref

Json = dict[str, Any]

# A hand that shows the letter Y, drawn, 28 x 28 grey pixels: what the examples post. The file is among the page's.
EXAMPLE_IMAGE: Final = "static/example.png"
EXAMPLE_B64: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAABwAAAAcCAAAAABXZoBIAAABQ0lEQVR42s3Ry04CQRCF4XNqakYQnQENMaIYFEx8/+fwAYzEGHWh"
    "IyBBHLlNd7lAuSjs7VUnX6rS+ZvX2H4E/wzVf+Z7ug2HN5OL42DL2ln2ftfxWzCu6bDd3awSNU510O7b5tcWmrWgf7tRBSg2j+Wt"
    "PTAAsOV+70wBlFou7crlrszy3vAwLigAjNNJRQGgdGnpS69QzCa9UfmoWi8Ro8dX96EAwP2Wf3r2GtrYZ/1sfFUYPaWONs/HpFU2"
    "780AIH/tZA+pY+nkuy0rjQgGAN4we7nvOO6fV3+yshgAIOENHH4a47MDWTRXBSChBZRIjPF5mVjgTjwJw4Az1UjBpJEQS9Q4FxAR"
    "JADLjYSrny1hQAKAOYvqCYHVySLnef2UVGINJbRl1BzrSJkGQgPMTf+i5lMRM5j3+huhdO77arkRAL4AugiG+SLX5HUAAAAASUVO"
    "RK5CYII="
)

PREDICT_BODY: Final[Json] = {
    **image_of("image/*", examples={"hand": {"summary": "A drawn hand.", "externalValue": EXAMPLE_IMAGE}}),
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "description": "Any number of files under any names, each an image.",
            "additionalProperties": {"type": "array", "items": {"type": "string", "contentMediaType": "image/*"}},
        }
    },
    **json_of(
        "TensorRequest",
        image={"instances": [{"b64": EXAMPLE_B64}]},
        columns={"signature_name": "serving_default", "inputs": {"image": [{"b64": EXAMPLE_B64}]}},
    ),
}
_CLASSES: Final = list("ABCDEFGHIKLMNOPQRSTUVWXY")
SCORES: Final = [
    0.001467, 0.001626, 0.004823, 0.000147, 0.002436, 0.003487, 0.003477, 0.002909,
    0.002769, 0.002083, 0.004726, 0.000536, 0.000764, 0.001827, 0.00805, 0.002161,
    0.001053, 0.000801, 0.004799, 0.001456, 0.000827, 0.001224, 0.001185, 0.945366,
]  # fmt: skip
IN_DOMAIN: Final = 0.676519
PREDICT_ANSWER: Final[Json] = json_of(
    {"anyOf": [ref("ImageAnswer"), ref("TensorAnswer")]},
    hand={
        "model": {"name": "sign_language", "version": 2},
        "predictions": [
            {"class": "Y", "score": 0.945366, "scores": {"Y": 0.945366, "P": 0.00805}, "in_domain": True},
        ],
    },
    image={"predictions": [{"classes": _CLASSES, "scores": SCORES, "in_domain": IN_DOMAIN}]},
    columns={"outputs": {"classes": [_CLASSES], "scores": [SCORES], "in_domain": [IN_DOMAIN]}},
)

CLASSIFY_BODY: Final = json_of("ExamplesRequest", one={"signature_name": "classify_x", "examples": [{"x": 1.5}]})
CLASSIFY_ANSWER: Final = json_of("Classification", one={"results": [[["large", 2.75]]]})
REGRESS_BODY: Final = json_of("ExamplesRequest", one={"signature_name": "regress_x", "examples": [{"x": 1.5}]})
REGRESS_ANSWER: Final = json_of("Regression", one={"results": [2.75]})

_VERSION: Final = {"version": "2", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
_JOINED: Final = {"joined": True}
_ALONE: Final = {
    "joined": False,
    "why": "it takes strings, and the version's warm-up file lacks two rows with which to test whether its rows "
    "are independent",
}
_HALF_PLUS_TWO: Final = {
    "joining": {"classify_x": _ALONE, "regress_x": _ALONE, "serving_default": _JOINED},
    "runtime": {"name": "tensorflow", "times_as_fast": 1.0},
}
_SIGN_LANGUAGE: Final = {
    "joining": {"explain": _JOINED, "serving_default": _JOINED},
    "runtime": {"name": "tensorflow", "times_as_fast": 1.0},
}
MODELS: Final = json_of(
    "Models",
    one={
        "models": [
            {
                "name": "half_plus_two",
                "model_version_status": [_VERSION | _HALF_PLUS_TWO],
            },
            {
                "name": "sign_language",
                "model_version_status": [_VERSION | _SIGN_LANGUAGE],
            },
        ]
    },
)
MODEL_STATUS: Final = json_of("ModelStatus", one={"model_version_status": [_VERSION]})
LABELS: Final = json_of("Labels", one={"labels": {"stable": 2}})

LIVE: Final = json_of("Live", one={"status": "live"})
READY: Final = json_of("Ready", one={"ready": True, "models": {"half_plus_two": "ready", "sign_language": "ready"}})

CONFIG_BODY: Final[Json] = {
    "text/plain": {
        "schema": {"type": "string", "description": "In the form of `models.config`."},
        "examples": {
            "one": {
                "value": 'model_config_list {\n  config { name: "sign_language" base_path: "sign_language" }\n}\n',
            }
        },
    },
    **json_of({"type": "object", "description": "The same message in protobuf's JSON."}),
}
CONFIG_ANSWER: Final = json_of("Reloaded", one={"models": ["sign_language"]})

# Of each status, what is answered, by what was asked.
ERRORS: Final = {
    400: {"one": "This is not an image: it is text (5 bytes); send a JPEG, PNG, WebP, GIF, BMP or TIFF file."},
    404: {
        "run": "Servable not found for request: Latest(letters); GET /v1/models lists the models.",
        "status": "Could not find any versions of model letters; GET /v1/models lists what there is.",
    },
    415: {
        "one": "Content-Type text/html is not supported; send image/*, multipart/form-data with files, "
        "or application/json."
    },
}
