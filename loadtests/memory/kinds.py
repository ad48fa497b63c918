"""What the memory of a process is made of."""

import re
from collections import Counter
from pathlib import Path
from typing import Final

# A thread's arena of the C library begins at a multiple of this (HEAP_MAX_SIZE of glibc on 64 bits).
_ARENA_BYTES: Final = 64 * 2**20
# Anonymous memory in larger pieces than this is neither Python's (1 MiB) nor a thread's stack: regions of TensorFlow's
# allocator, and what the C library maps by itself.
_LARGE_BYTES: Final = 2**22
_MAPPING: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \d+\s*(.*)")
KINDS: Final = ("heap", "arenas", "large", "other", "files")

# MiB by kind.
Memory = Counter[str]


def memory_of(pid: int) -> Memory:
    """MiB of a process: the C library's `heap` and threads' `arenas`, `large` and `other` anonymous ones, `files`."""
    found: Memory = Counter(dict.fromkeys(KINDS, 0))
    kind = "other"
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if mapping := _MAPPING.match(line):
            start, end, name = int(mapping[1], 16), int(mapping[2], 16), mapping[3]
            if name == "[heap]":
                kind = "heap"
            elif name and not name.startswith("["):
                kind = "files"
            elif start % _ARENA_BYTES == 0 and not name:
                kind = "arenas"
            else:
                kind = "large" if end - start >= _LARGE_BYTES else "other"
        elif line.startswith("Pss:"):
            found[kind] += int(line.split()[1])
    return Counter({each: found[each] // 1024 for each in KINDS})
