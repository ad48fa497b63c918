"""The Open Inference Protocol against TensorFlow Serving's ways in: the same scores, and as quick.

    .venv/bin/python -m loadtests.bench.oip_ways

Starts a service of the store. First it asks every way for the scores of one image, which must be equal bit for bit.
Then 32 clients ask, the ways in turn, several times. It prints answers per second, the ratios that have a target, and
whether each is kept: bytes of pixels against a PNG of the same pixels posted as it is, encoded images as BYTES against
the same images posted, and the two RPCs against each other. Exits with 1 where scores differ or a target is missed.
"""

import base64
import http.client
import json
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import click
import grpc
import numpy as np

from loadtests.raw import client
from loadtests.subject.pictures import drawings
from loadtests.subject.served import Served, served
from service import images, protocol
from service.oip.messages import SERVICE, message
from service.oip.tensors import to_bytes

_ROUNDS: Final = 5
_DIFFERENT: Final = 8
_PREDICT: Final = "/tensorflow.serving.PredictionService/Predict"
_INFER: Final = f"/{SERVICE}/ModelInfer"
_LENGTH: Final = "Inference-Header-Content-Length"
# What is compared, with what, and the least ratio.
_TARGETS: Final = (
    ("v2 UINT8", "v1 image", 1.0),
    ("v2 BYTES", "v1 image", 0.9),
    ("v2 gRPC", "PredictionService", 0.9),
)


def infer_request(model: str, datatype: str, shape: tuple[int, ...], data: bytes) -> bytes:
    """The bytes of a POST with a tensor behind its JSON."""
    given = {"name": "image", "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": len(data)}}
    head = json.dumps({"inputs": [given]}, separators=(",", ":")).encode()
    length = len(head) + len(data)
    return (
        f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: bench\r\nContent-Type: application/octet-stream\r\n"
        f"Content-Length: {length}\r\n{_LENGTH}: {len(head)}\r\n\r\n"
    ).encode() + head + data  # fmt: skip


def element(image: bytes) -> bytes:
    """An encoded image as the only element of a tensor of BYTES."""
    return to_bytes(np.array([image], dtype=np.object_))


def predict_message(model: str, pixels: Any) -> bytes:
    """A PredictRequest as bytes."""
    request = protocol.predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.inputs["image"].CopyFrom(protocol.to_tensor_proto(pixels))
    request.output_filter.append("scores")
    return bytes(request.SerializeToString())


def infer_message(model: str, pixels: Any) -> bytes:
    """A ModelInferRequest as bytes."""
    request = message("ModelInferRequest")(model_name=model, raw_input_contents=[pixels.tobytes()])
    request.inputs.add(name="image", datatype="UINT8", shape=pixels.shape)
    return bytes(request.SerializeToString())


def scores_of_each_way(service: Served, model: str, image: bytes, pixels: Any) -> Mapping[str, bytes]:
    """The bytes of the scores of one image, by each way in."""

    def post(path: str, body: bytes, **headers: str) -> tuple[Any, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        found = answer.headers, answer.read()
        connection.close()
        return found

    encoded = base64.b64encode(image).decode()
    ask = json.dumps({"instances": [{"b64": encoded}]}).encode()
    v1 = json.loads(post(f"/v1/models/{model}:predict", ask)[1])["predictions"][0]["scores"]
    entry = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [{"b64": encoded}]}
    path = f"/v2/models/{model}/infer"
    as_json = json.loads(post(path, json.dumps({"inputs": [entry]}).encode())[1])["outputs"][0]["data"]
    given = {"name": "image", "shape": pixels.shape, "datatype": "UINT8"}
    given["parameters"] = {"binary_data_size": pixels.nbytes}
    head = json.dumps({"inputs": [given], "parameters": {"binary_data_output": True}}).encode()
    headers, binary = post(path, head + pixels.tobytes(), **{_LENGTH: str(len(head))})
    with grpc.insecure_channel(service.grpc_address) as channel:
        theirs = protocol.predict_pb2.PredictResponse.FromString(
            channel.unary_unary(_PREDICT)(predict_message(model, pixels))
        )
        ours = message("ModelInferResponse").FromString(channel.unary_unary(_INFER)(infer_message(model, pixels)))
    return {
        "v1 JSON": np.array(v1, np.float32).tobytes(),
        "TF Serving's gRPC": protocol.from_tensor_proto(theirs.outputs["scores"]).tobytes(),
        "v2 JSON": np.array(as_json, np.float32).tobytes(),
        "v2 binary": binary[int(headers[_LENGTH]) :],
        "v2 gRPC": bytes(ours.raw_output_contents[0]),
    }


