"""What the GPU says of itself while something runs: use and memory, by nvidia-smi; nothing where there is none."""

import contextlib
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import Final

_ASKED: Final = "utilization.gpu,memory.used,memory.total"
_COMMAND: Final = ("nvidia-smi", f"--query-gpu={_ASKED}", "--format=csv,noheader,nounits", "-lms", "200")
_STOP_S: Final = 5.0


@dataclass(frozen=True)
class Sample:
    """A moment of the first GPU: seconds on the steady clock, per cent of use, and MiB of memory."""

    at_s: float
    use: float
    memory_mb: float


class GpuWatch:
    """Asks the first GPU five times a second.

    Its thread ends with nvidia-smi, which `close` ends; its death would mean that nothing is told of the GPU.
    """

    def __init__(self) -> None:
        """Begin, where there is nvidia-smi."""
        self.total_mb = 0.0
        self._samples: list[Sample] = []
        self._process: subprocess.Popen[str] | None = None
        with contextlib.suppress(OSError):
            self._process = subprocess.Popen(_COMMAND, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            self._thread = threading.Thread(target=self._read, args=(self._process,), name="gpu-watch", daemon=True)
            self._thread.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        for line in process.stdout or ():
            with contextlib.suppress(ValueError):
                use, used, self.total_mb = (float(part) for part in line.split(","))
                self._samples.append(Sample(time.monotonic(), use, used))

    def since(self, began_s: float) -> str:
        """Mean use and highest memory since a moment, in words; empty where there is no GPU."""
        samples = [sample for sample in self._samples if sample.at_s >= began_s]
        if not samples:
            return ""
        use = sum(sample.use for sample in samples) / len(samples)
        return f"GPU {use:.0f} % busy, {max(sample.memory_mb for sample in samples):.0f} MiB"

    def close(self) -> None:
        """End nvidia-smi."""
        if self._process is not None:
            self._process.terminate()
            self._thread.join(_STOP_S)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.communicate(timeout=_STOP_S)
