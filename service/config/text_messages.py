"""TF Serving's configuration messages that no Python package ships, built from the names and types of their fields.

Their files are in protobuf's text format, which knows fields by name only: the numbers chosen here do not matter.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

from service.errors import SettingsError

_PACKAGE: Final = "tensorflow.serving"
_INT64: Final = "google.protobuf.Int64Value"
_BOOL: Final = "google.protobuf.BoolValue"
_STRING: Final = "google.protobuf.StringValue"

# Each message's fields: the type by its name in protobuf, a message by its full name, lists in brackets.
_MESSAGES: Final[Mapping[str, Mapping[str, str]]] = {
    "BatchingParameters": {
        "max_batch_size": _INT64,
        "batch_timeout_micros": _INT64,
        "max_enqueued_batches": _INT64,
        "num_batch_threads": _INT64,
        "thread_pool_name": _STRING,
        "allowed_batch_sizes": "[int64]",
        "pad_variable_length_inputs": "bool",
        "enable_large_batch_splitting": _BOOL,
        "max_execution_batch_size": _INT64,
    },
    "MonitoringConfig": {"prometheus_config": f"{_PACKAGE}.PrometheusConfig"},
    "PrometheusConfig": {"enable": "bool", "path": "string"},
    "SSLConfig": {"server_key": "string", "server_cert": "string", "custom_ca": "string", "client_verify": "bool"},
}


def read(path: Path, message: str) -> Any:
    """Read a file that holds one of the messages in text format.

    Raises:
        SettingsError: it can't be read, or has not this form.
    """
    try:
        return text_format.Parse(path.read_text(), _classes()[message]())
    except OSError as error:
        raise SettingsError(f"{path} can't be read: {error.strerror}.") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not a {message} in text format: {str(error).rstrip('.')}.") from error


@cache
def _classes() -> Mapping[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="signpost/text_messages.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), start=1):
            _add_field(message, field, number, kind)
    # A pool of our own: the common one would refuse a name that a later TensorFlow package may bring.
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES
    }


def _add_field(message: descriptor_pb2.DescriptorProto, name: str, number: int, kind: str) -> None:
    proto = descriptor_pb2.FieldDescriptorProto
    field = message.field.add(name=name, number=number, label=proto.LABEL_OPTIONAL)
    if kind.startswith("["):
        field.label = proto.LABEL_REPEATED
        kind = kind.strip("[]")
    if "." in kind:
        field.type = proto.TYPE_MESSAGE
        field.type_name = f".{kind}"
    else:
        field.type = proto.Type.Value(f"TYPE_{kind.upper()}")