def rpc_rate(address: str, rpc: tuple[str, list[bytes]], clients: int, seconds: float) -> float:
    """Answers per second to messages of a method, sent by so many threads, each its next when the last was answered."""
    method, messages = rpc
    counts = [0] * clients
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(method)
        until_s = time.monotonic() + client.RAMP_S + seconds
        since_s = until_s - seconds

        def ask(number: int) -> None:
            turn = number
            while (now_s := time.monotonic()) < until_s:
                call(messages[turn % len(messages)], timeout=60)
                turn += 1
                counts[number] += since_s <= now_s

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return sum(counts) / seconds


def measure(service: Served, model: str, clients: int, seconds: float, rounds: int) -> Mapping[str, float]:
    """Answers per second by each way: the median of several runs, in which the ways take turns."""
    size = _size_of(service, model)
    encoded = drawings(_DIFFERENT, size[1], size[0], size[2])
    pixels = [images.decode(image, *size)[np.newaxis] for image in encoded]
    posted = {
        "v1 image": [client.request(f"/v1/models/{model}:predict", "image/png", image) for image in encoded],
        "v2 UINT8": [infer_request(model, "UINT8", each.shape, each.tobytes()) for each in pixels],
        "v2 BYTES": [infer_request(model, "BYTES", (1,), element(image)) for image in encoded],
    }
    rpcs = {
        "PredictionService": (_PREDICT, [predict_message(model, each) for each in pixels]),
        "v2 gRPC": (_INFER, [infer_message(model, each) for each in pixels]),
    }
    ways: dict[str, Callable[[], float]] = {
        name: (lambda requests=requests: client.run(service.port, requests, clients, seconds).rate)  # type: ignore[misc]
        for name, requests in posted.items()
    }
    ways |= {
        name: (lambda rpc=rpc: rpc_rate(service.grpc_address, rpc, clients, seconds))  # type: ignore[misc]
        for name, rpc in rpcs.items()
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, ask in ways.items():
            rates[name].append(ask())
    return {name: statistics.median(each) for name, each in rates.items()}


def _size_of(service: Served, model: str) -> tuple[int, int, int]:
    with grpc.insecure_channel(service.grpc_address) as channel:
        sent = message("ModelMetadataRequest")(name=model).SerializeToString()
        answer = channel.unary_unary(f"/{SERVICE}/ModelMetadata")(sent, timeout=60)
    height, width, channels = message("ModelMetadataResponse").FromString(answer).inputs[0].shape[1:]
    return height, width, channels


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--store", default=Path("model_store"), type=click.Path(path_type=Path), show_default=True)
@click.option("--model", default="sign_language", show_default=True, help="An image classifier of the store.")
@click.option("--clients", default=32, show_default=True, help="Requests that are on their way at any time.")
@click.option("--seconds", default=4.0, show_default=True, help="Length of each run.")
@click.option("--rounds", default=_ROUNDS, show_default=True, help="Runs of each way.")
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
def main(store: Path, model: str, clients: int, seconds: float, rounds: int, flags: tuple[str, ...]) -> None:
    """Compare; FLAGS go to `signpost serve`."""
    with tempfile.TemporaryDirectory() as folder:
        only = Path(folder, "store")
        shutil.copytree(store / model, only / model)
        with served(only, flags) as service:
            size = _size_of(service, model)
            [image] = drawings(1, size[1], size[0], size[2])
            scores = scores_of_each_way(service, model, image, images.decode(image, *size)[np.newaxis])
            memory_mb = sum(service.pss_mb().values())
            rates = measure(service, model, clients, seconds, rounds)
    are_equal = len(set(scores.values())) == 1
    ratios = [
        {"way": way, "against": other, "ratio": round(rates[way] / rates[other], 3), "at_least": least}
        for way, other, least in _TARGETS
    ]
    for each in ratios:
        each["kept"] = each["ratio"] >= each["at_least"]  # type: ignore[operator]
    told = {
        "model": model,
        "clients": clients,
        "equal_scores": are_equal,
        "ready_s": round(service.ready_s, 2),
        "memory_mb": round(memory_mb, 1),
        "answers_per_s": {name: round(rate) for name, rate in rates.items()},
        "targets": ratios,
    }
    click.echo(json.dumps(told, indent=1))
    sys.exit(0 if are_equal and all(each["kept"] for each in ratios) else 1)


if __name__ == "__main__":
    main()
