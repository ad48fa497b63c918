"""A run's records: one for each request that was due, written by the generator's processes, read while and after."""

import json
import struct
from collections import Counter
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt

# Of requests that no status tells of.
NO_ANSWER: Final = 0
NEVER_SENT: Final = -1
ODD_ANSWER: Final = -2
# gRPC's codes beside HTTP's.
GRPC_CODES: Final = 1000

STAGES: Final = ("decode", "queue", "infer", "encode", "total")

# due: seconds after the begin of the run; sent and done: seconds after it was due; waited: no connection was free;
# kind: position in the plan's kinds; stages: seconds as the service tells them, NaN where it does not.
TYPE: Final = np.dtype(
    [("due", "<f8"), ("sent", "<f4"), ("done", "<f4"), ("status", "<i2"), ("kind", "<u2"), ("waited", "?")]
    + [(stage, "<f4") for stage in STAGES]
)
_PACKED: Final = struct.Struct("<dffhH?5f")
_NO_STAGES: Final = (float("nan"),) * len(STAGES)
# Different texts of errors that are kept of a process.
_MOST_TEXTS: Final = 50

Records = npt.NDArray[Any]


class Recorder:
    """Writes the records of one process, and beside them its load and the texts of errors.

    Args:
        folder: of the run.
        part: which process this is.
    """

    def __init__(self, folder: Path, part: int) -> None:
        """Open the files."""
        self._file: IO[bytes] = (folder / f"{part}.records").open("wb")
        self._beside = folder / f"{part}.json"
        self._errors: Counter[tuple[int, str]] = Counter()
        self._load: list[tuple[float, float]] = []

    def add(
        self,
        due_s: float,
        sent_s: float,
        done_s: float,
        status: int,
        kind: int,
        waited: bool,
        stages_s: tuple[float, ...] = _NO_STAGES,
    ) -> None:
        """Write a record; see `TYPE`."""
        self._file.write(_PACKED.pack(due_s, sent_s, done_s, status, kind, waited, *stages_s))

    def count_error(self, status: int, text: str) -> None:
        """Count a failure by its text."""
        key = (status, " ".join(text.split())[:300])
        if key in self._errors or len(self._errors) < _MOST_TEXTS:
            self._errors[key] += 1
        else:
            self._errors[status, "(others)"] += 1

    def flush(self, at_s: float, cpu_s: float) -> None:
        """Let others read what there is; note the seconds of CPU that the process has taken until now."""
        self._file.flush()
        self._load.append((at_s, cpu_s))
        errors = [[status, text, count] for (status, text), count in self._errors.items()]
        aside = self._beside.with_suffix(".new")
        aside.write_text(json.dumps({"errors": errors, "load": self._load}), "utf-8")
        aside.replace(self._beside)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read(folder: Path, last: int | None = None) -> Records:
    """The records of a run until now, in the order in which they were due; only so many of each process if asked."""
    parts = []
    for path in sorted(folder.glob("*.records")):
        whole = path.stat().st_size // TYPE.itemsize
        skipped = max(0, whole - last) if last is not None else 0
        parts.append(np.fromfile(path, TYPE, count=whole - skipped, offset=skipped * TYPE.itemsize))
    joined: Records = np.concatenate([np.empty(0, TYPE), *parts])
    return joined[np.argsort(joined["due"], kind="stable")]


def read_beside(folder: Path) -> list[dict[str, Any]]:
    """`errors` (status, text, count) and `load` (seconds after the start, seconds of CPU until then), by process."""
    return [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json")) if path.stem.isdigit()]


def failed(records: Records) -> npt.NDArray[np.bool_]:
    """Which requests got no good answer."""
    good: npt.NDArray[np.bool_] = (records["status"] == 200) | (records["status"] == GRPC_CODES)
    return ~good


def latencies_s(records: Records) -> npt.NDArray[np.float64]:
    """From when each request was due until its answer; infinite for those that failed."""
    return np.where(failed(records), np.inf, records["done"].astype(np.float64))


def status_name(status: int) -> str:
    """For people."""
    names = {NO_ANSWER: "no answer", NEVER_SENT: "never sent", ODD_ANSWER: "odd answer"}
    return names.get(status) or (f"gRPC {status - GRPC_CODES}" if status >= GRPC_CODES else f"HTTP {status}")
