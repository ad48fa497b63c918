"""Exchanges of the Open Inference Protocol over HTTP, and what Triton 2.51 answers to each.

They are of a model `dbl`, version 1, that takes IN, FP32 [-1, 2], and gives OUT = 2 * IN; Triton's takes 4 instances at
most. Where Signpost answers otherwise the exchange says how and why.
"""

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Exchange:
    """A request and its answers.

    Attributes:
        case: what it shows.
        method: of HTTP.
        path: under `/v2`.
        triton: the status of Triton's answer.
        body: what is sent.
        headers: what is sent beside it.
        answer: JSON or bytes of the answer, the same from both; None where texts differ.
        status: of Signpost's answer, where it is another.
        why: it is another, or tells something else.
    """

    case: str
    method: str
    path: str
    triton: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    answer: Any = None
    status: int | None = None
    why: str = ""


INFER = "/models/dbl/infer"
DATA = [1, 2]
DOUBLED = {
    "model_name": "dbl",
    "model_version": "1",
    "outputs": [{"name": "OUT", "datatype": "FP32", "shape": [1, 2], "data": [2.0, 4.0]}],
}
NO_CLIENTS_ERROR = "what a client sent is no failure of the server"
OWN_FORM = "the body is JSON, as KServe's clients read it"


def given(leave: str = "", **changed: Any) -> dict[str, Any]:
    """An input as it should be, but for some of it."""
    whole = {"name": "IN", "shape": [1, 2], "datatype": "FP32", "data": DATA, **changed}
    return {key: value for key, value in whole.items() if key != leave}


def asked(*inputs: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"inputs": inputs or [given()], **more}).encode()


def binary(size: int, **more: Any) -> tuple[bytes, str]:
    """A request whose values stand behind its JSON, and the length of that."""
    head = asked(given("data", parameters={"binary_data_size": size}), **more)
    return head + b"\x00\x00\x80?\x00\x00\x00@", str(len(head))


def infer(case: str, triton: int, body: bytes, **more: Any) -> Exchange:
    return Exchange(case, "POST", INFER, triton, body, **more)


def sent_binary(case: str, triton: int, size: int, length: str = "", answer: Any = None, **more: Any) -> Exchange:
    body, stated = binary(size, **more)
    return infer(case, triton, body, headers={"Inference-Header-Content-Length": length or stated}, answer=answer)


_SIZED = {"name": "OUT", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}
_DOUBLED_BYTES = (
    json.dumps({**DOUBLED, "outputs": [_SIZED]}, separators=(",", ":")).encode() + b"\x00\x00\x00@\x00\x00\x80@"
)
_TENSOR = {"datatype": "FP32", "shape": [-1, 2]}
_METADATA = {"inputs": [{"name": "IN", **_TENSOR}], "outputs": [{"name": "OUT", **_TENSOR}]}

