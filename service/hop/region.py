"""Memory that two processes share: a file in memory (`memfd`) without a name, mapped by both.

Its descriptor is passed over a Unix socket, so there is nothing in `/dev/shm` that could be left behind or be too
small: the kernel frees it when neither process has it, however they end. It is sealed and can't shrink, so
that neither process can have the other one killed (SIGBUS) by that.
"""

import fcntl
import mmap
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from service.hop.messages import Malformed, Tensor, carries
from service.interface import Array

# TensorFlow takes an array as it is, without copying it, where it begins at such a multiple.
_ALIGNED: Final = 64
_LEAST: Final = 65536


class Region:
    """A piece of such memory.

    Args:
        descriptor: of its file, which belongs to the region from now on.

    Attributes:
        descriptor: -1 once it is closed; the mapping stays.
        size: in bytes.

    Raises:
        OSError: it can't be mapped.
        Malformed: it is not a sealed file in memory.
    """

    def __init__(self, descriptor: int) -> None:
        """Map it."""
        self.descriptor = descriptor
        try:
            if not fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK:
                raise Malformed("The shared memory is not sealed.")
            self.size = os.fstat(descriptor).st_size
            self._map = mmap.mmap(descriptor, self.size)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the descriptor; the mapping ends with the last array that lies in it."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def write(self, arrays: Mapping[str, Array], start: int = 0) -> list[Tensor]:
        """Write arrays from a byte on and tell where each lies; they fit, as `end` tells."""
        tensors: list[Tensor] = []
        for name, array in arrays.items():
            tensors.append((name, array.dtype.str, array.shape, start))
            np.ndarray(array.shape, array.dtype, self._map, start)[...] = array
            start += _padded(array.nbytes)
        return tensors

    def read(self, tensors: Sequence[Tensor]) -> dict[str, Array]:
        """The arrays that lie in it: views.

        Raises:
            Malformed: a tensor is none, or lies elsewhere.
        """
        arrays: dict[str, Array] = {}
        try:
            for name, dtype_name, shape, start in tensors:
                dtype = np.dtype(dtype_name)
                if not carries(dtype) or min((start, *shape)) < 0:  # NumPy takes such numbers, and looks elsewhere
                    raise ValueError(f"The tensor {name!r} is outside the shared memory or malformed.")
                arrays[name] = np.ndarray(shape, dtype, self._map, start)
        except (TypeError, ValueError, OverflowError) as error:
            raise Malformed(f"A tensor is outside the shared memory or malformed: {error}") from error
        return arrays


def make(size: int) -> Region:
    """A new region of at least so many bytes.

    Raises:
        OSError: this system has no memory for it, or none of this kind.
    """
    descriptor = os.memfd_create("signpost-hop", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        # What is not touched takes no memory, so that there may be room for what comes.
        os.ftruncate(descriptor, 1 << (max(_LEAST, size) - 1).bit_length())
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    except BaseException:
        os.close(descriptor)
        raise
    return Region(descriptor)


def end(arrays: Iterable[Array], start: int = 0) -> int:
    """The byte behind the last one of arrays that are written from a byte on."""
    return start + sum(_padded(array.nbytes) for array in arrays)


def _padded(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED
