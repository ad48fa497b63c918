"""What tritonclient does, in all four forms: run by its own Python against a service of the contract's store.

Usage: python triton.py HTTP_PORT GRPC_PORT; without a gRPC port (0) only HTTP is asked.
"""

import asyncio
import queue
import sys
import time
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.grpc.aio as over_grpc_aio
import tritonclient.http as over_http
import tritonclient.http.aio as over_http_aio
from tritonclient.grpc import model_config_pb2, service_pb2
from tritonclient.utils import InferenceServerException

from service.oip import messages

# Of each datatype two values that show most of what could go wrong.
EVERY: dict[str, Any] = {
    "BOOL": np.array([True, False]),
    "UINT8": np.array([0, 255], np.uint8),
    "UINT16": np.array([0, 2**16 - 1], np.uint16),
    "UINT32": np.array([0, 2**32 - 1], np.uint32),
    "UINT64": np.array([0, 2**64 - 1], np.uint64),
    "INT8": np.array([-128, 127], np.int8),
    "INT16": np.array([-(2**15), 2**15 - 1], np.int16),
    "INT32": np.array([-(2**31), 2**31 - 1], np.int32),
    "INT64": np.array([-(2**63), 2**63 - 1], np.int64),
    "FP16": np.array([1.5, -65504], np.float16),
    "BF16": np.array([1.5, -(2.0**100)], ml_dtypes.bfloat16),
    "FP32": np.array([0.1, -3.4e38], np.float32),
    "FP64": np.array([0.1, -1.7e308], np.float64),
    "BYTES": np.array([b"a\0b\xff", b""], np.object_),
}
IN = np.array([[1, 2], [3, 4.5]], np.float32)
WAIT_S = 60.0


def tensor(kind: Any, name: str, array: Any, datatype: str, **how: Any) -> Any:
    made = kind.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, **how)
    return made


def dbl(kind: Any, **how: Any) -> list[Any]:
    return [tensor(kind, "IN", IN, "FP32", **how)]


def same(left: Any, right: Any) -> bool:
    if left.dtype == np.object_:
        return left.tolist() == right.tolist()
    return left.dtype == right.dtype and left.tobytes() == right.tobytes()


def check_every(result: Any, names: Any = EVERY) -> None:
    for datatype in names:
        answered = result.as_numpy(f"{datatype}_out")
        assert same(answered, EVERY[datatype]), (datatype, answered)


def refused(ask: Callable[[], Any], *words: str) -> None:
    try:
        ask()
    except InferenceServerException as error:
        told = str(error.message())
    else:
        raise AssertionError(f"{words} expected")
    assert all(word in told for word in words), told


def until(condition: Callable[[], bool]) -> None:
    """The other workers follow within a second or so."""
    end = time.monotonic() + WAIT_S
    for _ in range(5):
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.1)


def check_messages() -> None:
    """Each field has the name, number, type and cardinality that the protocol gives it."""
    theirs: dict[str, Any] = {}
    files = (service_pb2.DESCRIPTOR, model_config_pb2.DESCRIPTOR)
    pending = [each for file in files for each in file.message_types_by_name.values()]
    while pending:
        found = pending.pop()
        theirs[found.name] = found
        pending += found.nested_types
    for name in messages.names():
        ours = messages.message(name).DESCRIPTOR
        for field in ours.fields:
            if name.startswith("RepositoryModel") and name.endswith("Response"):
                continue  # KServe's, which Triton does not have
            twin = theirs[name].fields_by_name[field.name]
            assert (field.number, field.type, field.is_repeated) == (twin.number, twin.type, twin.is_repeated), field
            if field.enum_type is not None:
                known = twin.enum_type.values_by_name
                assert all(known[value.name].number == value.number for value in field.enum_type.values)
        if not name.startswith(("Model", "Repository")) or name in ("ModelInferRequest", "ModelInferResponse"):
            lacking = set(theirs[name].fields_by_name) - {field.name for field in ours.fields}
            assert not lacking, (name, lacking)