EXCHANGES = (
    Exchange("server metadata", "GET", "", 200, why="it is another server with other extensions"),
    Exchange("live", "GET", "/health/live", 200, why=OWN_FORM),
    Exchange("ready", "GET", "/health/ready", 200, why=OWN_FORM),
    Exchange("model ready", "GET", "/models/dbl/ready", 200, why=OWN_FORM),
    Exchange("version ready", "GET", "/models/dbl/versions/1/ready", 200, why=OWN_FORM),
    Exchange("unknown model ready", "GET", "/models/nope/ready", 400, status=404, why="there is no such model"),
    Exchange("metadata", "GET", "/models/dbl", 200, why="the platform is another", answer={
        "name": "dbl", "versions": ["1"], "platform": "tensorflow_savedmodel", **_METADATA,
    }),
    Exchange("metadata of an unknown version", "GET", "/models/dbl/versions/9", 404),
    Exchange("metadata of an unknown model", "GET", "/models/nope", 404),
    Exchange("configuration", "GET", "/models/dbl/config", 200, why="only what means something here is told"),
    Exchange("statistics", "GET", "/models/dbl/stats", 403, status=200, why="the Triton that was asked forbids them"),
    infer("infer", 200, asked(), answer=DOUBLED),
    infer("id", 200, asked(id="42"), answer={"id": "42", **DOUBLED}),
    infer("nested data", 200, asked(given(data=[DATA])), answer=DOUBLED),
    infer("named output", 200, asked(outputs=[{"name": "OUT"}]), answer=DOUBLED),
    infer("unknown output", 400, asked(outputs=[{"name": "NO"}])),
    Exchange("unknown model", "POST", "/models/nope/infer", 404, asked()),
    Exchange("unknown version", "POST", "/models/dbl/versions/9/infer", 404, asked()),
    infer("broken JSON", 500, b"{", status=400, why=NO_CLIENTS_ERROR),
    infer("empty body", 400, b""),
    infer("no inputs", 500, b"{}", status=400, why=NO_CLIENTS_ERROR),
    infer("empty inputs", 400, b'{"inputs": []}'),
    infer("wrong name", 400, asked(given(name="X"))),
    infer("wrong datatype", 400, asked(given(datatype="INT64"))),
    infer("no datatype that there is", 400, asked(given(datatype="FP99"))),
    infer("wrong shape", 400, asked(given(shape=[1, 3], data=[1, 2, 3])), status=200,
          why="a signature's shapes are advice; the graph decides, and this one doubles anything"),
    infer("data unlike the shape", 500, asked(given(data=[1, 2, 3])), status=400, why=NO_CLIENTS_ERROR),
    infer("missing shape", 500, asked(given("shape")), status=400, why=NO_CLIENTS_ERROR),
    infer("missing datatype", 500, asked(given("datatype")), status=400, why=NO_CLIENTS_ERROR),
    infer("strings for numbers", 500, asked(given(data=["a", "b"])), status=400, why=NO_CLIENTS_ERROR),
    infer("more than a batch", 400, asked(given(shape=[5, 2], data=list(range(10)))), status=200,
          why="a request larger than a batch runs in several"),
    infer("no instances", 400, asked(given(shape=[0, 2], data=[])), status=200, why="the graph decides"),
    infer("negative size", 500, asked(given(shape=[-1, 2])), status=400, why=NO_CLIENTS_ERROR),
    infer("input twice", 400, asked(given(), given())),
    infer("NaN", 200, asked(given(data=[float("nan"), 1])), answer="[NaN,2.0]"),
    infer("unknown parameter", 200, asked(parameters={"foo": 1}), answer=DOUBLED),
    infer("timeout and priority", 200, asked(parameters={"timeout": 1_000_000, "priority": 1}), answer=DOUBLED),
    infer("classification", 200, asked(outputs=[{"name": "OUT", "parameters": {"classification": 2}}]), answer={
        **DOUBLED,
        "outputs": [{"name": "OUT", "datatype": "BYTES", "shape": [1, 2], "data": ["4.000000:1", "2.000000:0"]}],
    }),
    sent_binary("bytes in", 200, 8, answer=DOUBLED),
    sent_binary("bytes in and out", 200, 8, parameters={"binary_data_output": True}, answer=_DOUBLED_BYTES),
    sent_binary("size unlike the shape", 400, 4),
    sent_binary("header beyond the body", 400, 8, length="99999"),
    infer("gzip request", 200, gzip.compress(asked()), headers={"Content-Encoding": "gzip"}, answer=DOUBLED),
    infer("gzip answer", 200, asked(), headers={"Accept-Encoding": "gzip"}, answer=DOUBLED),
    infer("unknown encoding", 501, asked(), headers={"Content-Encoding": "br"}, status=415,
          why="that is HTTP's status for it"),
    Exchange("GET infer", "GET", INFER, 405),
    Exchange("POST metadata", "POST", "/models/dbl", 405),
    Exchange("unknown path", "GET", "/foo", 404),
    Exchange("a version that is no number", "GET", "/models/dbl/versions/abc", 404),
    Exchange("generate", "POST", "/models/dbl/generate", 200, b'{"IN": [1, 2]}', status=501,
             why="it is for text; the protocol does not have it"),
    Exchange("trailing slash", "GET", "/models/dbl/", 404),
)  # fmt: skip
