"""What a process holds is told by kind."""

import mmap
import os

import pytest

from loadtests.memory.kinds import KINDS, memory_of
from loadtests.subject.served import pss_mb


def test_kinds_are_all_of_it_and_large_pieces_are_told_apart() -> None:
    before = memory_of(os.getpid())
    assert before.keys() == set(KINDS)
    assert sum(before.values()) == pytest.approx(pss_mb(os.getpid()), rel=0.1, abs=len(KINDS))
    with mmap.mmap(-1, 64 * 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as taken:
        taken.write(b"x" * (64 * 2**20))
        grown = memory_of(os.getpid())
    # It may be in one piece with others, and that may begin where an arena would.
    assert sum(grown[kind] - before[kind] for kind in ("large", "arenas")) >= 48
