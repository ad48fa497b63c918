"""The messages of `inference.GRPCInferenceService`, built from the names, types and numbers of their fields.

They live in a descriptor pool of their own, so that a client's generated stubs may be in the same process; on the
wire nobody can tell them apart.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE: Final = "inference.GRPCInferenceService"
_PACKAGE: Final = "inference"
_FILE: Final = "signpost/open_inference.proto"

_NAMED: Final = "1 string name, 2 string version"
_LOAD: Final = "1 string repository_name, 2 string model_name, 3 {ModelRepositoryParameter} parameters"
_PARAMETERS: Final = "{InferParameter} parameters"

# Each message's fields: number, type and name; [lists] in brackets, {maps} from strings in braces.
_MESSAGES: Final[Mapping[str, str]] = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "1 bool live",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "1 bool ready",
    "ModelReadyRequest": _NAMED,
    "ModelReadyResponse": "1 bool ready",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": f"{_NAMED}, 3 [string] extensions",
    "ModelMetadataRequest": _NAMED,
    "ModelMetadataResponse": (
        "1 string name, 2 [string] versions, 3 string platform, 4 [TensorMetadata] inputs, 5 [TensorMetadata] outputs"
    ),
    "TensorMetadata": "1 string name, 2 string datatype, 3 [int64] shape",
    "InferParameter": (
        "1 bool bool_param, 2 int64 int64_param, 3 string string_param, 4 double double_param, 5 uint64 uint64_param"
    ),
    "InferTensorContents": (
        "1 [bool] bool_contents, 2 [int32] int_contents, 3 [int64] int64_contents, 4 [uint32] uint_contents, "
        "5 [uint64] uint64_contents, 6 [float] fp32_contents, 7 [double] fp64_contents, 8 [bytes] bytes_contents"
    ),
    "ModelInferRequest": (
        f"1 string model_name, 2 string model_version, 3 string id, 4 {_PARAMETERS}, 5 [InferInputTensor] inputs, "
        "6 [InferRequestedOutputTensor] outputs, 7 [bytes] raw_input_contents"
    ),
    "InferInputTensor": (
        f"1 string name, 2 string datatype, 3 [int64] shape, 4 {_PARAMETERS}, 5 InferTensorContents contents"
    ),
    "InferRequestedOutputTensor": f"1 string name, 2 {_PARAMETERS}",
    "ModelInferResponse": (
        f"1 string model_name, 2 string model_version, 3 string id, 4 {_PARAMETERS}, 5 [InferOutputTensor] outputs, "
        "6 [bytes] raw_output_contents"
    ),
    "InferOutputTensor": (
        f"1 string name, 2 string datatype, 3 [int64] shape, 4 {_PARAMETERS}, 5 InferTensorContents contents"
    ),
    "ModelStreamInferResponse": "1 string error_message, 2 ModelInferResponse infer_response",
    "ModelConfigRequest": _NAMED,
    "ModelConfigResponse": "1 ModelConfig config",
    "ModelConfig": (
        "1 string name, 2 string platform, 3 ModelVersionPolicy version_policy, 4 int32 max_batch_size, "
        "5 [ModelInput] input, 6 [ModelOutput] output, 8 string default_model_filename, "
        "11 ModelDynamicBatching dynamic_batching, 17 string backend, "
        "19 ModelTransactionPolicy model_transaction_policy"
    ),
    "ModelVersionPolicy": "3 Specific specific",
    "Specific": "1 [int64] versions",
    "ModelInput": "1 string name, 2 DataType data_type, 3 Format format, 4 [int64] dims, 8 bool optional",
    "ModelOutput": "1 string name, 2 DataType data_type, 3 [int64] dims, 4 string label_filename",
    "ModelDynamicBatching": "2 uint64 max_queue_delay_microseconds",
    "ModelTransactionPolicy": "1 bool decoupled",
    "ModelStatisticsRequest": _NAMED,
    "ModelStatisticsResponse": "1 [ModelStatistics] model_stats",
    "ModelStatistics": (
        f"{_NAMED}, 3 uint64 last_inference, 4 uint64 inference_count, 5 uint64 execution_count, "
        "6 InferStatistics inference_stats, 7 [InferBatchStatistics] batch_stats, 8 [MemoryUsage] memory_usage"
    ),
    "InferStatistics": (
        "1 StatisticDuration success, 2 StatisticDuration fail, 3 StatisticDuration queue, "
        "4 StatisticDuration compute_input, 5 StatisticDuration compute_infer, 6 StatisticDuration compute_output, "
        "7 StatisticDuration cache_hit, 8 StatisticDuration cache_miss"
    ),
    "StatisticDuration": "1 uint64 count, 2 uint64 ns",
    "InferBatchStatistics": (
        "1 uint64 batch_size, 2 StatisticDuration compute_input, 3 StatisticDuration compute_infer, "
        "4 StatisticDuration compute_output"
    ),
    "MemoryUsage": "1 string type, 2 int64 id, 3 uint64 byte_size",
    "RepositoryIndexRequest": "1 string repository_name, 2 bool ready",
    "RepositoryIndexResponse": "1 [ModelIndex] models",
    "ModelIndex": f"{_NAMED}, 3 string state, 4 string reason",
    "ModelRepositoryParameter": "1 bool bool_param, 2 int64 int64_param, 3 string string_param, 4 bytes bytes_param",
    "RepositoryModelLoadRequest": _LOAD,
    # KServe's fields; Triton's messages have none, and its clients pass over these.
    "RepositoryModelLoadResponse": "1 string model_name, 2 bool isLoaded",
    "RepositoryModelUnloadRequest": _LOAD,
    "RepositoryModelUnloadResponse": "1 string model_name, 2 bool isUnloaded",
}
# Messages of which one field at a time is set, and what protobuf calls the choice.
_CHOICES: Final[Mapping[str, str]] = {
    "InferParameter": "parameter_choice",
    "ModelRepositoryParameter": "parameter_choice",
    "ModelVersionPolicy": "policy_choice",
}
_ENUMS: Final[Mapping[str, tuple[str, ...]]] = {
    "DataType": (
        "TYPE_INVALID", "TYPE_BOOL", "TYPE_UINT8", "TYPE_UINT16", "TYPE_UINT32", "TYPE_UINT64", "TYPE_INT8",
        "TYPE_INT16", "TYPE_INT32", "TYPE_INT64", "TYPE_FP16", "TYPE_FP32", "TYPE_FP64", "TYPE_STRING", "TYPE_BF16",
    ),
    "Format": ("FORMAT_NONE", "FORMAT_NHWC", "FORMAT_NCHW"),
}  # fmt: skip


def message(name: str) -> Any:
    """The class of a message."""
    return _classes()[name]


def names() -> Iterable[str]:
    """The names of all messages."""
    return _MESSAGES.keys()


@cache
def _classes() -> Mapping[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name=_FILE, package=_PACKAGE, syntax="proto3")
    for name, values in _ENUMS.items():
        enum = file.enum_type.add(name=name)
        for number, value in enumerate(values):
            enum.value.add(name=value, number=number)
    for name, fields in _MESSAGES.items():
        added = file.message_type.add(name=name)
        if name in _CHOICES:
            added.oneof_decl.add(name=_CHOICES[name])
        for field in filter(None, fields.split(", ")):
            number_text, kind, field_name = field.split()
            _add_field(added, field_name, int(number_text), kind)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES
    }


def _add_field(to: descriptor_pb2.DescriptorProto, name: str, number: int, kind: str) -> None:
    proto = descriptor_pb2.FieldDescriptorProto
    field = to.field.add(name=name, number=number, label=proto.LABEL_OPTIONAL)
    if to.name in _CHOICES:
        field.oneof_index = 0
    if kind[0] in "[{":
        field.label = proto.LABEL_REPEATED
    plain = kind.strip("[]{}")
    if kind.startswith("{"):  # on the wire a map is a list of pairs
        entry = to.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        _add_field(entry, "key", 1, "string")
        _add_field(entry, "value", 2, plain)
        field.type, field.type_name = proto.TYPE_MESSAGE, f".{_PACKAGE}.{to.name}.{entry.name}"
    elif plain in _MESSAGES:
        field.type, field.type_name = proto.TYPE_MESSAGE, f".{_PACKAGE}.{plain}"
    elif plain in _ENUMS:
        field.type, field.type_name = proto.TYPE_ENUM, f".{_PACKAGE}.{plain}"
    else:
        field.type = proto.Type.Value(f"TYPE_{plain.upper()}")
