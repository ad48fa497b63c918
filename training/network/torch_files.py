"""Arrays out of a file that PyTorch wrote before version 1.6, without PyTorch, and without running what is in it.

Such a file is a row of pickles (a magic number, the protocol, the system, the dictionary of tensors, the keys of their
storages), then each storage: how many numbers, and the numbers.
"""

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from training.errors import TrainingError

_MAGIC: Final = 0x1950A86A20F9469CFC6C
_TYPES: Final = {"FloatStorage": "<f4", "LongStorage": "<i8"}


@dataclass(frozen=True)
class _Tensor:
    storage: tuple[str, str]  # its key and the type of its numbers
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_arrays(path: Path) -> Mapping[str, npt.NDArray[Any]]:
    """The tensors of a state dictionary by name, in its order.

    Raises:
        TrainingError: it is not such file, or it holds anything else.
    """
    try:
        with path.open("rb") as file:
            return _read(file)
    except (OSError, EOFError, ValueError, TypeError, KeyError, IndexError, pickle.UnpicklingError) as error:
        raise TrainingError(
            f"{path} is not a file of PyTorch tensors in the format before version 1.6 ({error})."
        ) from error


def _read(file: BinaryIO) -> Mapping[str, npt.NDArray[Any]]:
    if _Tensors(file).load() != _MAGIC:
        raise ValueError("it begins otherwise")
    for _ in range(2):  # protocol and system
        _Tensors(file).load()
    tensors = _Tensors(file).load()
    types = dict(tensor.storage for tensor in tensors.values())
    storages = {}
    for key in _Tensors(file).load():
        count = int.from_bytes(file.read(8), "little")
        kind = np.dtype(types[key])
        storages[key] = np.frombuffer(file.read(count * kind.itemsize), kind)
    return {name: _array(storages[tensor.storage[0]], tensor) for name, tensor in tensors.items()}


def _array(storage: npt.NDArray[Any], tensor: _Tensor) -> npt.NDArray[Any]:
    last = tensor.offset + sum((side - 1) * step for side, step in zip(tensor.shape, tensor.strides, strict=True))
    if tensor.offset < 0 or min((0, *tensor.strides)) < 0 or last >= len(storage):
        raise ValueError("a tensor is longer than its storage")
    steps = [step * storage.itemsize for step in tensor.strides]
    return np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, steps, writeable=False)


class _Tensors(pickle.Unpickler):
    """Knows dictionaries and tensors, and nothing that would run."""

    def find_class(self, module: str, name: str) -> Any:
        match (module, name):
            case ("collections", "OrderedDict"):
                return OrderedDict
            case ("torch._utils", "_rebuild_tensor_v2"):
                return lambda storage, offset, shape, strides, *_: _Tensor(storage, offset, shape, strides)
            case ("torch", kind) if kind in _TYPES:
                return _TYPES[kind]
        raise pickle.UnpicklingError(f"it holds {module}.{name}")

    def persistent_load(self, pid: Any) -> tuple[str, str]:
        _, kind, key, *_ = pid
        return key, kind
