"""Tensors in shared memory: whatever is written is read, and nothing is read that does not lie in it."""

import fcntl
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.hop import region
from service.hop.messages import Malformed
from service.hop.region import Region
from service.interface import Array

DTYPES = ("?", "u1", "i1", "u2", "i4", "i8", "u8", "f2", "f4", "f8", "c8", "c16")


@st.composite
def arrays(draw: st.DrawFn) -> dict[str, Array]:
    """Some tensors of any type and shape, no dimension or an empty one too, in or out of order in memory."""
    names = draw(st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=4))
    made = {}
    for name in names:
        shape = draw(st.lists(st.integers(0, 40), max_size=3))
        dtype = np.dtype(draw(st.sampled_from(DTYPES)))
        values = np.random.default_rng(draw(st.integers(0, 2**32))).integers(0, 256, (*shape, dtype.itemsize), np.uint8)
        array = np.frombuffer(values.tobytes(), dtype if dtype.kind != "b" else np.uint8).reshape(shape)
        array = array if dtype.kind != "b" else np.asarray(array > 127)
        made[name] = array.T if draw(st.booleans()) else array
    return made


def same(one: Array, other: Array) -> bool:
    return (one.dtype, one.shape, zlib.crc32(one.tobytes())) == (other.dtype, other.shape, zlib.crc32(other.tobytes()))


@given(first=arrays(), second=arrays())
@settings(max_examples=100, deadline=None)
def test_what_one_process_writes_the_other_reads(first: dict[str, Array], second: dict[str, Array]) -> None:
    ours = region.make(region.end(second.values(), region.end(first.values())))
    theirs = Region(os.dup(ours.descriptor))  # as it comes over a socket
    inputs = ours.write(first)
    outputs = theirs.write(second, region.end(first.values()))  # behind the inputs, which are not touched
    read, answered = theirs.read(inputs), ours.read(outputs)
    assert read.keys() == first.keys()
    assert answered.keys() == second.keys()
    assert all(same(read[name], array) for name, array in first.items())
    assert all(same(answered[name], array) for name, array in second.items())
    for each in (ours, theirs):
        each.close()


def test_memory_is_shared_for_as_long_as_an_array_lies_in_it() -> None:
    ours = region.make(1)
    theirs = Region(os.dup(ours.descriptor))
    [tensor] = ours.write({"x": np.zeros(4, np.float32)})
    view = theirs.read([tensor])["x"]
    ours.write({"x": np.ones(4, np.float32)})
    assert view.tolist() == [1, 1, 1, 1]
    for each in (ours, theirs):
        each.close()
    assert view.tolist() == [1, 1, 1, 1]  # it outlives the descriptor


@pytest.mark.parametrize(
    "tensor",
    [
        ("x", "<f4", [1 << 30], 0),
        ("x", "<f4", [1], 1 << 16),
        ("x", "<f4", [1], 1 << 80),
        ("x", "<f4", [1], -4),
        ("x", "<f4", [-1], 0),
        ("x", "<f4", [1 << 40, 1 << 40], 0),
        ("x", "|O", [1], 0),
        ("x", "|S4", [1], 0),
        ("x", "nonsense", [1], 0),
        ("x", "<f4", 7, 0),
        ("x", "<f4", ["a"], 0),
        ("x", "<f4", [1], "a"),
    ],
    ids=str,
)
def test_what_is_no_tensor_or_lies_elsewhere_is_not_read(tensor: Any) -> None:
    made = region.make(1)
    with pytest.raises(Malformed):
        made.read([tensor])
    made.close()


@pytest.mark.parametrize(("wanted", "size"), [(0, 65536), (65536, 65536), (65537, 131072), (3 << 20, 4 << 20)])
def test_there_is_room_and_some_to_spare(wanted: int, size: int) -> None:
    made = region.make(wanted)
    assert made.size == size
    made.close()


def test_it_can_not_shrink_under_the_other_process() -> None:
    made = region.make(1)
    with pytest.raises(PermissionError):
        os.ftruncate(made.descriptor, 0)
    made.close()


def test_what_could_shrink_is_refused_and_closed() -> None:
    descriptor = os.memfd_create("open", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, 4096)
    with pytest.raises(Malformed, match="not sealed"):
        Region(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        fcntl.fcntl(descriptor, fcntl.F_GETFD)


def test_it_has_no_name_that_could_be_left_behind() -> None:
    before = set(Path("/dev/shm").glob("*"))
    made = region.make(1 << 20)
    made.write({"x": np.ones(1 << 20, np.uint8)})
    assert set(Path("/dev/shm").glob("*")) == before
    made.close()
