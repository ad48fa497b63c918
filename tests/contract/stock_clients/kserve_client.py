"""What KServe's clients do, over REST v2 and gRPC: run by their own Python against a service of the contract's store.

Usage: python kserve_client.py HTTP_PORT GRPC_PORT; without a gRPC port (0) only HTTP is asked.
"""

import asyncio
import sys
from collections.abc import Awaitable
from typing import Any

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from kserve.protocol.infer_type import RequestedOutput

IN = np.array([[1, 2], [3, 4.5]], np.float32)


def dbl(binary: bool | None) -> InferRequest:
    """A request for `dbl`; its values raw, in JSON, or as a list."""
    given = InferInput("IN", list(IN.shape), "FP32")
    if binary is None:
        given = InferInput("IN", list(IN.shape), "FP32", data=IN.ravel().tolist())
    else:
        given.set_data_from_numpy(IN, binary_data=binary)
    return InferRequest("dbl", [given], request_id="7")


async def error_of(asked: Awaitable[Any], kind: type[Exception]) -> Any:
    try:
        await asked
    except kind as error:
        return error
    raise AssertionError("an error was expected")


async def rest(port: int) -> None:
    url = f"http://127.0.0.1:{port}"
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    assert await client.is_server_live(url)
    assert await client.is_server_ready(url)
    assert await client.is_model_ready(url, "dbl")
    assert not await client.is_model_ready(url, "nosuch")
    for binary in (True, False, None):
        answer = await client.infer(url, dbl(binary), model_name="dbl")
        assert (answer.id, answer.model_name) == ("7", "dbl")
        assert answer.outputs[0].as_numpy().tolist() == (IN * 2).tolist()
    request = dbl(True)
    request.request_outputs = [RequestedOutput("OUT", parameters={"binary_data": True})]
    answer = await client.infer(url, request, model_name="dbl")
    assert answer.outputs[0].as_numpy().tobytes() == (IN * 2).tobytes()
    wrong = InferRequest("dbl", [InferInput("X", [1], "FP32", data=[1.0])])
    error = await error_of(client.infer(url, wrong, model_name="dbl"), httpx.HTTPStatusError)
    assert "unexpected inference input 'X'" in str(error)
    await client.close()


async def over_grpc(port: int) -> None:
    client = InferenceGRPCClient(f"127.0.0.1:{port}")
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("dbl")
    assert not await client.is_model_ready("nosuch")
    for binary in (True, None):
        answer = await client.infer(dbl(binary))
        assert (answer.id, answer.model_name) == ("7", "dbl")
        assert answer.outputs[0].as_numpy().tolist() == (IN * 2).tolist()
    wrong = InferRequest("dbl", [InferInput("X", [1], "FP32", data=[1.0])])
    error = await error_of(client.infer(wrong), grpc.RpcError)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "unexpected inference input 'X'" in error.details()
    await client.close()


def stubs(port: int) -> None:
    """KServe's own messages: typed contents both ways, and the model's name where Triton's has a repository's."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = GRPCInferenceServiceStub(channel)
        assert stub.ServerMetadata(messages.ServerMetadataRequest()).name == "signpost"
        metadata = stub.ModelMetadata(messages.ModelMetadataRequest(name="dbl"))
        assert [(each.name, each.datatype, list(each.shape)) for each in metadata.inputs] == [("IN", "FP32", [-1, 2])]
        request = messages.ModelInferRequest(model_name="maths")
        request.parameters["signature_name"].string_param = "add"
        for name in "ab":
            given = request.inputs.add(name=name, datatype="INT64", shape=[1])
            given.contents.int64_contents.append(2**53 + 1)
        answer = stub.ModelInfer(request)
        assert list(answer.outputs[0].contents.int64_contents) == [2**54 + 2]
        assert not answer.raw_output_contents
        unloaded = stub.RepositoryModelUnload(messages.RepositoryModelUnloadRequest(model_name="every"))
        assert (unloaded.model_name, unloaded.isUnloaded) == ("every", True)
        loaded = stub.RepositoryModelLoad(messages.RepositoryModelLoadRequest(model_name="every"))
        assert (loaded.model_name, loaded.isLoaded) == ("every", True)


def main() -> None:
    http_port, grpc_port = int(sys.argv[1]), int(sys.argv[2])
    asyncio.run(rest(http_port))
    if grpc_port:
        asyncio.run(over_grpc(grpc_port))
        stubs(grpc_port)


if __name__ == "__main__":
    main()
