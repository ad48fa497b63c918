"""The RPCs that go through Ray's proxy, by name alone: neither messages nor Ray are imported, as the proxy needs none.

Ray calls the method of a deployment that is called as the RPC, whatever its service.
"""

from typing import Final

# RPCs of one message each way, by service.
UNARY: Final = {
    "tensorflow.serving.PredictionService": ("Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata"),
    "tensorflow.serving.ModelService": ("GetModelStatus",),
    "inference.GRPCInferenceService": (
        "ServerLive",
        "ServerReady",
        "ModelReady",
        "ServerMetadata",
        "ModelMetadata",
        "ModelInfer",
        "ModelConfig",
        "RepositoryIndex",
    ),
    "grpc.health.v1.Health": ("Check", "List"),
}
# The one of many messages each way.
STREAM: Final = "/inference.GRPCInferenceService/ModelStreamInfer"
# Those that a replica can't answer for all of them, and what their clients are told.
_BY_REQUEST: Final = (
    "Requests can't change which models the replicas of a Ray deployment serve; change the store or its models.config."
)
UNSUPPORTED: Final = {
    "/tensorflow.serving.ModelService/HandleReloadConfigRequest": _BY_REQUEST,
    "/inference.GRPCInferenceService/RepositoryModelLoad": _BY_REQUEST,
    "/inference.GRPCInferenceService/RepositoryModelUnload": _BY_REQUEST,
    "/inference.GRPCInferenceService/ModelStatistics": (
        "Each replica of a Ray deployment keeps its own counts; ask the gateway in front for the statistics."
    ),
    "/grpc.health.v1.Health/Watch": "Health can't be watched through Ray's proxy; call Check or List periodically.",
}
# Answered of what is known at once, however many calls wait for a model: gateways go by them every second.
ASIDE: Final = frozenset(
    (
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/List",
        "/tensorflow.serving.ModelService/GetModelStatus",
        "/inference.GRPCInferenceService/ServerLive",
        "/inference.GRPCInferenceService/ServerReady",
        "/inference.GRPCInferenceService/ModelReady",
    )
)


def unary() -> tuple[str, ...]:
    """The full names of the RPCs of one message each way."""
    return tuple(f"/{service}/{name}" for service, names in UNARY.items() for name in names)


def name_of(method: str) -> str:
    """What the deployment's method for an RPC is called: the last part of its full name."""
    return method.rpartition("/")[2]