def check_about(client: Any, as_json: dict[str, Any]) -> None:
    """What there is; the same over HTTP and gRPC."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("dbl")
    assert client.is_model_ready("dbl", "1")
    assert client.is_model_ready("shade", "stable")
    for name, version in (("nosuch", ""), ("dbl", "9"), ("dbl", "nosuch")):
        assert not client.is_model_ready(name, version)
    server = client.get_server_metadata(**as_json)
    assert server["name"] == "signpost"
    assert "statistics" in server["extensions"]
    metadata = client.get_model_metadata("shade", **as_json)
    assert metadata["platform"] == "tensorflow_savedmodel"
    assert metadata["versions"] == ["1", "2"]
    assert [(each["name"], each["datatype"], [int(size) for size in each["shape"]]) for each in metadata["inputs"]] == [
        ("image", "UINT8", [-1, 4, 4, 3])
    ]
    assert [each["name"] for each in metadata["outputs"]] == ["scores"]
    config = client.get_model_config("shade", **as_json)
    config = config.get("config", config)
    assert config["max_batch_size"] == 256
    [given] = config["input"]
    assert (given["data_type"], given["format"], [int(size) for size in given["dims"]]) == (
        "TYPE_UINT8", "FORMAT_NHWC", [4, 4, 3],
    )  # fmt: skip
    index = client.get_model_repository_index(**as_json)
    models = index["models"] if isinstance(index, dict) else index
    assert {("dbl", "1", "READY"), ("shade", "2", "READY")} <= {
        (each["name"], each.get("version"), each["state"]) for each in models
    }
    refused(lambda: client.get_model_metadata("nosuch"), "Request for unknown model: 'nosuch' is not found")
    refused(lambda: client.get_model_metadata("dbl", "9"), "Request for unknown model: 'dbl' version 9 is not found")


def check_statistics(client: Any, ask: Callable[[], Any], as_json: dict[str, Any]) -> None:
    """What was counted between two looks; every worker shows the sum over all."""

    def counts() -> tuple[int, int, int]:
        [found] = client.get_inference_statistics("dbl", "1", **as_json)["model_stats"]
        stats = found["inference_stats"]
        compute = stats["compute_infer"]
        assert int(compute.get("ns", 0)) >= int(compute.get("count", 0))
        return (
            int(found.get("inference_count", 0)),
            int(stats["success"].get("count", 0)),
            int(compute.get("count", 0)),
        )

    before = counts()
    for _ in range(6):
        ask()
    until(lambda: counts() == (before[0] + 12, before[1] + 6, before[2] + 6))
    stats = client.get_inference_statistics(**as_json)["model_stats"]
    assert {each["name"] for each in stats} >= {"dbl", "shade"}


def check_repository(client: Any) -> None:
    """An unload and a load again; a model's readiness is then false without an error."""
    refused(lambda: client.load_model("nosuch"), "failed to load 'nosuch'")
    refused(lambda: client.load_model("dbl", config='{"max_batch_size": 2}'), "config")
    refused(lambda: client.load_model("dbl", config="{}", files={"file:1/model.pb": b"x"}), "not supported")
    refused(lambda: client.unload_model("dbl", unload_dependents=True), "unload_dependents")
    client.unload_model("dbl")
    until(lambda: not client.is_model_ready("dbl"))
    client.load_model("dbl")
    until(lambda: client.is_model_ready("dbl"))


def http(port: int) -> None:
    client = over_http.InferenceServerClient(f"127.0.0.1:{port}", concurrency=4)
    check_about(client, {})
    for binary in (True, False):
        given = dbl(over_http, binary_data=binary)
        for wanted in (None, [over_http.InferRequestedOutput("OUT", binary_data=binary)]):
            result = client.infer("dbl", given, outputs=wanted, request_id="7")
            assert same(result.as_numpy("OUT"), IN * 2)
            assert result.get_response()["id"] == "7"
            assert result.get_response()["model_version"] == "1"
    for packed in ("gzip", "deflate"):
        for how in ("request", "response"):
            algorithm = {f"{how}_compression_algorithm": packed}
            assert same(client.infer("dbl", dbl(over_http), **algorithm).as_numpy("OUT"), IN * 2)
    top = [over_http.InferRequestedOutput("OUT", class_count=1)]
    assert client.infer("dbl", dbl(over_http), outputs=top).as_numpy("OUT").tolist() == [
        [b"4.000000:1"],
        [b"9.000000:1"],
    ]
    client.infer("dbl", dbl(over_http), priority=1, timeout=5_000_000, parameters={"nobody": "knows"})
    refused(lambda: client.infer("dbl", dbl(over_http), sequence_id=4), "sequence_id")
    every = [tensor(over_http, name, array, name) for name, array in EVERY.items()]
    check_every(client.infer("every", every))
    # JSON carries no bytes that are no text, and tritonclient writes 16-bit floats as bytes only.
    texts = tensor(over_http, "BYTES", np.array([b"a\0b", b""], np.object_), "BYTES", binary_data=False)
    mixed = [
        texts if name == "BYTES" else tensor(over_http, name, array, name, binary_data=name in ("FP16", "BF16"))
        for name, array in EVERY.items()
    ]
    plain = [name for name in EVERY if name not in ("BYTES", "BF16", "FP16")]
    wanted = [over_http.InferRequestedOutput(f"{name}_out", binary_data=False) for name in plain]
    wanted += [over_http.InferRequestedOutput(f"{name}_out", binary_data=True) for name in ("FP16", "BF16")]
    check_every(client.infer("every", mixed, outputs=wanted), [*plain, "FP16", "BF16"])
    added = client.infer(
        "maths",
        [tensor(over_http, name, np.array([3], np.int64), "INT64") for name in "ab"],
        parameters={"signature_name": "add"},
    )
    assert added.as_numpy("c").tolist() == [6]
    waiting = [client.async_infer("dbl", dbl(over_http)) for _ in range(8)]
    assert all(same(each.get_result().as_numpy("OUT"), IN * 2) for each in waiting)
    refused(lambda: client.infer("nosuch", dbl(over_http)), "Request for unknown model: 'nosuch' is not found")
    refused(lambda: client.infer("dbl", [tensor(over_http, "X", IN, "FP32")]), "unexpected inference input 'X'")
    refused(client.get_system_shared_memory_status, "does not support")
    refused(client.get_trace_settings, "does not support")
    refused(client.get_log_settings, "does not support")
    check_images(client, over_http)
    check_image_client(client, over_http, {})
    check_statistics(client, lambda: client.infer("dbl", dbl(over_http)), {})


