"""The messages on the wire; that their numbers are the protocol's, tests/contract/test_oip.py asks tritonclient."""

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from service.oip.messages import message


def test_the_bytes_are_those_of_the_protocol() -> None:
    request = message("ModelInferRequest")(model_name="m", raw_input_contents=[b"\1"])
    request.inputs.add(name="x", datatype="UINT8", shape=[1])
    request.parameters["timeout"].int64_param = 5
    assert request.SerializeToString(deterministic=True) == (
        b"\x0a\x01m\x22\x0d\x0a\x07timeout\x12\x02\x10\x05\x2a\x0d\x0a\x01x\x12\x05UINT8\x1a\x01\x01\x3a\x01\x01"
    )
    assert message("ModelInferRequest").FromString(request.SerializeToString()) == request


def test_a_parameter_has_one_value() -> None:
    parameter = message("InferParameter")(bool_param=True)
    assert parameter.WhichOneof("parameter_choice") == "bool_param"
    parameter.uint64_param = 2**64 - 1
    assert parameter.WhichOneof("parameter_choice") == "uint64_param"
    assert not parameter.bool_param


def test_a_client_s_own_stubs_may_be_in_the_same_process() -> None:
    """They put the same names into protobuf's common pool, which refuses a second one."""
    message("ModelInferRequest")
    file = descriptor_pb2.FileDescriptorProto(name="grpc_service.proto", package="inference", syntax="proto3")
    file.message_type.add(name="ServerLiveRequest")
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
    with pytest.raises(KeyError):
        message("TraceSettingRequest")
