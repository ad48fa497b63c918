"""What KServe's clients ask of an InferenceService that serves letters: REST v1 and v2, gRPC.

Usage: python kserve_service.py HTTP_PORT GRPC_PORT; the model is called as the service is, `letters`.
"""

import asyncio
import sys
from pathlib import Path

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

MODEL = "letters"
PICTURE = Path(__file__).parents[3] / "docs" / "images" / "hand_y.png"


def picture() -> InferRequest:
    """An encoded image, as Triton's and KServe's clients send it."""
    given = InferInput("image", [1], "BYTES")
    given.set_data_from_numpy(np.array([PICTURE.read_bytes()], np.object_), binary_data=True)
    return InferRequest(MODEL, [given], request_id="7")


async def main(http_port: int, grpc_port: int) -> None:
    url = f"http://127.0.0.1:{http_port}"
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    assert await client.is_server_live(url)
    assert await client.is_server_ready(url)
    assert await client.is_model_ready(url, MODEL)
    answer = await client.infer(url, picture(), model_name=MODEL)
    assert (answer.id, answer.model_name) == ("7", MODEL)
    [scores] = [each.as_numpy() for each in answer.outputs if each.name == "scores"]
    await client.close()
    # Of version 1 there is no readiness: TensorFlow Serving's status has no field for it either.
    client = InferenceRESTClient(RESTConfig(protocol="v1", retries=0))
    pixels = np.zeros((1, 28, 28, 1), np.uint8).tolist()
    [prediction] = (await client.infer(url, {"instances": pixels}, model_name=MODEL))["predictions"]
    assert len(prediction["scores"]) == scores.size
    await client.close()
    over_grpc = InferenceGRPCClient(f"127.0.0.1:{grpc_port}")
    assert await over_grpc.is_server_ready()
    assert await over_grpc.is_model_ready(MODEL)
    answer = await over_grpc.infer(picture())
    [same] = [each.as_numpy() for each in answer.outputs if each.name == "scores"]
    assert np.allclose(same, scores, atol=1e-5)
    await over_grpc.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