def check_images(client: Any, kind: Any) -> None:
    """An image classifier by pixels, and by encoded images as BYTES: the same classes."""
    pixels = np.stack([np.full((4, 4, 3), level, np.uint8) for level in (0, 255)])
    images = np.array([b"P6 4 4 255\n" + each.tobytes() for each in pixels], np.object_)
    top = [kind.InferRequestedOutput("scores", class_count=2)]
    for array, datatype in ((pixels, "UINT8"), (images, "BYTES"), (images.reshape(2, 1), "BYTES")):
        result = client.infer("shade", [tensor(kind, "image", array, datatype)], outputs=top)
        assert result.as_numpy("scores").tolist() == [
            [b"1.000000:0:night", b"0.000000:1:day"],
            [b"1.000000:1:day", b"0.000000:0:night"],
        ]
    result = client.infer("shade", [tensor(kind, "image", pixels, "UINT8")], model_version="stable")
    assert result.as_numpy("scores").tolist() == [[1, 0], [0, 1]]
    assert result.as_numpy("classes") is None
    both = [kind.InferRequestedOutput("classes"), kind.InferRequestedOutput("scores")]
    result = client.infer("shade", [tensor(kind, "image", pixels[:1], "UINT8")], outputs=both, model_version="1")
    assert result.as_numpy("classes").tolist() == [[b"dark", b"bright"]]
    broken = np.array([images[0], b"no image"], np.object_)
    refused(lambda: client.infer("shade", [tensor(kind, "image", broken, "BYTES")]), "Image 1 of input 'image'")


def check_image_client(client: Any, kind: Any, as_json: dict[str, Any]) -> None:
    """What Triton's example `image_client.py` asks before it sends an image, and how it reads the answer."""
    metadata = client.get_model_metadata("shade", **as_json)
    config = client.get_model_config("shade", **as_json)
    config = config.get("config", config)
    assert len(metadata["inputs"]) == len(metadata["outputs"]) == len(config["input"]) == 1
    [given], [answered] = metadata["inputs"], metadata["outputs"]
    assert answered["datatype"] == "FP32"
    batched = config["max_batch_size"] > 0
    assert len([size for size in answered["shape"][batched:] if int(size) > 1]) == 1  # a vector
    assert len(given["shape"]) == 3 + batched
    assert config["input"][0]["format"] == "FORMAT_NHWC"
    height, width, channels = (int(size) for size in given["shape"][batched:])
    batch = np.stack([np.full((height, width, channels), level, np.uint8) for level in (255, 0, 255)])
    wanted = [kind.InferRequestedOutput(answered["name"], class_count=1)]
    result = client.infer("shade", [tensor(kind, given["name"], batch, given["datatype"])], outputs=wanted)
    names = [row[0].decode().split(":")[2] for row in result.as_numpy(answered["name"])]
    assert names == ["day", "night", "day"]


async def http_aio(port: int) -> None:
    async with over_http_aio.InferenceServerClient(f"127.0.0.1:{port}") as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("dbl")
        assert not await client.is_model_ready("nosuch")
        assert (await client.get_server_metadata())["name"] == "signpost"
        assert (await client.get_model_metadata("dbl"))["versions"] == ["1"]
        assert (await client.get_model_config("dbl"))["name"] == "dbl"
        assert (await client.get_inference_statistics("dbl"))["model_stats"]
        assert await client.get_model_repository_index()
        for binary in (True, False):
            result = await client.infer("dbl", dbl(over_http_aio, binary_data=binary))
            assert same(result.as_numpy("OUT"), IN * 2)
        check_every(await client.infer("every", [tensor(over_http_aio, n, a, n) for n, a in EVERY.items()]))


