"""Requests of the Open Inference Protocol that nobody should send, for HTTP and gRPC; see `hostile.py`."""

import json
import math
from random import Random
from typing import Any, Final

from service.oip.messages import message

# Names, datatypes and shapes: mostly those of an image classifier of 28 x 28 grey pixels.
_INPUTS: Final = ("image",) * 8 + ("x", "", "IMAGE", "\x00")
_DATATYPES: Final = ("UINT8",) * 6 + ("BYTES",) * 6 + ("FP32", "BOOL", "INT64", "FP16", "BF16", "FP99", "", "uint8")
_SHAPES: Final = (
    (1, 28, 28, 1), (1, 28, 28, 1), (2, 28, 28, 1), (1,), (1,), (1, 1), (2,), (0,), (0, 28, 28, 1), (), (-1,), (28, 28),
    (1, 28, 28, 3), (2**31,), (2**62, 2**62), (0, 2**62), (1,) * 40, (1, 29, 28, 1),
)  # fmt: skip
_OUTPUTS: Final = ((), (), ("scores",), ("classes",), ("scores", "classes"), ("nosuch",), ("scores", "scores"), ("",))
_PARAMETERS: Final[tuple[tuple[str, Any], ...]] = (
    ("timeout", 1), ("timeout", 10**6), ("timeout", -1), ("priority", 1), ("priority", -1), ("sequence_id", 1),
    ("sequence_start", True), ("signature_name", "explain"), ("signature_name", "nosuch"), ("signature_name", 1),
    ("binary_data_output", True), ("binary_data_output", 1), ("triton_enable_empty_final_response", True),
    ("nobody", "knows"),
)  # fmt: skip
_CLASSIFICATIONS: Final = (1, 2, 10**9, 0, -1, 2**62)
_SHARED: Final = "shared_memory_region"


class HostileInfer:
    """Draws requests.

    Args:
        random: what is drawn from.
        model: a model that is served, an image classifier.
        image: an image that it takes.
    """

    def __init__(self, random: Random, model: str, image: bytes) -> None:
        """Draw nothing yet."""
        self._random = random
        self._models = (model,) * 6 + ("", "nosuch")
        self._image = image

    def body(self) -> tuple[dict[str, str], bytes]:
        """Headers and body of a request over HTTP: JSON, and often bytes behind it."""
        random = self._random
        if random.random() < 0.05:
            return {"Inference-Header-Content-Length": "0"}, random.choice((self._image, b"", random.randbytes(784)))
        entries, parts = [], []
        for _ in range(random.choice((1, 1, 1, 1, 0, 2))):
            entry, data = self._entry()
            entries.append(entry)
            parts.append(data)
        document: dict[str, Any] = {"inputs": entries}
        if random.random() < 0.4:
            document["outputs"] = [self._output(name) for name in random.choice(_OUTPUTS)]
        if random.random() < 0.3:
            document["parameters"] = dict([random.choice(_PARAMETERS)])
        if random.random() < 0.2:
            document["id"] = random.choice(("7", "", 7, None, "\ud800", "x" * 2000))
        head = json.dumps(document).encode()
        length = random.choice((str(len(head)),) * 8 + ("0", "-1", "x", str(len(head) - 1), "99999999999", ""))
        behind = b"".join(parts)
        return ({"Inference-Header-Content-Length": length} if behind or random.random() < 0.1 else {}), head + behind

    def message(self) -> bytes:
        """A ModelInferRequest as bytes."""
        random = self._random
        request = message("ModelInferRequest")(model_name=random.choice(self._models))
        if random.random() < 0.2:
            request.model_version = random.choice(("1", "9", "stable", "²", "9" * 500, "-1"))
        for _ in range(random.choice((1, 1, 1, 1, 0, 2))):
            datatype, shape = random.choice(_DATATYPES), random.choice(_SHAPES)
            given = request.inputs.add(name=random.choice(_INPUTS), datatype=datatype, shape=shape)
            if random.random() < 0.8:
                request.raw_input_contents.append(self._data(datatype, shape))
            if random.random() < 0.2:
                given.contents.uint_contents.extend(random.choices(range(300), k=random.choice((0, 1, 784))))
            if random.random() < 0.05:
                given.parameters[_SHARED].string_param = "x"
        for name in random.choice(_OUTPUTS):
            output = request.outputs.add(name=name)
            if random.random() < 0.4:
                output.parameters["classification"].int64_param = random.choice(_CLASSIFICATIONS)
        if random.random() < 0.3:
            name, value = random.choice(_PARAMETERS)
            kind = {bool: "bool_param", int: "int64_param", str: "string_param"}[type(value)]
            setattr(request.parameters[name], kind, value)
        if random.random() < 0.05:
            request.raw_input_contents.append(b"surplus")
        sent: bytes = request.SerializeToString()
        return sent

    def _entry(self) -> tuple[dict[str, Any], bytes]:
        random = self._random
        datatype, shape = random.choice(_DATATYPES), random.choice(_SHAPES)
        entry: dict[str, Any] = {"name": random.choice(_INPUTS), "datatype": datatype, "shape": list(shape)}
        data = b""
        if random.random() < 0.6:
            data = self._data(datatype, shape)
            size = random.choice((len(data),) * 8 + (0, -1, len(data) + 1, 10**12, True, "1"))
            entry["parameters"] = {"binary_data_size": size}
        else:
            count = min(math.prod(abs(size) for size in shape), 784)
            values = (0, 1, 255, 256, -1, 0.5, True, None, "a", "\ud800", {"b64": "AAAA"}, float("nan"), 10**400)
            entry["data"] = [random.choice(values)] * count if random.random() < 0.7 else [[[0]]]
        if random.random() < 0.1:
            del entry[random.choice(sorted(entry))]
        if random.random() < 0.05:
            entry["parameters"] = random.choice(({_SHARED: "x"}, 1, [], {"content_type": "base64"}))
        return entry, data

    def _output(self, name: str) -> dict[str, Any]:
        random = self._random
        if random.random() < 0.5:
            return {"name": name}
        parameters = random.choice(
            (
                {"classification": random.choice((*_CLASSIFICATIONS, "1", True, 1.5))},
                {"binary_data": random.choice((True, False, 1))},
                {_SHARED: "x"},
                1,
            )
        )
        return {"name": name, "parameters": parameters}

    def _data(self, datatype: str, shape: tuple[int, ...]) -> bytes:
        """Bytes of a tensor that is nearly right."""
        random = self._random
        if datatype == "BYTES":
            element = random.choice((self._image, self._image, b"", random.randbytes(30)))
            length = random.choice((len(element),) * 8 + (len(element) + 1, 2**32 - 1, 0))
            data = (length.to_bytes(4, "little") + element) * min(abs(shape[0]) if shape else 1, 3)
        else:
            data = bytes(min(math.prod(abs(size) for size in shape), 4096))
        return data[: random.randrange(len(data) + 1)] if random.random() < 0.1 else data
