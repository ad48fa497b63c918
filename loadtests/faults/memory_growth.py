"""How the memory of a service grows while something goes on: a straight line through what is seen after the warm-up."""

import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from loadtests.subject.served import Served

# Share of the time that counts as warm-up: caches and arenas fill.
_WARM_UP: Final = 0.3


class Growth:
    """Looks at the memory of a service's processes.

    Args:
        service: whose.
    """

    def __init__(self, service: Served) -> None:
        """Look at nothing yet."""
        self._service = service
        self._began_s = time.monotonic()
        self._seen: list[tuple[float, float]] = []  # seconds, MiB

    def look(self) -> float:
        """Look now; MiB of all processes together that are theirs alone, not a file's: what a leak adds to.

        Pages of libraries are left out: how many count as one's own changes with what other programs map them.
        """
        memory_mb = sum(map(_anonymous_mb, self._service.processes()))
        self._seen.append((time.monotonic() - self._began_s, memory_mb))
        return memory_mb

    def told(self) -> dict[str, Any]:
        """The memory in MiB, and how much it grew after the warm-up by a straight line through all looks."""
        seconds, memory = np.array(self._seen).T
        after = seconds >= seconds[-1] * _WARM_UP
        slope = 0.0
        if after.sum() > 1:
            slope = float(np.polyfit(seconds[after], memory[after], 1)[0])
        return {
            "first_mb": round(float(memory[0]), 1),
            "after_warm_up_mb": round(float(memory[after][0]), 1),
            "last_mb": round(float(memory[-1]), 1),
            "most_mb": round(float(memory.max()), 1),
            "growth_mb": round(slope * float(seconds[-1] - seconds[after][0]), 2),
            "growth_mb_per_hour": round(slope * 3600, 1),
        }


def _anonymous_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss_Anon:"):
            return int(line.split()[1]) / 1024
    return 0.0