def grpc(port: int) -> None:
    client = over_grpc.InferenceServerClient(f"127.0.0.1:{port}")
    as_json = {"as_json": True}
    check_about(client, as_json)
    result = client.infer("dbl", dbl(over_grpc), request_id="7")
    assert same(result.as_numpy("OUT"), IN * 2)
    assert (result.get_response().id, result.get_response().model_version) == ("7", "1")
    assert same(client.infer("dbl", dbl(over_grpc), compression_algorithm="gzip").as_numpy("OUT"), IN * 2)
    top = [over_grpc.InferRequestedOutput("OUT", class_count=1)]
    assert client.infer("dbl", dbl(over_grpc), outputs=top).as_numpy("OUT").tolist() == [
        [b"4.000000:1"],
        [b"9.000000:1"],
    ]
    client.infer("dbl", dbl(over_grpc), priority=1, timeout=5_000_000, client_timeout=30)
    refused(lambda: client.infer("dbl", dbl(over_grpc), sequence_id=4), "sequence_id")
    check_every(client.infer("every", [tensor(over_grpc, n, a, n) for n, a in EVERY.items()]))
    added = client.infer(
        "maths",
        [tensor(over_grpc, name, np.array([3], np.int64), "INT64") for name in "ab"],
        parameters={"signature_name": "add"},
    )
    assert added.as_numpy("c").tolist() == [6]
    refused(lambda: client.infer("nosuch", dbl(over_grpc)), "Request for unknown model: 'nosuch' is not found")
    answers: queue.Queue[Any] = queue.Queue()
    for _ in range(8):
        client.async_infer("dbl", dbl(over_grpc), lambda result, error: answers.put((result, error)))
    assert all(same(answers.get(timeout=WAIT_S)[0].as_numpy("OUT"), IN * 2) for _ in range(8))
    refused(client.get_system_shared_memory_status)
    check_images(client, over_grpc)
    check_image_client(client, over_grpc, as_json)
    check_stream(client)
    check_statistics(client, lambda: client.infer("dbl", dbl(over_grpc)), as_json)


def check_stream(client: Any) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for number in range(6):
        name = "nosuch" if number == 2 else "dbl"
        client.async_stream_infer(name, dbl(over_grpc), request_id=str(number), enable_empty_final_response=number == 5)
    for number in range(6):
        result, error = answers.get(timeout=WAIT_S)
        if number == 2:
            assert "Request for unknown model: 'nosuch' is not found" in error.message()
        else:
            assert error is None, error
            assert result.get_response().id == str(number)
            assert same(result.as_numpy("OUT"), IN * 2)
            assert ("triton_final_response" in result.get_response().parameters) == (number == 5)
    client.stop_stream()


async def grpc_aio(port: int) -> None:
    async with over_grpc_aio.InferenceServerClient(f"127.0.0.1:{port}") as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("dbl")
        assert not await client.is_model_ready("nosuch")
        assert (await client.get_server_metadata(as_json=True))["name"] == "signpost"
        assert (await client.get_model_config("dbl", as_json=True))["config"]["name"] == "dbl"
        assert (await client.get_inference_statistics("dbl")).model_stats
        assert (await client.get_model_repository_index()).models
        assert same((await client.infer("dbl", dbl(over_grpc_aio))).as_numpy("OUT"), IN * 2)

        async def requests() -> Any:
            for number in range(4):
                yield {"model_name": "dbl" if number != 1 else "nosuch", "inputs": dbl(over_grpc_aio)}

        seen = [
            error.message() if error is not None else result.as_numpy("OUT").tolist()
            async for result, error in client.stream_infer(requests())
        ]
        assert [isinstance(each, str) for each in seen] == [False, True, False, False]


def main() -> None:
    http_port, grpc_port = int(sys.argv[1]), int(sys.argv[2])
    check_messages()
    http(http_port)
    asyncio.run(http_aio(http_port))
    if grpc_port:
        grpc(grpc_port)
        asyncio.run(grpc_aio(grpc_port))
        check_repository(over_grpc.InferenceServerClient(f"127.0.0.1:{grpc_port}"))
        check_repository(over_http.InferenceServerClient(f"127.0.0.1:{http_port}"))


if __name__ == "__main__":
    main()
