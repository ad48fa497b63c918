"""What is said over the hop's socket: which call it is, how it ended, and where its tensors lie in the shared memory.

A message is a tuple as `marshal` writes it: where a model has just been through the processor's caches, JSON takes 20
microseconds more each time. Both ends are processes of one service and one release, and each makes sure of the other
(`sockets.is_ours`): who could forge a message needs none.
"""

import marshal
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from service.interface import Array

# Bytes of a message at most; what would need more goes another way.
MOST_BYTES: Final = 65536
OK: Final = "OK"

# Element types of one fixed size that NumPy knows by a letter: bool, integers, floating point, complex.
_KINDS: Final = "biufc"


# A tensor in the shared memory: its name, NumPy's name of its element type, its shape, and its first byte.
Tensor = tuple[str, str, Sequence[int], int]


class Request(NamedTuple):
    """A call.

    Attributes:
        number: of the call on its connection; the reply repeats it.
        model: the model's name.
        version: the version's number.
        signature_name: which signature to run.
        outputs: those wanted; empty means all.
        deadline: time (`time.monotonic()`, one clock for all processes of a machine) at which nobody is waiting.
        metadata: what goes along: names and values.
        tensors: the inputs.
    """

    number: int
    model: str
    version: int
    signature_name: str
    outputs: Sequence[str]
    deadline: float
    metadata: Sequence[tuple[str, str]]
    tensors: Sequence[Tensor]


class Reply(NamedTuple):
    """How a call ended.

    Attributes:
        number: of the call.
        code: gRPC's name of the status, `OK` or that of an error.
        text: the error's.
        retry_after_s: seconds after which a full queue should have room; None for any other error.
        tensors: the outputs.
    """

    number: int
    code: str
    text: str = ""
    retry_after_s: float | None = None
    tensors: Sequence[Tensor] = ()


class HopError(Exception):
    """A call that failed: the code and the text that gRPC would have told.

    Args:
        code: gRPC's name of the status.
        text: for people.
        retry_after_s: seconds after which a full queue should have room; None for any other error.
    """

    def __init__(self, code: str, text: str, retry_after_s: float | None = None) -> None:
        """Keep what both sides know it by."""
        super().__init__(text)
        self.code = code
        self.text = text
        self.retry_after_s = retry_after_s


class Malformed(ValueError):
    """Bytes that are not a message, or a tensor that is malformed or outside the memory: never our own."""


def write(message: Request | Reply) -> bytes:
    """The bytes of a message."""
    fields: tuple[Any, ...] = tuple(message)
    return marshal.dumps(fields)


def read_request(data: bytes) -> Request:
    """Read a request.

    Raises:
        Malformed: it is none.
    """
    return Request._make(_read(data, len(Request._fields)))


def read_reply(data: bytes) -> Reply:
    """Read a reply.

    Raises:
        Malformed: it is none.
    """
    return Reply._make(_read(data, len(Reply._fields)))


def carries(dtype: np.dtype[Any]) -> bool:
    """Whether tensors of an element type can go over the hop."""
    return dtype.kind in _KINDS


def carries_all(arrays: Mapping[str, Array]) -> bool:
    """Whether tensors can go over the hop."""
    return all(carries(array.dtype) for array in arrays.values())


def _read(data: bytes, count: int) -> tuple[Any, ...]:
    try:
        fields = marshal.loads(data)
    except (EOFError, TypeError, ValueError) as error:
        raise Malformed("This is not a message.") from error
    if not isinstance(fields, tuple) or len(fields) != count or not isinstance(fields[0], int):
        raise Malformed(f"This is not a message of {count} fields that starts with a number.")
    return fields
